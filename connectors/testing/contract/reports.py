"""What a ledger says itself of its books is read to the cent, or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from functools import partial

import pytest

from connectors.sdk.errors import UnexpectedResponse
from connectors.testing.contract.bench import Bench
from connectors.testing.contract.setup import Setup, long_ago
from connectors.testing.ledger import RECEIVABLE

ZERO = Decimal(0)


def _said_instead(body: bytes, answer: bytes) -> bytes:
    return body


class ReportRules(Setup):
    def balances(self, bench: Bench, day: dt.date) -> Mapping[str, Decimal]:
        found = bench.client.trial_balance(day)
        if found is None:
            pytest.skip("this provider offers no trial balance")
        return {one.account_id: one.amount for one in found.balances}

    def test_trial_balance_follows_what_is_posted(self, bench: Bench) -> None:
        today = bench.simulator.now().date()
        before = self.balances(bench, today)
        self.seed(bench, "invoice", 3)
        after = self.balances(bench, today)
        moved = {id: after[id] - before.get(id, ZERO) for id in after if after[id] != before.get(id, ZERO)}
        assert sum(after.values(), ZERO) == 0
        owed = sum((Decimal(line["movements"][RECEIVABLE]) for line in bench.simulator.ledger.after(0)), ZERO)
        assert max(moved.values()) == owed
        assert len(moved) >= 2
        assert self.balances(bench, long_ago(bench)) == {}

    def test_trial_balance_that_cannot_be_read_passes_for_none(self, bench: Bench) -> None:
        self.balances(bench, bench.simulator.now().date())
        for body in (b"{}", b'{"Reports": [{"Rows": []}]}', b'{"Columns": {"Column": []}, "Rows": {}}', b"[]"):
            bench.wire.tamper = partial(_said_instead, body)
            with pytest.raises(UnexpectedResponse):
                bench.client.trial_balance(bench.simulator.now().date())
