"""What goes wrong on the way becomes the error that says who has to act."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    RateLimited,
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from connectors.testing.contract.bench import Bench
from connectors.testing.contract.setup import Setup
from connectors.testing.faults import Fault

ALWAYS = 99


class TroubleRules(Setup):
    def trouble_type(self, bench: Bench) -> str:
        """The data type that is read while trouble is made: the first with a listing of its own."""
        fitting = [found for found in bench.parts.streams if not found.carried_by]
        return next((found.data_type for found in fitting if found.data_type != "company"), fitting[0].data_type)

    def make_trouble(self, bench: Bench, kind: Any, **fault: Any) -> None:
        bench.simulator.faults.add(Fault(match="* /", kind=kind, **fault))

    def read(self, bench: Bench) -> int:
        return len(bench.read(self.trouble_type(bench)))

    def error_of(self, bench: Bench) -> ConnectorError:
        with pytest.raises(ConnectorError) as caught:
            self.read(bench)
        assert caught.value.user_message.endswith((".", "!", "?")), "a sentence for people"
        assert bench.token.current() not in f"{caught.value} {caught.value.detail}", "no secret in an error"
        return caught.value

    def test_an_expired_token_is_renewed_once(self, bench: Bench) -> None:
        expected = self.read(bench)
        self.make_trouble(bench, "reset_token")
        assert self.read(bench) == expected
        assert bench.token.renewals == 1

    def test_a_token_refused_twice_asks_for_reconnecting(self, bench: Bench) -> None:
        self.make_trouble(bench, "status", status=401, times=ALWAYS)
        assert isinstance(self.error_of(bench), ReconnectRequired)
        assert bench.token.renewals == 1

    def test_a_missing_right_is_a_matter_of_settings(self, bench: Bench) -> None:
        self.make_trouble(bench, "status", status=403, times=ALWAYS)
        assert isinstance(self.error_of(bench), ConfigurationError)

    def test_slowing_down_is_obeyed(self, bench: Bench) -> None:
        expected = self.read(bench)
        self.make_trouble(bench, "status", status=429, seconds=7)
        bench.waited.clear()
        assert self.read(bench) == expected
        assert sum(bench.waited) >= 7

    def test_slowing_down_for_ever_is_told(self, bench: Bench) -> None:
        self.make_trouble(bench, "status", status=429, seconds=3, times=ALWAYS)
        error = self.error_of(bench)
        assert isinstance(error, RateLimited)
        assert error.retry_after > 0

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_trouble_at_the_provider_passes(self, bench: Bench, status: int) -> None:
        self.make_trouble(bench, "status", status=status, times=ALWAYS)
        error = self.error_of(bench)
        assert isinstance(error, TransientError)

    def test_one_failure_is_not_noticed(self, bench: Bench) -> None:
        expected = self.read(bench)
        for kind in ("status", "drop_before", "drop_after", "half_body"):
            self.make_trouble(bench, kind)
            assert self.read(bench) == expected

    def test_an_answer_broken_off_is_transient(self, bench: Bench) -> None:
        self.make_trouble(bench, "half_body", times=ALWAYS)
        assert isinstance(self.error_of(bench), TransientError | UnexpectedResponse)

    def test_a_page_of_html_is_not_an_answer(self, bench: Bench) -> None:
        self.make_trouble(bench, "html", times=ALWAYS)
        assert isinstance(self.error_of(bench), TransientError | UnexpectedResponse)
