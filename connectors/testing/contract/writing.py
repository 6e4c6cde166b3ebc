"""Each document is written exactly once, comes back as it went, and one bad one does not stop the others."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RecordRejected, TransientError
from connectors.sdk.records import Address, CreditNote, Customer, CustomerPayment, Invoice, LedgerAccount, Record
from connectors.sdk.streams import Draft, Outcome, Written
from connectors.testing.contract.bench import Bench, only, path_only
from connectors.testing.contract.reading import differences
from connectors.testing.contract.setup import Setup, long_ago, on_account, redraft
from connectors.testing.faults import Fault

MOST_DRAFTS = 6


class WritingRules(Setup):
    def batch(self, bench: Bench, data_type: str, *, first: int = 0) -> list[Draft]:
        """A batch of different drafts, after a first one has filled what the client remembers."""
        stream = bench.writable(data_type)
        stream.create(bench.client, self.drafts(bench, data_type, 1, first=5000 + first), key=f"warm-{first}")
        return self.drafts(bench, data_type, min(stream.batch_size, MOST_DRAFTS), first=first)

    def created(self, bench: Bench, data_type: str) -> list[dict[str, Any]]:
        """What the simulator's ledger says we created."""
        lines = bench.simulator.ledger.after(0)
        ours = [line for line in lines if line["by"] == "connector" and line["action"] == "create"]
        return [line for line in ours if line["data_type"] == data_type]

    def test_a_full_batch_is_one_call(self, bench: Bench, writes: str) -> None:
        stream = bench.writable(writes)
        self.batch(bench, writes)
        drafts = self.drafts(bench, writes, stream.batch_size, first=100)
        before = len(self.created(bench, writes))
        bench.pass_time(120)
        calls = bench.calls_during(lambda: stream.create(bench.client, drafts, key="full"))
        assert calls == self.calls_per_batch.get(writes, 1)
        assert len(self.created(bench, writes)) - before == len(drafts)

    def test_outcomes_come_in_order_and_amounts_exactly(self, bench: Bench, writes: str) -> None:
        stream, drafts = bench.writable(writes), self.drafts(bench, writes, 4)
        outcomes = [written(found) for found in self.create_all(bench, drafts)]
        ids = [found.external_id for found in outcomes]
        assert len(set(ids)) == len(drafts)
        held = {found.external_id: found for found in only(writes, stream.fetch(bench.client, ids))}
        for outcome, draft in zip(outcomes, drafts, strict=True):
            record = held[outcome.external_id].record
            assert differences(draft.document, record, self.kept(writes)) == []
            total = getattr(draft.document, "total", None)
            assert outcome.total is None or total is None or outcome.total == total

    def test_the_ledger_holds_what_was_sent(self, bench: Bench, documents: str) -> None:
        drafts = self.drafts(bench, documents, 4)
        self.create_all(bench, drafts)
        amounts = {
            str(getattr(draft.document, "total", None) or getattr(draft.document, "amount", None)) for draft in drafts
        }
        lines = self.created(bench, documents)
        assert len(lines) == len(drafts)
        assert {normal(line["amount"]) for line in lines} == {normal(amount) for amount in amounts}
        assert all(line["currency"] == bench.currency for line in lines)

    def test_one_bad_element_does_not_stop_the_others(self, bench: Bench, writes: str) -> None:
        if writes in self.no_bad_draft:
            pytest.skip("every draft of this data type is acceptable")
        drafts = self.drafts(bench, writes, 3)
        drafts[1] = self.bad_draft(drafts[1])
        first, bad, last = self.create_all(bench, drafts)
        assert isinstance(bad, RecordRejected)
        assert bad.user_message.endswith((".", "!", "?"))
        assert {written(first).external_id, written(last).external_id} <= self.ids_created(bench, writes)
        assert len(self.created(bench, writes)) == 2

    def test_the_same_key_writes_once(self, bench: Bench, writes: str) -> None:
        scheme = bench.parts.manifest.idempotency
        if scheme is None or scheme.key_in is None:
            pytest.skip("this provider knows repeated writes only by searching")
        stream = bench.writable(writes)
        drafts = self.batch(bench, writes, first=10)
        first = stream.create(bench.client, drafts, key="same-key")
        count = len(self.created(bench, writes))
        second = stream.create(bench.client, drafts, key="same-key")
        assert len(self.created(bench, writes)) == count, "a second document came to be"
        assert [written(found).external_id for found in first] == [written(found).external_id for found in second]

    def test_a_lost_answer_is_looked_up(self, bench: Bench, writes: str) -> None:
        stream, drafts = bench.writable(writes), self.batch(bench, writes, first=20)
        self.lose_answer(bench, writes, drafts, "drop_after")
        with pytest.raises(OutcomeUnknown):
            stream.create(bench.client, drafts, key="lost")
        never_sent = self.drafts(bench, writes, 1, first=777)
        found = stream.find(bench.client, [*drafts, *never_sent])
        assert set(found) == {draft.key for draft in drafts}
        assert {one.external_id for one in found.values()} <= self.ids_created(bench, writes)

    def test_several_batches_are_looked_up_together(self, bench: Bench, writes: str) -> None:
        stream = bench.writable(writes)
        drafts = self.drafts(bench, writes, 3, first=25)
        outcomes = [written(found).external_id for found in self.create_all(bench, drafts)]
        alone = bench.calls_during(lambda: [stream.find(bench.client, [draft]) for draft in drafts])
        found: dict[str, Written] = {}
        assert bench.calls_during(lambda: found.update(stream.find(bench.client, drafts))) < alone
        assert [found[draft.key].external_id for draft in drafts] == outcomes

    def test_a_write_that_never_arrived_is_not_found(self, bench: Bench, writes: str) -> None:
        stream, drafts = bench.writable(writes), self.batch(bench, writes, first=30)
        self.lose_answer(bench, writes, drafts, "drop_before")
        with pytest.raises(TransientError):
            stream.create(bench.client, drafts, key="never")
        assert stream.find(bench.client, drafts) == {}

    @pytest.mark.parametrize("kind", ["html", "half_body"])
    def test_an_unreadable_confirmation_is_unknown(self, bench: Bench, writes: str, kind: str) -> None:
        stream, drafts = bench.writable(writes), self.batch(bench, writes, first=40)
        self.lose_answer(bench, writes, drafts, kind)
        with pytest.raises(OutcomeUnknown):
            stream.create(bench.client, drafts, key="unreadable")

    def test_the_preview_is_what_is_sent(self, bench: Bench, writes: str) -> None:
        stream, drafts = bench.writable(writes), self.batch(bench, writes, first=50)
        preview = stream.preview(bench.client, drafts)
        request = stream.request(bench.client, drafts, key="previewed")
        bench.wire.requests.clear()
        stream.send(bench.client, drafts, request, key="previewed")
        (sent,) = [found for found in bench.wire.requests if is_at(found, request.method, request.path)]
        assert sent.content == request.content, "what was committed goes out byte for byte"
        assert sent.headers["content-type"] == request.content_type
        assert (preview.method, preview.path, preview.body) == (request.method, request.path, request.body)
        secret = bench.token.current()
        assert secret not in f"{request.path} {request.body}"

    def test_taking_back_is_visible(self, bench: Bench, documents: str) -> None:
        stream = bench.writable(documents)
        (outcome,) = self.create_all(bench, self.drafts(bench, documents, 1, first=60))
        id = written(outcome).external_id
        (voided,) = stream.void(bench.client, [id])
        if documents in self.cannot_void:
            assert isinstance(voided, RecordRejected)
            assert voided.user_message.endswith((".", "!", "?"))
            return
        written(voided)
        left = only(documents, stream.fetch(bench.client, [id]))
        assert all(found.is_deleted or getattr(found.record, "status", "") == "void" for found in left)
        lines = [line for line in bench.simulator.ledger.after(0) if line["id"] == id]
        assert lines[-1]["action"] in ("void", "delete")
        assert lines[-1]["by"] == "connector"

    def test_what_changed_meanwhile_is_not_taken_back(self, bench: Bench, documents: str) -> None:
        if self.parts().manifest.category != "ledger" or documents in self.cannot_void:
            pytest.skip("only documents of ledgers are taken back under a version")
        stream = bench.writable(documents)
        (outcome,) = self.create_all(bench, self.drafts(bench, documents, 1, first=61))
        id = written(outcome).external_id
        (stale,) = stream.void(bench.client, [id], versions={id: "another"})
        assert isinstance(stale, RecordRejected)
        assert stale.code == "stale"
        (found,) = only(documents, stream.fetch(bench.client, [id]))
        assert stream.standing(found).is_void is False
        written(stream.void(bench.client, [id], versions={id: found.version})[0])
        left = only(documents, stream.fetch(bench.client, [id]))
        assert all(stream.standing(one).is_void for one in left)

    def test_drafts_stay_drafts(self, bench: Bench) -> None:
        if not self.parts().manifest.has_drafts:
            pytest.skip("this provider has no drafts")
        (draft,) = self.drafts(bench, "invoice", 1, first=65)
        (outcome,) = self.create_all(bench, [replace(draft, as_draft=True)])
        fetched = bench.writable("invoice").fetch(bench.client, [written(outcome).external_id])
        (held,) = only("invoice", fetched)
        assert isinstance(held.record, Invoice)
        assert held.record.status == "draft"

    def test_money_paid_back_leaves_the_account(self, bench: Bench) -> None:
        """On the credit note itself where the provider has it so, else as a payment that settles it."""
        if "credit_note" not in self.parts().manifest.writes:
            pytest.skip("credit notes are not written")
        (note,) = self.drafts(bench, "credit_note", 1, first=67)
        bank = self.books(bench).bank
        if bench.writable("credit_note").settles_on_document:
            held = self.create_and_fetch(bench, redraft(note, refund_ledger_account=bank))
            assert isinstance(held, CreditNote)
            assert (held.refund_ledger_account, held.total) == (bank, getattr(note.document, "total", None))
            return
        credit = self.create_and_fetch(bench, note)
        (payment,) = self.drafts(bench, "customer_payment", 1, first=68)
        amount = getattr(note.document, "total", None)
        paid = self.create_and_fetch(
            bench, redraft(payment, settles="credit_note", document_id=credit.id, amount=amount)
        )
        assert isinstance(paid, CustomerPayment)
        assert (paid.settles, paid.document_id, paid.amount) == ("credit_note", credit.id, amount)

    def create_and_fetch(self, bench: Bench, draft: Draft) -> Record:
        data_type = draft.document.data_type
        (outcome,) = self.create_all(bench, [draft])
        fetched = bench.writable(data_type).fetch(bench.client, [written(outcome).external_id])
        (held,) = only(data_type, fetched)
        return held.record

    def test_a_closed_period_is_respected(self, bench: Bench, documents: str) -> None:
        if self.parts().manifest.category != "ledger":
            pytest.skip("only ledgers close periods")
        draft = redraft(self.drafts(bench, documents, 1, first=70)[0], date=long_ago(bench))
        closed_until = (bench.simulator.now().date().replace(day=1)).isoformat()
        with bench.simulator.lock:
            bench.simulator.open_organisation({"id": bench.organisation, "books_closed_until": closed_until})
        self.refused(bench, draft, "closed_period")

    def test_an_archived_account_is_named(self, bench: Bench, documents: str) -> None:
        if self.parts().manifest.category != "ledger":
            pytest.skip("only ledgers have ledger accounts")
        draft = self.drafts(bench, documents, 1, first=80)[0]
        account = self.archived_account(bench, draft)
        self.refused(bench, on_account(draft, account), "archived_account")

    def test_a_customer_is_updated_without_losing_the_rest(self, bench: Bench) -> None:
        if "customer" not in self.parts().manifest.writes:
            pytest.skip("customers are not written")
        stream = bench.writable("customer")
        draft = self.drafts(bench, "customer", 1)[0]
        (outcome,) = self.create_all(bench, [draft])
        id = written(outcome).external_id
        (held,) = stream.fetch(bench.client, [id]).records
        change = redraft(draft, id=id, email="new@alder-finch.example", phone="")
        written(stream.update(bench.client, id, change, version=held.version))
        (after,) = stream.fetch(bench.client, [id]).records
        assert isinstance(after.record, Customer) and isinstance(draft.document, Customer)
        assert after.record.email == "new@alder-finch.example"
        assert after.version != held.version
        if "phone" in self.kept("customer"):
            assert after.record.phone == draft.document.phone, "a field left at its default is not sent"

    def test_a_customer_field_is_emptied_where_the_change_says_so(self, bench: Bench) -> None:
        if "customer" not in self.parts().manifest.writes:
            pytest.skip("customers are not written")
        stream = bench.writable("customer")
        (draft,) = self.drafts(bench, "customer", 1)
        home = Address(line1="1 Quay Street", city="Bristol", postal_code="BS1 1AA", country="GB")
        (outcome,) = self.create_all(bench, [redraft(draft, phone="+44 20 7946 0001", tax_number="GB1", address=home)])
        id = written(outcome).external_id
        (held,) = stream.fetch(bench.client, [id]).records
        names = [name for name in ("email", "phone", "tax_number", "address") if getattr(held.record, name)]
        for name in sorted({*names} - stream.cannot_empty):
            (before,) = stream.fetch(bench.client, [id]).records
            change = replace(draft, document=Customer(id=id, name="", emptied=(name,)))
            written(stream.update(bench.client, id, change, version=before.version))
            (after,) = stream.fetch(bench.client, [id]).records
            at = getattr(after.record, "updated_at", None)
            nothing: Any = Address() if name == "address" else ""
            assert after.record == msgspec.structs.replace(before.record, updated_at=at, **{name: nothing})

    def create_all(self, bench: Bench, drafts: list[Draft]) -> list[Outcome]:
        """Create drafts in batches of the stream's size."""
        stream = bench.writable(drafts[0].document.data_type)
        outcomes: list[Outcome] = []
        for start in range(0, len(drafts), stream.batch_size):
            part = drafts[start : start + stream.batch_size]
            outcomes += stream.create(bench.client, part, key=f"all-{part[0].key}")
        return outcomes

    def ids_created(self, bench: Bench, data_type: str) -> set[str]:
        return {line["id"] for line in self.created(bench, data_type)}

    def lose_answer(self, bench: Bench, data_type: str, drafts: list[Draft], kind: Any) -> None:
        """The fault waits for the write itself, not for a lookup before it."""
        preview = bench.writable(data_type).preview(bench.client, drafts)
        fault = Fault(match=f"{preview.method} {path_only(preview.path)}", kind=kind)
        bench.simulator.faults.add(fault)

    def archived_account(self, bench: Bench, draft: Draft) -> str:
        """The code of a ledger account that fits the draft's document but is archived."""
        data_type = draft.document.data_type
        kinds = {"expense": "expense", "customer_payment": "bank", "bank_transfer": "bank"}
        account = LedgerAccount(
            id="",
            code="9876",
            name="Archived by contract",
            kind=kinds.get(data_type, "income"),  # type: ignore[arg-type]
            is_archived=True,
        )
        (id,) = bench.simulator.plant(bench.organisation, [account])
        (held,) = bench.stream("ledger_account").fetch(bench.client, [id]).records
        assert isinstance(held.record, LedgerAccount) and held.record.is_archived
        return held.record.code

    def refused(self, bench: Bench, draft: Draft, code: str) -> None:
        """The draft is refused for this reason and nothing is written."""
        before = len(self.created(bench, draft.document.data_type))
        (outcome,) = self.create_all(bench, [draft])
        assert isinstance(outcome, RecordRejected), f"it was accepted: {outcome}"
        assert (outcome.code, outcome.user_message[-1:] in (".", "!", "?")) == (code, True), outcome.user_message
        assert len(self.created(bench, draft.document.data_type)) == before


def written(outcome: Outcome) -> Written:
    """The outcome of a draft that has to be accepted."""
    if isinstance(outcome, ConnectorError):
        pytest.fail(f"it was refused: {outcome.user_message} ({outcome.detail})")
    return outcome


def normal(amount: str) -> str:
    """An amount as text without idle zeros."""
    return f"{msgspec.convert(amount, type=Decimal).normalize():f}"


def is_at(request: httpx.Request, method: str, path: str) -> bool:
    return request.method == method and request.url.path == path_only(path)
