"""What two-way flows are guarded by."""

from __future__ import annotations

import datetime as dt

from connectors.sdk.client import Client
from connectors.sdk.streams import Outcome
from marketplace.mapping import merging
from marketplace.mapping.contact_values import Values
from marketplace.mapping.merging import Base, Look, Rules
from marketplace.mapping.plan import PlannedDocument
from marketplace.posting import conflicts, echoes, pairs, planning, settling, writing
from marketplace.posting.models import Posting
from marketplace.posting.rounds import Sending
from tests.faults.removal import guard, replace

_BEHAVIOUR = "tests/posting/test_two_way.py::"
_CASES, _LATE, _WON = (f"tests/mapping/test_merging{part}.py::" for part in ("", "_late", "_winners"))


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
    replace(Base, "may_be_late", lambda self, side, name, text, at: False)


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
            return sending.stream.send(client, sending.drafts, sending.request, key=sending.batch.key)
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


@guard(
    "an emptied field is a change of its side",
    noticed_by=f"{_CASES}test_emptied_on_one_side_is_carried_in_its_direction_only",
)
def _() -> None:
    replace(merging, "_is_emptied", lambda base, way, own, name: False)


@guard(
    "a late write of ours over an emptied field is taken away again",
    noticed_by=f"{_LATE}test_late_write_over_an_emptied_field_is_emptied_again",
)
def _() -> None:
    replace(Rules, "may_empty", lambda self, name: False)


@guard(
    "an emptying that we gave up is known for ours",
    noticed_by=f"{_LATE}test_empty_field_that_may_be_a_late_emptying_is_asked_about",
)
def _() -> None:
    note_late = Base.note_late

    def note_filled(self: Base, side: str, sent: Values, at: dt.datetime, *, attempt: str) -> None:
        note_late(self, side, {name: text for name, text in sent.items() if text}, at, attempt=attempt)

    replace(Base, "note_late", note_filled)


@guard(
    "where late writes leave in doubt what people want a person is asked",
    noticed_by=f"{_LATE}test_two_late_writes_are_asked_about",
)
def _() -> None:
    replace(merging, "_is_doubtful", lambda base, look, late, name: False)


@guard(
    "a side that was changed back after a write without an answer was changed",
    noticed_by=f"{_LATE}test_side_that_was_changed_back_after_a_write_without_an_answer_clashes[020 7946 0001]",
)
def _() -> None:
    replace(merging, "_is_changed_twice", lambda base, way, back, name: False)


@guard(
    "what was agreed and only went out over a late write gives way to what people make of that",
    noticed_by=f"{_LATE}test_change_of_what_a_late_write_made_is_the_only_one[020 7946 0444]",
)
def _() -> None:
    replace(merging, "_give_way", lambda base, look, name: None)


@guard(
    "a write that is tried again after an agreement counts",
    noticed_by=f"{_LATE}test_same_text_that_was_tried_again_after_a_decision_is_tried",
)
def _() -> None:
    note_late = Base.note_late

    def note_new(self: Base, side: str, sent: Values, at: dt.datetime, *, attempt: str) -> None:
        known = self.late.get(side, {})
        fresh = {name: text for name, text in sent.items() if text not in known.get(name, {})}
        note_late(self, side, fresh, at, attempt=attempt)

    replace(Base, "note_late", note_new)


@guard(
    "nothing is emptied for what the mapping makes of a full field",
    noticed_by=f"{_CASES}test_nothing_is_emptied_over_a_late_write_for_a_name_or_for_a_mapping",
)
def _() -> None:
    def may_write(look: Look, name: str) -> bool:
        sent, held = look.there.sent[name], look.there.held[name]
        return look.rules.may_write(name, sent, held) if sent else look.rules.may_empty(name)

    replace(merging, "_may_write", may_write)


@guard(
    "a value that won is no late write any more",
    noticed_by=f"{_WON}test_value_that_won_is_no_late_write_any_more",
)
def _() -> None:
    replace(Base, "note_won", lambda self, name, winner, text, loser: None)


@guard(
    "a winner that was the agreed value counts as changed when it is emptied",
    noticed_by=f"{_WON}test_winner_that_is_emptied_before_it_was_carried_is_carried_empty",
)
def _() -> None:
    replace(merging, "_other_than", lambda now, agreed, *, may_be_ours: agreed if agreed != now else "")


@guard(
    "a winner that may be a write of ours is changed when it is emptied",
    noticed_by=f"{_WON}test_winner_that_may_be_a_write_of_ours_is_changed_when_it_is_emptied",
)
def _() -> None:
    other_than = merging._other_than
    replace(merging, "_other_than", lambda now, agreed, *, may_be_ours: other_than(now, agreed, may_be_ours=False))


@guard(
    "what a provider lets nobody empty is held and said",
    noticed_by=f"{_BEHAVIOUR}test_field_the_provider_keeps_full_is_held_in_words_and_the_others_are_written",
)
def _() -> None:
    replace(pairs, "fields_kept_full", lambda flow: frozenset())
