"""What posting, the queue and checkpoints are guarded by."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from connectors.providers.xero import listing
from connectors.sdk.errors import ConnectorError
from connectors.sdk.streams import Written
from marketplace.core import work
from marketplace.core.clock import now
from marketplace.cutover import operations as cutover
from marketplace.installations.models import Connection
from marketplace.posting import batches, intent, looking_again, rounds, uncertain, writing
from marketplace.posting.models import PostingBatch
from marketplace.sync import operations as reading
from marketplace.sync.models import StreamState
from tenants.context import tenant
from tests.faults.removal import guard, replace

PROTOCOL = "tests/faults/test_protocol.py::test_"
ROUNDS = "tests/faults/test_rounds.py::test_"
QUEUE = "tests/faults/test_queue.py::test_"
CHECKPOINTS = "tests/faults/test_checkpoints.py::test_"


@guard(
    "the lease is checked right before the first byte",
    noticed_by=PROTOCOL + "worker_overtaken_between_its_intent_and_its_first_byte_sends_nothing",
    in_ci=True,
)
def _() -> None:
    replace(intent, "check_lease", work.without_lease)


@guard(
    "an intent is acted on before its deadline or not at all",
    noticed_by=PROTOCOL + "intent_that_was_not_acted_on_in_time_is_looked_up_and_not_sent",
)
def _() -> None:
    replace(intent, "_BEGIN", intent._BEGIN.replace("clock_timestamp() < %s", "%s::timestamptz IS NOT NULL"))


@guard(
    "the intent is committed before the first byte",
    noticed_by=PROTOCOL + "crash_after_the_send_repeats_nothing_although_more_came_since",
    in_ci=True,
)
def _() -> None:
    def only_thought_of(connection: Any, chosen: Sequence[batches.Chosen]) -> list[PostingBatch]:
        thought_of = [batches._batch_of(connection, one) for one in chosen]
        for batch in thought_of:
            batch.deadline_at = now() + dt.timedelta(minutes=1)
        return thought_of

    replace(writing, "intend", only_thought_of)


@guard("a key stands for one request", noticed_by=PROTOCOL + "key_that_stands_for_another_request_is_refused")
def _() -> None:
    weaker = batches._INTEND.replace("AND known.request_digest = excluded.request_digest", "")
    replace(batches, "_INTEND", weaker)


@guard(
    "the ledger is asked before anything is repeated",
    noticed_by=PROTOCOL + "unconfirmed_invoice_at_xero_is_decided_however_much_later[drop_after-91 minutes]",
)
def _() -> None:
    def ask_nobody(*args: Any) -> dict[str, Written]:
        return {}

    replace(uncertain, "_asked", ask_nobody)


@guard(
    "what was being sent while the ledger was asked is not taken for absent",
    noticed_by=PROTOCOL + "request_that_arrives_while_the_ledger_is_asked_is_not_taken_for_absent",
)
def _() -> None:
    decide = uncertain._decide_absent

    def look_afterwards(connection: Connection, one: uncertain.Unconfirmed, *args: Any) -> Any:
        return decide(connection, dataclasses.replace(one, was_being_sent=intent.is_being_sent(one.batch.pk)), *args)

    replace(uncertain, "_decide_absent", look_afterwards)


@guard(
    "a fresh key once the ledger has forgotten the old one",
    noticed_by=PROTOCOL + "unconfirmed_invoice_at_xero_is_decided_however_much_later[drop_before-91 minutes]",
)
def _() -> None:
    replace(uncertain, "key_lasts", lambda connection: dt.timedelta(days=1000))


@guard(
    "nothing is repeated while a worker may still send it",
    noticed_by=PROTOCOL + "request_is_not_repeated_while_a_worker_stands_still_in_the_middle_of_sending_it",
)
def _() -> None:
    replace(uncertain, "being_sent", lambda batch_ids: set())


@guard(
    "what went out under a fresh key is looked for again",
    noticed_by=PROTOCOL + "entry_that_is_there_twice_after_all_is_found_within_minutes_and_shown",
)
def _() -> None:
    replace(looking_again, "_hold_twice", lambda connection, found: None)


@guard(
    "a refused repeat does not make the first request unwritten",
    noticed_by=PROTOCOL + "refused_repeat_leaves_open_what_became_of_the_first_request",
)
def _() -> None:
    def take_its_word(sending: rounds.Sending, error: ConnectorError) -> None:
        batches.plan_again(sending.batch, error)

    replace(rounds, "_settle_refused", take_its_word)


@guard(
    "who was overtaken writes nothing down",
    noticed_by=PROTOCOL + "worker_overtaken_while_it_waited_for_the_answer_writes_nothing_down",
)
def _() -> None:
    replace(writing, "holding_lease", tenant)


@guard(
    "what of a round was not sent is planned as before",
    noticed_by=ROUNDS + "ledger_that_asks_to_slow_down_in_the_middle_leaves_the_rest_planned",
)
def _() -> None:
    replace(rounds, "give_back", lambda unsent: None)


@guard(
    "what is paused is looked at right before the first byte",
    noticed_by=ROUNDS + "stop_in_the_middle_of_a_round_keeps_the_next_request_back[stop_by_pausing]",
)
def _() -> None:
    replace(intent.Gate, "_look", lambda gate, batch: None)


@guard(
    "a writer at work is told of a pause",
    noticed_by=ROUNDS + "stop_in_the_middle_of_a_round_keeps_the_next_request_back[stop_by_pausing]",
)
def _() -> None:
    replace(cutover, "_stop_writing", lambda flow: None)


@guard(
    "the answers of a round outlive a refusal after them",
    noticed_by=ROUNDS + "ledger_that_asks_to_slow_down_in_the_middle_leaves_the_rest_planned",
)
def _() -> None:
    careful = writing._turn

    def raise_first(writer: writing.Writer, sent: rounds.Sent, *, may_go_on: bool) -> list[rounds.Sending]:
        if sent.trouble is not None:
            raise sent.trouble
        return careful(writer, sent, may_go_on=may_go_on)

    replace(writing, "_turn", raise_first)


@guard(
    "nothing of a round is begun after a lost answer",
    noticed_by=ROUNDS + "lost_answer_in_the_middle_leaves_one_request_unconfirmed_and_the_rest_planned",
)
def _() -> None:
    careful = writing._send_all

    def go_on(writer: writing.Writer, sendings: Sequence[rounds.Sending]) -> rounds.Sent:
        sent = careful(writer, sendings)
        while sent.unsent:
            sent.answered.append(writing._send(writer, sent.unsent.pop(0)))
        return sent

    replace(writing, "_send_all", go_on)


@guard(
    "a request is intended whole or not at all",
    noticed_by=ROUNDS + "posting_withdrawn_before_its_round_is_committed_keeps_only_its_own_request_back",
)
def _() -> None:
    replace(batches, "_INTEND", batches._INTEND.replace("WHERE told.size = (", "WHERE told.size >= ("))


@guard(
    "two entries with our reference are for a person to judge",
    noticed_by=PROTOCOL + "two_entries_with_our_reference_are_held_for_a_person_who_accepts",
)
def _() -> None:
    replace(Written, "beside", lambda self, other: self)


@guard(
    "a worker passes over what another is taking",
    noticed_by=QUEUE + "item_that_another_worker_is_about_to_take_is_passed_over",
)
def _() -> None:
    for name in ("_TURN", "_TAKE", "_TAKE_ANY"):
        replace(work, name, getattr(work, name).replace("FOR UPDATE SKIP LOCKED", ""))


@guard(
    "what is asked for while it is done is done again",
    noticed_by="tests/sync/test_work_queue.py::test_work_asked_for_while_it_ran_is_done_again_at_once",
)
def _() -> None:
    replace(work, "_LOCK", work._LOCK.replace("SELECT requests", "SELECT 0"))


@guard(
    "the work of a dead worker is free at once",
    noticed_by=QUEUE + "work_of_a_dead_worker_is_free_at_once_and_that_of_a_silent_one_is_not",
)
def _() -> None:
    for name in ("_TAKE", "_TAKE_ANY"):
        weaker = getattr(work, name).replace("OR NOT EXISTS (SELECT FROM pg_stat_get_activity(holder_pid))", "")
        replace(work, name, weaker)


@guard(
    "the place in a list moves with the rows before it",
    noticed_by=CHECKPOINTS + "reader_killed_in_the_middle_of_a_page_reads_it_again",
)
def _() -> None:
    careful = reading._checkpoint

    def place_first(state: reading.Reading, page: Any, client: Any) -> None:
        with tenant(state.owner):
            StreamState.objects.filter(pk=state.state.pk).update(cursor=page.cursor)
        careful(state, page, client)

    replace(reading, "_checkpoint", place_first)


@guard(
    "a list is read on from before its last row",
    noticed_by=CHECKPOINTS + "row_that_changed_in_the_same_instant_as_the_last_one_read_is_not_missed",
)
def _() -> None:
    replace(listing, "OVERLAP", dt.timedelta(seconds=-1))
