"""Routes as decorated methods, collected over a class and its mixins; and JSON without floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from werkzeug import Request, Response
from werkzeug.routing import Map, Rule

from connectors.sdk.client import dump_json, parse_json

View = TypeVar("View", bound=Callable[..., Response])


class Refused(Exception):
    """Ends a call: the simulator's `error_response` for `status`, or `response` when that says more."""

    def __init__(self, status: int, message: str = "", *, response: Response | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.response = response


def route(method: str, rule: str) -> Callable[[View], View]:
    """The method answers this call; routes may be stacked. The path's variables arrive as keywords."""

    def decorate(view: View) -> View:
        routes: list[tuple[str, str]] = [*getattr(view, "routes", []), (method, rule)]
        view.routes = routes  # type: ignore[attr-defined]
        return view

    return decorate


def route_map(owner: type, extra: Mapping[tuple[str, str], str]) -> Map:
    """All routes of a class; `extra` adds (method, rule) -> name of a method."""
    rules = {
        (method, rule): name
        for cls in reversed(owner.__mro__)
        for name, view in vars(cls).items()
        for method, rule in getattr(view, "routes", ())
    }
    wanted = {key: name for key, name in (dict(extra) | rules).items() if key[1]}
    return Map(
        [Rule(rule, methods=[method], endpoint=name) for (method, rule), name in wanted.items()],
        strict_slashes=False,
        merge_slashes=False,
    )


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Decimals are written as JSON numbers, digit for digit."""
    return Response(dump_json(body), status, headers=dict(headers or {}), content_type="application/json")


def json_body(request: Request) -> Any:
    """The request's JSON, numbers with a fraction as Decimal. Raises `Refused` (400) on anything else."""
    try:
        return parse_json(request.get_data())
    except ValueError as error:
        raise Refused(400, f"The body is not readable JSON: {error}") from error
