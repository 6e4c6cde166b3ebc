"""The least that moves orders from a shop to a ledger, for comparison: `python -m tests.benchmarks.copy_loop <json>`.

A file of orders, JSON, a mapping written by hand, COPY, and full batches over one kept-alive connection. Nothing is checked, kept
for lineage, decided or looked up; a crash loses its place, and running it twice posts twice. It answers its CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import psycopg

BATCH = 50
PAGE = 1000


def main() -> None:
    order: dict[str, Any] = json.loads(sys.argv[1])
    http = httpx.Client(timeout=120)
    with psycopg.connect(order["database"], autocommit=True) as database:
        database.execute(
            "CREATE TEMP TABLE copied (id text, number text, total numeric, placed_at timestamptz, raw jsonb)"
        )
        began = time.process_time()
        waiting = Waiting(http, order["ledger"])
        count = 0
        for page in pages(http, order["file"]):
            with database.cursor().copy("COPY copied FROM STDIN") as copy:
                for line, raw in page:
                    total = raw["totalPriceSet"]["shopMoney"]["amount"]
                    copy.write_row((raw["id"], raw["name"], total, raw["processedAt"], line.decode()))
            for start in range(0, len(page), BATCH):
                some = [invoice(raw, order["mark"]) for _, raw in page[start : start + BATCH]]
                waiting.put({"Invoices": some}, order)
                count += len(some)
        spent = time.process_time() - began - waiting.cost
    print(json.dumps({"orders": count, "cpu_seconds": spent}))


class Waiting:
    """Sends batches; the simulator's clock is wound on so that its limits never refuse one."""

    def __init__(self, http: httpx.Client, ledger: str) -> None:
        self.http, self.ledger, self.cost = http, ledger, 0.0

    def put(self, body: dict[str, Any], order: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {order['token']}", "xero-tenant-id": order["organisation"]}
        headers |= {"Accept": "application/json", "Content-Type": "application/json"}
        answer = self.http.put(
            f"{self.ledger}/api.xro/2.0/Invoices?summarizeErrors=false&unitdp=4",
            content=msgspec.json.encode(body),
            headers=headers,
        )
        elements = msgspec.json.decode(answer.raise_for_status().content)["Invoices"]
        assert all(element["StatusAttributeString"] == "OK" for element in elements), elements[0]
        began = time.process_time()
        self.http.post(f"{self.ledger}/_sim/clock", json={"advance_seconds": 1.1})
        self.cost += time.process_time() - began


def pages(http: httpx.Client, file: str) -> Iterator[list[tuple[bytes, dict[str, Any]]]]:
    """Orders with their lines gathered, a page at a time."""
    page: list[tuple[bytes, dict[str, Any]]] = []
    with http.stream("GET", file) as answer:
        for text in answer.iter_lines():
            line = text.encode()
            node = msgspec.json.decode(line)
            if "__parentId" in node:
                kind = "lineItems" if "/LineItem/" in node["id"] else "shippingLines"
                page[-1][1].setdefault(kind, []).append(node)
                continue
            if len(page) == PAGE:
                yield page
                page = []
            page.append((line, node))
    yield page


def invoice(raw: dict[str, Any], mark: str) -> dict[str, Any]:
    day = raw["processedAt"][:10]
    lines = [line(node, node["quantity"], node["name"], "originalTotalSet", "200") for node in raw.get("lineItems", ())]
    lines += [line(node, 1, node["title"], "originalPriceSet", "205") for node in raw.get("shippingLines", ())]
    return {
        "Type": "ACCREC",
        "Contact": {"Name": (raw["customer"] or {}).get("displayName", "Customer")},
        "Date": day,
        "DueDate": day,
        "LineAmountTypes": "Inclusive",
        "LineItems": lines,
        "InvoiceNumber": mark + raw["name"],
        "Reference": mark + raw["name"],
        "CurrencyCode": raw["currencyCode"],
        "Status": "AUTHORISED",
    }


def line(node: dict[str, Any], quantity: int, name: str, price: str, account: str) -> dict[str, Any]:
    cents = _cents(node[price])
    cents -= sum(_cents(one["allocatedAmountSet"]) for one in node["discountAllocations"])
    tax = sum(_cents(one["priceSet"]) for one in node["taxLines"])
    return {
        "Description": f"{quantity} x {name}",
        "Quantity": 1,
        "UnitAmount": cents / 100,
        "LineAmount": cents / 100,
        "AccountCode": account,
        "TaxType": "OUTPUT2" if tax else "NONE",
        "TaxAmount": tax / 100,
    }


def _cents(money: dict[str, Any]) -> int:
    return round(float(money["shopMoney"]["amount"]) * 100)


if __name__ == "__main__":
    main()
