"""The control API of a simulator under `/_sim/`: seed it, break it, wind its clock, read what happened.

It answers callers on the same machine only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from werkzeug import Request, Response

from connectors.sdk.records import RECORD_TYPES, Record, decode
from connectors.testing.faults import Fault, UnknownFault
from connectors.testing.ledger import AUTHORS
from connectors.testing.routing import Refused, json_body, json_response

if TYPE_CHECKING:
    from connectors.testing.simulator import Simulator


class Control:
    """One method a command; a command's arguments are the JSON body, or the query of a GET."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._commands: dict[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
            ("POST", "seed"): self.seed,
            ("POST", "organisations"): self.open_organisation,
            ("GET", "organisations"): self.organisations,
            ("GET", "ledger"): self.ledger,
            ("GET", "trial-balance"): self.trial_balance,
            ("GET", "counts"): self.counts,
            ("GET", "deliveries"): self.deliveries,
            ("POST", "faults"): self.add_fault,
            ("DELETE", "faults"): self.clear_faults,
            ("POST", "clock"): self.clock,
            ("POST", "webhooks"): self.webhooks,
            ("POST", "disconnect"): self.disconnect,
            ("POST", "reset"): self.reset,
        }

    def answer(self, request: Request) -> Response:
        if not _is_loopback(request.remote_addr or ""):
            return json_response({"error": "The control API answers this machine only."}, 403)
        command = self._commands.get((request.method, request.path.removeprefix("/_sim/").strip("/")))
        if command is None:
            return json_response({"error": "There is no such command."}, 404)
        try:
            arguments = json_body(request) if request.get_data() else request.args
            return json_response(command(arguments))
        except Refused as refused:
            return json_response({"error": refused.message}, refused.status)
        except (UnknownFault, msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, 400)

    def seed(self, arguments: Mapping[str, Any]) -> Any:
        records = [_record(body) for body in arguments["records"]]
        by = arguments.get("by", "staff")
        if by not in AUTHORS:
            raise Refused(400, f"by must be one of {', '.join(AUTHORS)}")
        ids = self._simulator.seed(
            str(arguments["organisation"]), records, by=by, emit=bool(arguments.get("emit", False))
        )
        return {"ids": ids}

    def open_organisation(self, arguments: Mapping[str, Any]) -> Any:
        return self._simulator.open_organisation(arguments)

    def organisations(self, arguments: Mapping[str, Any]) -> Any:
        return {"organisations": self._simulator.organisations()}

    def ledger(self, arguments: Mapping[str, Any]) -> Any:
        return {"lines": self._simulator.ledger.after(int(arguments.get("after", 0)))}

    def trial_balance(self, arguments: Mapping[str, Any]) -> Any:
        balances = self._simulator.ledger.trial_balance(str(arguments["organisation"]))
        return {"currencies": {currency: _as_text(balance) for currency, balance in balances.items()}}

    def counts(self, arguments: Mapping[str, Any]) -> Any:
        counts = self._simulator.counts
        calls = {route: count for route, count in counts.items() if route != "refused_429"}
        return {
            "calls": calls,
            "total": sum(calls.values()),
            "refused_429": counts["refused_429"],
            "connections": self._simulator.connections_seen(),
            "faults": dict(self._simulator.faults.met),
            "deliveries": self._simulator.outbox.statuses(),
        }

    def deliveries(self, arguments: Mapping[str, Any]) -> Any:
        return {"deliveries": self._simulator.outbox.deliveries()}

    def add_fault(self, arguments: Mapping[str, Any]) -> Any:
        self._simulator.faults.add(Fault(**arguments))
        return {"ok": True}

    def clear_faults(self, arguments: Mapping[str, Any]) -> Any:
        self._simulator.faults.clear()
        return {"ok": True}

    def clock(self, arguments: Mapping[str, Any]) -> Any:
        if "frozen" in arguments:
            self._simulator.freeze(is_frozen=bool(arguments["frozen"]))
        self._simulator.advance(float(arguments.get("advance_seconds", 0)))
        return {"now": self._simulator.now().isoformat()}

    def webhooks(self, arguments: Mapping[str, Any]) -> Any:
        self._simulator.outbox.behave(arguments)
        return vars(self._simulator.outbox.habits)

    def disconnect(self, arguments: Mapping[str, Any]) -> Any:
        """The person ends the connection at the provider's side."""
        grants = self._simulator.oauth.live_grants(str(arguments["organisation"]))
        for grant in grants:
            self._simulator.oauth.end(grant.id)
        if grants:
            self._simulator.on_disconnected(grants[-1])
        return {"ended": len(grants)}

    def reset(self, arguments: Mapping[str, Any]) -> Any:
        self._simulator.reset()
        return {"ok": True}


def _record(body: Mapping[str, Any]) -> Record:
    """A standard record from JSON that names its `data_type`."""
    fields = {name: value for name, value in body.items() if name != "data_type"}
    data_type = body["data_type"]
    if data_type not in RECORD_TYPES:
        raise Refused(400, f"data_type must be one of {', '.join(RECORD_TYPES)}")
    return decode(data_type, msgspec.json.encode(fields))


def _as_text(balance: Mapping[str, Decimal]) -> dict[str, str]:
    return {account: str(amount) for account, amount in balance.items()}


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
