"""Finding, and where allowed creating, what documents refer to by id: customers, suppliers and items.

Everything found is remembered on the client, so each name is asked for once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.providers.quickbooks.client import QuickBooksClient, portions, quoted_list
from connectors.providers.quickbooks.faults import fault_of, rejection
from connectors.providers.quickbooks.manifest import BATCH_SIZE, PAGE_SIZE
from connectors.providers.quickbooks.reading import ref
from connectors.sdk.errors import RecordRejected

Json = dict[str, Any]
#: A name as QuickBooks keeps it, with the currency the document is in.
Wanted = tuple[str, str]

NAME_LENGTH = 100
#: Reading a longer list whole costs more calls than it saves.
WORTH_READING_WHOLE = 20_000


def display_name(name: str) -> str:
    """A name QuickBooks accepts: no colons (they mean sub-customers), no line breaks, 100 characters."""
    return " ".join(name.replace(":", " ").split())[:NAME_LENGTH].strip()


def name_key(name: str) -> str:
    """QuickBooks compares names without regard to case."""
    return name.casefold()


def party_ids(
    client: QuickBooksClient, kind: str, wanted: Iterable[Wanted], *, create: bool, key: str
) -> dict[Wanted, str | RecordRejected]:
    """The ids of these customers (`kind` Customer) or suppliers (Vendor). Without `create`, unknown names are absent.

    A name in QuickBooks has one currency for ever; somebody who buys in a second one is kept as "Name (EUR)".
    """
    pairs = [pair for pair in dict.fromkeys(wanted) if pair[0]]
    found = _ids_of(client, kind, {pair: pair[0] for pair in pairs}, create=create, key=key)
    others = {pair: f"{pair[0][: NAME_LENGTH - 6]} ({pair[1]})" for pair in pairs if _is_foreign(client, kind, pair)}
    if others:
        for pair in others:
            found.pop(pair, None)
        found |= _ids_of(client, kind, others, create=create, key=f"{key}:second-currency")
    return found


def _is_foreign(client: QuickBooksClient, kind: str, pair: Wanted) -> bool:
    row = client.known(kind).get(name_key(pair[0]))
    return bool(row and pair[1] and row["currency"] and row["currency"] != pair[1])


def _ids_of(
    client: QuickBooksClient, kind: str, names: Mapping[Wanted, str], *, create: bool, key: str
) -> dict[Wanted, str | RecordRejected]:
    known = client.known(kind)
    _look_up(client, kind, [name for name in names.values() if name_key(name) not in known])
    missing = {name: pair[1] for pair, name in names.items() if name_key(name) not in known}
    refused = _create_parties(client, kind, missing, key) if create and missing else {}
    found: dict[Wanted, str | RecordRejected] = {}
    for pair, name in names.items():
        if name_key(name) in known:
            found[pair] = known[name_key(name)]["id"]
        elif name in refused:
            found[pair] = refused[name]
    return found


def _look_up(client: QuickBooksClient, kind: str, names: Sequence[str]) -> None:
    """One query for the names of one batch; a client that needs a second one reads the whole list instead. With the names of many
    documents, after which more may follow, the list comes in the same call: a short one is all there is to know."""
    unique = list({name_key(name): name for name in names}.values())
    if not unique or kind in client.fully_read:
        return
    is_first = f"{kind} asked" not in client.fully_read
    if not is_first and _read_whole(client, kind):
        return
    client.fully_read.add(f"{kind} asked")
    if is_first and BATCH_SIZE < len(unique) <= PAGE_SIZE:
        named, listed, counted = client.queries([_by_names(kind, unique), *_list_of(kind)])
        _remember(client, kind, named)
        if int(counted["totalCount"]) <= PAGE_SIZE:
            _remember(client, kind, listed)
            client.fully_read.add(kind)
        return
    for some in portions(unique, PAGE_SIZE):
        _remember(client, kind, client.query(_by_names(kind, some)))


def _by_names(kind: str, names: Sequence[str]) -> str:
    return f"select * from {kind} where DisplayName in {quoted_list(names)} maxresults {PAGE_SIZE}"


def _list_of(kind: str) -> list[str]:
    """The first page, and how many there are."""
    return [f"select * from {kind} orderby Id startposition 1 maxresults {PAGE_SIZE}", f"select count(*) from {kind}"]


def _read_whole(client: QuickBooksClient, kind: str) -> bool:
    first, counted = client.queries(_list_of(kind))
    total = int(counted["totalCount"])
    _remember(client, kind, first)
    if total > WORTH_READING_WHOLE:
        return False
    for start in range(PAGE_SIZE + 1, total + 1, PAGE_SIZE):
        _remember(
            client, kind, client.query(f"select * from {kind} orderby Id startposition {start} maxresults {PAGE_SIZE}")
        )
    client.fully_read.add(kind)
    return True


def _remember(client: QuickBooksClient, kind: str, answer: Json) -> None:
    rows = answer.get(kind, [])
    client.remember(kind, {name_key(row["DisplayName"]): _party(row) for row in rows})


def _party(row: Json) -> Json:
    return {"id": row["Id"], "currency": ref(row, "CurrencyRef")}


def _create_parties(
    client: QuickBooksClient, kind: str, missing: Mapping[str, str], key: str
) -> dict[str, RecordRejected]:
    """Create what is missing in one batch. A name that appeared meanwhile is looked up; one taken elsewhere is refused."""
    refused: dict[str, RecordRejected] = {}
    unique = {name_key(name): (name, currency) for name, currency in missing.items()}
    for some in portions(list(unique), BATCH_SIZE):
        bodies = [_party_body(*unique[name]) for name in some]
        for body, result in zip(bodies, create_all(client, kind, bodies, key), strict=True):
            if isinstance(result, RecordRejected):
                refused[body["DisplayName"]] = result
            else:
                client.remember(kind, {name_key(body["DisplayName"]): _party(result)})
    taken = [name for name, reason in refused.items() if reason.code == "duplicate"]
    for some in portions(taken, PAGE_SIZE):
        _remember(client, kind, client.query(_by_names(kind, some)))
    return refused


def _party_body(name: str, currency: str) -> Json:
    return {"DisplayName": name} | ({"CurrencyRef": {"value": currency}} if currency else {})


def create_all(client: QuickBooksClient, kind: str, bodies: Sequence[Json], key: str) -> list[Json | RecordRejected]:
    """Up to 30 new list entries in one call. The same entries under the same key are created once."""
    digest = hashlib.sha256(repr((kind, key, bodies)).encode()).hexdigest()
    items = [{"bId": str(number), "operation": "create", kind: body} for number, body in enumerate(bodies)]
    results = client.write(items, key=digest)
    return [rejection(fault) if (fault := fault_of(result)) else result[kind] for result in results]


def item_ids(
    client: QuickBooksClient, ledger_accounts: Iterable[str], *, create: bool, key: str
) -> dict[str, str | RecordRejected]:
    """A service item for each ledger account: QuickBooks' sales lines name items, and items name the account."""
    wanted = [account for account in dict.fromkeys(ledger_accounts) if account]
    if "Item" not in client.fully_read:
        _read_items(client)
    items = client.known("Item")
    missing = [account for account in wanted if account not in items]
    refused: dict[str, str | RecordRejected] = {}
    for some in portions(missing if create else [], BATCH_SIZE):
        bodies = [_item_body(client, account) for account in some]
        for account, result in zip(some, create_all(client, "Item", bodies, key), strict=True):
            if isinstance(result, RecordRejected):
                refused[account] = result
            else:
                client.remember("Item", {account: {"id": result["Id"], "name": result["Name"]}})
    return refused | {account: items[account]["id"] for account in wanted if account in items}


def _read_items(client: QuickBooksClient) -> None:
    """Items, ledger accounts and tax codes together in one call, more only for a long list of items."""
    start = 1
    while True:
        statements = [f"select * from Item orderby Id startposition {start} maxresults {PAGE_SIZE}"]
        if start == 1:
            statements += [
                f"select * from Account where Active in (true, false) maxresults {PAGE_SIZE}",
                f"select * from TaxCode maxresults {PAGE_SIZE}",
            ]
        answers = client.queries(statements)
        rows = answers[0].get("Item", [])
        _remember_items(client, rows)
        if start == 1:
            remember_accounts(client, answers[1].get("Account", []))
            _remember_tax_codes(client, answers[2].get("TaxCode", []))
        if len(rows) < PAGE_SIZE:
            break
        start += PAGE_SIZE
    client.fully_read.add("Item")


def _remember_items(client: QuickBooksClient, rows: Iterable[Json]) -> None:
    """The first service item of an account is used, unless another bears the account's own name."""
    for row in rows:
        client.remember("item names", {name_key(row["Name"]): {"id": row["Id"]}})
        account = ref(row, "IncomeAccountRef")
        is_usable = row.get("Type") == "Service" and account
        if is_usable and (account not in client.known("Item") or row["Name"] == ref_text(row, "IncomeAccountRef")):
            client.remember("Item", {account: {"id": row["Id"], "name": row["Name"]}})


def _remember_tax_codes(client: QuickBooksClient, rows: Iterable[Json]) -> None:
    client.remember("TaxCode", {name_key(row["Name"]): {"id": row["Id"]} for row in rows})


#: What QuickBooks names the code of a line outside the scope of tax, by country.
_NO_TAX_NAMES = ("no vat", "no tax", "out of scope", "outside the scope of tax", "bas excluded")


def no_tax_code(client: QuickBooksClient) -> str:
    """The company's code for "no tax at all"; known once items were read, empty when there is none."""
    codes = client.known("TaxCode")
    return next((codes[name]["id"] for name in _NO_TAX_NAMES if name in codes), "")


def ref_text(row: Json, name: str) -> str:
    return str((row.get(name) or {}).get("name", ""))


def remember_accounts(client: QuickBooksClient, rows: Iterable[Json]) -> None:
    client.remember("Account", {row["Id"]: {"name": row["Name"], "type": row["AccountType"]} for row in rows})


def _item_body(client: QuickBooksClient, account: str) -> Json:
    known = client.known("Account").get(account)
    name = known["name"] if known else f"Account {account}"
    if name_key(name) in client.known("item names"):
        name = f"{name[: NAME_LENGTH - 12]} ({account})"
    return {"Name": name, "Type": "Service", "IncomeAccountRef": {"value": account}}
