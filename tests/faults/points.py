"""The named places in our code at which a process is killed or stands still, and how it does so exactly there.

The product knows nothing of them: `watch` puts a wrapper around each named function, wherever it is referred to, and around COMMIT. A file
`strike-<point>` in a folder asks for a blow; the first process that comes to the point takes the file away and strikes itself.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

Act = Literal["kill", "stop"]
When = Literal["before", "after", "before the commit in", "after the commit in"]
_OURS = ("marketplace", "connectors", "tenants")


@dataclass(frozen=True)
class Point:
    """`is_write`: only of the exchanges that carry a key by which the provider knows a repeated request."""

    name: str
    when: When
    function: str
    is_write: bool = False

    @property
    def file(self) -> str:
        return self.name.replace(" ", "-")


WORK, READ = "marketplace.core.work.", "marketplace.sync.operations."
PLAN, TASKS = "marketplace.posting.planning.", "marketplace.posting.tasks."
WRITE, LOOK = "marketplace.posting.writing.", "marketplace.posting.uncertain."
ROUND = "marketplace.posting.rounds."
VAULT, INTAKE = "marketplace.installations.vault.ConnectionToken.", "marketplace.sync.intake."
SHOPIFY = "connectors.providers.shopify.webhooks."
FIRST_BYTE = "the first byte"

POINTS = (
    # the queue
    Point("asking for work", "before", WORK + "request_work"),
    Point("work was asked for", "after", WORK + "request_work"),
    Point("telling the ring", "before", WORK + "_announce"),
    Point("the ring was told", "after", WORK + "_announce"),
    Point("claiming", "before the commit in", WORK + "_claim_in_turn"),
    Point("claimed", "after the commit in", WORK + "_claim_in_turn"),
    Point("beginning work", "before", WORK + "do_work"),
    Point("prolonging the lease", "before", WORK + "hold_lease"),
    Point("the lease was prolonged", "after", WORK + "hold_lease"),
    Point("finishing", "before", WORK + "finish_work"),
    Point("forgetting finished work", "before the commit in", WORK + "finish_work"),
    Point("finished work is forgotten", "after the commit in", WORK + "finish_work"),
    # reading
    Point("opening a run", "before the commit in", READ + "_begin"),
    Point("a run is open", "after the commit in", READ + "_begin"),
    Point("keeping a page", "before", READ + "accept_page"),
    Point("moving the cursor", "after", READ + "accept_page"),
    Point("committing a page", "before the commit in", READ + "_checkpoint"),
    Point("a page is committed", "after the commit in", READ + "_checkpoint"),
    Point("closing a run", "before the commit in", READ + "_finish"),
    Point("a run is closed", "after the commit in", READ + "_finish"),
    # webhooks
    Point("receiving a delivery", "before", "marketplace.sync.webhook_views.receive_delivery"),
    Point("committing a delivery", "before", INTAKE + "_commit"),
    Point("a delivery is committed", "after", INTAKE + "_commit"),
    Point("acknowledging a delivery", "after", "marketplace.sync.webhook_views.receive_delivery"),
    Point("following events", "before", "marketplace.sync.events.follow_waiting"),
    Point("events were followed", "after", "marketplace.sync.events.follow_waiting"),
    Point("keeping what events tell of", "before the commit in", READ + "fetch_records"),
    Point("what events tell of is kept", "after the commit in", READ + "fetch_records"),
    Point("subscribing", "before", SHOPIFY + "ShopifyWebhooks.subscribe"),
    Point("subscribed", "after", SHOPIFY + "ShopifyWebhooks.subscribe"),
    # tokens
    Point("refreshing a token", "before", VAULT + "_refresh"),
    Point("the provider answered new tokens", "after", "connectors.sdk.oauth.OAuth.refresh"),
    Point("committing new tokens", "before the commit in", VAULT + "_refreshed"),
    Point("new tokens are committed", "after the commit in", VAULT + "_refreshed"),
    # planning
    Point("planning", "before", PLAN + "plan_flow"),
    Point("writing a plan down", "before", PLAN + "_write"),
    Point("a plan is written down", "after", PLAN + "_write"),
    Point("committing a plan", "before the commit in", TASKS + "plan"),
    Point("a plan is committed", "after the commit in", TASKS + "plan"),
    # writing
    Point("taking over", "before the commit in", WRITE + "write_postings"),
    Point("taken over", "after the commit in", WRITE + "write_postings"),
    Point("noting the intent", "before", WRITE + "intend"),
    Point("from one round to the next", "before the commit in", WRITE + "_turn"),
    Point("in the next round", "after the commit in", WRITE + "_turn"),
    Point("about to check the lease", "before", "marketplace.posting.intent.Gate._pass"),
    Point(FIRST_BYTE, "before", "connectors.sdk.client.exchange", is_write=True),
    Point("the answer is here", "after", "connectors.sdk.client.exchange", is_write=True),
    Point("a request of a round is answered", "after", WRITE + "_send"),
    Point("settling", "before", ROUND + "settle"),
    Point("entries are noted", "after", ROUND + "settle_written"),
    Point("the answers are noted", "after", ROUND + "settle"),
    # what is uncertain
    Point("an outcome is unknown", "before", ROUND + "mark_uncertain"),
    Point("looking up", "before", LOOK + "_found"),
    Point("looked up", "after", LOOK + "_found"),
    Point("committing what was found", "before the commit in", LOOK + "look_up"),
    Point("what was found is committed", "after the commit in", LOOK + "look_up"),
    Point("committing to repeat", "before the commit in", WRITE + "_intend_again"),
    Point("the repeat is committed", "after the commit in", WRITE + "_intend_again"),
    # the summary
    Point("counting what waits", "before", "marketplace.posting.summaries.refresh_summary"),
    Point("what waits is counted", "after", "marketplace.posting.summaries.refresh_summary"),
)

QUICKBOOKS = "connectors.providers.quickbooks."
#: What only QuickBooks has: one batch call for everything, before which lists are searched and filled up.
QUICKBOOKS_POINTS = (
    Point("parties of a batch", "before", QUICKBOOKS + "names.party_ids"),
    Point("items of a batch", "after", QUICKBOOKS + "names.item_ids"),
    Point("invoices of payments", "after", QUICKBOOKS + "streams._invoice_ids"),
    Point("a batch is made up", "before", QUICKBOOKS + "client.QuickBooksClient.send"),
    Point("a batch was answered", "after", QUICKBOOKS + "client.QuickBooksClient.send"),
    Point("results are paired", "after", QUICKBOOKS + "batches.Written30.send"),
    Point("searching by our reference", "before", QUICKBOOKS + "batches.Written30.find"),
    Point("found by our reference", "after", QUICKBOOKS + "batches.Written30.find"),
)
#: All that a ledger of its own may do otherwise.
_WRITING = (WRITE, ROUND, LOOK, "marketplace.posting.intent.", "connectors.sdk.client.")
WRITING_POINTS = tuple(point for point in POINTS if point.function.startswith(_WRITING))
EVERY_POINT = (*POINTS, *QUICKBOOKS_POINTS)


class Strikes:
    """In one process: strikes at the points that were asked for, and says when the work it struck has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stood_at: list[str] = []

    def watch(self) -> None:
        """Called once the product is loaded."""
        from django.db import connections  # noqa: PLC0415 -- needs the loaded applications

        calls: dict[str, list[Point]] = {}
        for point in EVERY_POINT:
            if point.when in ("before", "after"):
                calls.setdefault(point.function, []).append(point)
        for function, points in calls.items():
            self._wrap(function, points)
        self._wrap_commit(type(connections["default"]))

    def tell_end(self) -> None:
        """The work in which this process stood still has come to its end."""
        for name in self._stood_at:
            (self._folder / f"ended-{name}").touch()
        self._stood_at.clear()

    def _wrap(self, dotted: str, points: list[Point]) -> None:
        owner, name = owner_of(dotted)
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for point in points:
                if point.when == "before" and (not point.is_write or _is_write(kwargs)):
                    self._strike(point, str(kwargs.get("content", "")))
            result = original(*args, **kwargs)
            for point in points:
                if point.when == "after" and (not point.is_write or _is_write(kwargs)):
                    self._strike(point)
            return result

        setattr(owner, name, wrapper)
        if isinstance(owner, type(sys)):
            replace_everywhere(original, wrapper)

    def _wrap_commit(self, wrapper_class: Any) -> None:
        commit = wrapper_class.commit
        points = [point for point in EVERY_POINT if point.when.endswith("the commit in")]

        def committing(database: Any) -> None:
            asked = [point for point in points if (self._folder / f"strike-{point.file}").exists()]
            here = _functions_of(sys._getframe(1)) if asked else set()
            for point in asked:
                if point.when == "before the commit in" and point.function in here:
                    self._strike(point)
            commit(database)
            for point in asked:
                if point.when == "after the commit in" and point.function in here:
                    self._strike(point)

        wrapper_class.commit = committing

    def _strike(self, point: Point, body: str = "") -> None:
        """The file says what to do, and what the request must contain; whoever takes it away is the one who is struck."""
        asked = self._folder / f"strike-{point.file}"
        try:
            act, words = asked.read_text().split(" ", 1)
            if words not in body:
                return
            asked.unlink()
        except FileNotFoundError:
            return
        self._stood_at.append(point.file)
        struck = self._folder / f"struck-{point.file}"
        struck.with_suffix(".part").write_text(str(os.getpid()))
        struck.with_suffix(".part").rename(struck)
        os.kill(os.getpid(), signal.SIGKILL if act == "kill" else signal.SIGSTOP)


def owner_of(dotted: str) -> tuple[Any, str]:
    """The module or class that holds it."""
    *path, name = dotted.split(".")
    for end in range(len(path), 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(path[:end]))
        except ModuleNotFoundError:
            continue
        for part in path[end:]:
            owner = getattr(owner, part)
        return owner, name
    raise LookupError(dotted)


def replace_everywhere(original: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
    """In every module that imported it by name, and among the functions of the queue."""
    from marketplace.core import work  # noqa: PLC0415 -- needs the loaded applications

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in _OURS:
            for attribute, value in list(vars(module).items()):
                if value is original:
                    setattr(module, attribute, wrapper)
    for kind, function in work._functions.items():
        if function is original:
            work._functions[kind] = wrapper


def _is_write(kwargs: dict[str, Any]) -> bool:
    """Documents carry a key by which the provider knows a repeated request."""
    return "Idempotency-Key" in (kwargs.get("headers") or {}) or "requestid" in (kwargs.get("params") or {})


def _functions_of(frame: FrameType | None) -> set[str]:
    """Every function that is under way, by its dotted name."""
    found = set()
    while frame is not None:
        found.add(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return found
