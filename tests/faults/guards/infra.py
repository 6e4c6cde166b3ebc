"""What keeps servers that fall over, and providers that answer badly, from doing harm."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from django.conf import settings

from connectors.providers.xero import listing
from connectors.sdk import client, exchange
from connectors.sdk.errors import UnexpectedResponse
from marketplace.core import tasks, views
from marketplace.posting import writing
from marketplace.sync import operations as reading
from tests.faults.removal import guard, replace

EXCHANGE = "tests/faults/test_exchange.py::test_answer_that_is_none_ends_in_time_and_says_what_it_means"


@guard("an answer may not be larger than any right answer", noticed_by=f"{EXCHANGE}[endless-read]", in_ci=True)
def _() -> None:
    def unbounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
        yield from pieces

    replace(exchange, "_bounded", unbounded)


@guard(
    "a packed answer is unpacked bit by bit",
    noticed_by="tests/faults/test_exchange.py::test_answer_too_large_takes_little_memory[bomb]",
)
def _() -> None:
    replace(exchange, "_WRITTEN_AT_ONCE", sys.maxsize)


@guard("one deadline covers the whole exchange", noticed_by=f"{EXCHANGE}[head a byte at a time-read]")
def _() -> None:
    def each_wait(timeout: float | None, error: type[Exception]) -> float | None:
        return timeout

    replace(exchange, "_left", each_wait)


@guard("half a packed answer is no answer", noticed_by=f"{EXCHANGE}[packed and cut-write]")
def _() -> None:
    def unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
        yield b"{}"

    replace(exchange, "_unpacked", unpacked)


@guard("an unreadable answer to a write leaves its outcome unknown", noticed_by=f"{EXCHANGE}[login page-write]")
def _() -> None:
    def refused(self: client.Client, words: str, detail: str, is_write: bool) -> Exception:
        return UnexpectedResponse(words, detail=detail)

    replace(client.Client, "_unreadable", refused)


RESTORE = "tests/faults/test_restore.py::test_nothing_sent_since_the_backup_is_sent_again"


@guard("what a restored database forgot is looked up before it is sent", noticed_by=f"{RESTORE}[0-copied-xero]")
def _() -> None:
    replace(writing, "settle_forgotten", lambda *args: ())


@guard("a database that was moved knows that it was restored", noticed_by=f"{RESTORE}[0-copied-xero]")
def _() -> None:
    replace(writing, "restored_at", lambda: None)


@guard(
    "an answer without its list is no complete listing",
    noticed_by="tests/faults/test_reading.py::test_list_that_breaks_off_and_changes_loses_nothing_and_deletes_nothing[error_body]",
)
def _() -> None:
    replace(listing, "rows_of", lambda answer, list_key: list(answer.get(list_key) or []))


@guard(
    "a record that cannot be kept is set aside",
    noticed_by="tests/faults/test_reading.py::test_record_that_cannot_be_kept_does_not_hold_up_its_page[no number]",
)
def _() -> None:
    replace(reading, "without_unstorable", lambda tenant_id, connection_id, data_type, page, zone: page)


@guard(
    "what is due is looked for, whatever became of its message",
    noticed_by="tests/faults/test_broker.py::test_message_that_was_lost_is_sent_again_by_the_next_tick",
)
def _() -> None:
    replace(tasks, "due_count", lambda at_most: 0)


@guard(
    "a cache that stands still holds no request",
    noticed_by="tests/faults/test_broker.py::test_health_tells_whether_work_is_consumed_not_whether_a_process_lives",
)
def _() -> None:
    settings.CACHES["default"]["OPTIONS"] = {}


@guard(
    "what a lost session left under way is looked up",
    noticed_by="tests/faults/test_protocol.py::test_crash_after_the_send_repeats_nothing_although_more_came_since",
)
def _() -> None:
    replace(writing, "look_up", lambda owner, connection, client: (None, []))


@guard(
    "an outage of the database is said to be one",
    noticed_by="tests/faults/test_database.py::test_people_and_senders_are_told_when_the_database_is_away",
)
def _() -> None:
    replace(views, "is_outage", lambda error: False)
