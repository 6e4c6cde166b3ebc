"""What two-way flows are guarded by."""

from __future__ import annotations

import datetime as dt

from connectors.sdk.client import Client
from connectors.sdk.streams import Outcome
from marketplace.mapping.merging import Base, Rules, Values
from marketplace.mapping.plan import PlannedDocument
from marketplace.posting import conflicts, echoes, planning, settling, writing
from marketplace.posting.models import Posting
from marketplace.posting.rounds import Sending
from tests.faults.removal import guard, replace

_BEHAVIOUR = "tests/posting/test_two_way.py::"


@guard(
    "what the other side made of our write is the new base",
    noticed_by=f"{_BEHAVIOUR}test_ledger_that_spells_everything_its_own_way_starts_no_ping_pong",
    in_ci=True,
)
def _() -> None:
    replace(
        settling,
        "confirm_pairs",
        lambda as_sent, answered: echoes.confirm_pairs(
            [posting for posting in as_sent if posting.action == "create"], answered
        ),
    )


@guard(
    "a write of ours that comes late is known by its fingerprint",
    noticed_by="tests/faults/test_two_way.py::test_late_write_of_ours_is_not_taken_for_an_edit",
)
def _() -> None:
    replace(Base, "late_until", lambda self, side, name, text, at: "")


@guard(
    "the newest is judged by when the field was changed",
    noticed_by=f"{_BEHAVIOUR}test_newest_change_wins_by_when_the_field_was_changed_and_not_by_our_own_writes",
)
def _() -> None:
    def note_seen(self: Base, side: str, own: Values, at: dt.datetime) -> None:
        self.seen[side] = {name: [text, at.isoformat()] for name, text in own.items()}

    replace(Base, "note_seen", note_seen)


@guard(
    "a person who wants to be asked is asked",
    noticed_by=f"{_BEHAVIOUR}test_ask_holds_the_field_and_writes_the_others",
)
def _() -> None:
    replace(Rules, "winner", lambda self, name, source_at, target_at: (self.owner, "owner"))


@guard(
    "a choice holds for the values that were shown",
    noticed_by=f"{_BEHAVIOUR}test_choice_is_refused_when_a_value_was_changed_meanwhile",
)
def _() -> None:
    replace(conflicts, "_is_as_shown", lambda conflict, shown: True)


@guard(
    "a change names the version that it replaces",
    noticed_by=f"{_BEHAVIOUR}test_contact_edited_between_our_read_and_our_write_is_compared_again",
)
def _() -> None:
    def write(client: Client, sending: Sending) -> list[Outcome]:
        if sending.batch.action == "create":
            return sending.stream.create(client, sending.drafts, key=sending.batch.key)
        return [sending.stream.update(client, sending.postings[0].external_id, sending.drafts[0], version="")]

    replace(writing, "_write", write)


@guard(
    "a direction waits for what the other one has under way",
    noticed_by=f"{_BEHAVIOUR}test_our_new_contact_read_before_its_answer_is_not_taken_for_a_new_person",
)
def _() -> None:
    replace(planning, "waiting_for_the_way_back", lambda flow, mirror: (set(), False))


@guard(
    "nobody is new before the other side was read to the end",
    noticed_by=f"{_BEHAVIOUR}test_nothing_is_deleted_or_created_while_the_other_side_is_not_read_to_the_end",
)
def _() -> None:
    replace(planning, "_knows_all_contacts", lambda flow: True)


@guard(
    "a change that was made once is made again when it is wanted again",
    noticed_by=f"{_BEHAVIOUR}test_value_that_was_written_before_is_written_again_when_it_is_wanted_again",
)
def _() -> None:
    def is_as_wanted(plan: planning.Planning, known: Posting, document: PlannedDocument) -> bool:
        return known.state in planning.IN_LEDGER

    replace(planning, "_is_as_wanted", is_as_wanted)
