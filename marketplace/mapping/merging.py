"""Two sides that may both change the same record: a three-way merge, field by field, with what they agreed on last.

A pair of linked records has one `Base`. Each direction (`Way`) has its own half of it: the value its source would have the target
hold, and the value the target held, when both were last in agreement. So a provider's own way of writing a value (trimmed, in
capitals, a telephone number with spaces) is part of the agreement and never comes back as a change.

- Changed on one side only: that value is carried to the other side.
- Changed on both to the same, if differently spelled: agreed, and each side keeps its spelling.
- Changed on both differently: a clash. The rule names one winner, or a person is asked; until then the field is left alone.
- An emptied field is a change too: its own side has nothing in it, and what would be sent of it was there at the base and is gone.
  A mapping that makes nothing of a full field empties nothing, and a name is never emptied. It is carried where the mapping may
  overwrite.

Nothing here reads or writes anything: the same arguments give the same answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from marketplace.mapping.contact_values import ANOTHER, FIELDS, Values, is_echo, is_same

LATE_FOR = dt.timedelta(hours=1)  # after which an unanswered write is not believed to arrive any more

Winner = Literal["source", "target", ""]


class Base(msgspec.Struct):
    """What a linked pair agreed on last. Everything is keyed by a side (a connection's id), then by field.

    `agreed`: by the side a direction starts from, [what its source would have sent, what the target held].
    `seen`: by side, [its own value, since when], for "the newest wins": our own writes move a record's time, not a field's.
    `late`: by side, {value: until when} of what we sent there without learning whether it arrived; shows it up later, it is ours,
    however often: each attempt may arrive.
    `won`: by side, the value a rule or a person decided for, until it is carried. Whoever wrote it, it is no late write any more.
    `put_back`: by side, the value it had agreed on, when it only goes out because a late write came over it on the other side. It won
    over nobody: what people make of the late write is the one change.
    `tried`: by side, the value sent there last without an answer, until anything is agreed on or decided. Its source held it once, so
    a source that holds what was agreed before has been changed twice.
    `noted`: by side, the attempt to write there that was noted last.
    `asked`: fields of which nobody can tell what people did and what came late of ours: whatever the rule, a person decides.
    """

    agreed: dict[str, dict[str, list[str]]] = {}
    seen: dict[str, dict[str, list[str]]] = {}
    late: dict[str, dict[str, dict[str, str]]] = {}
    won: dict[str, dict[str, str]] = {}
    put_back: dict[str, dict[str, str]] = {}
    tried: dict[str, dict[str, str]] = {}
    noted: dict[str, str] = {}
    asked: list[str] = []

    def note_seen(self, side: str, own: Values, at: dt.datetime) -> None:
        """A value counts from the time at which it was first seen."""
        known = self.seen.setdefault(side, {})
        for name, text in own.items():
            if name not in known or known[name][0] != text:
                known[name] = [text, at.isoformat()]

    def since(self, side: str, name: str) -> dt.datetime:
        return dt.datetime.fromisoformat(self.seen[side][name][1])

    def note_late(self, side: str, sent: Values, at: dt.datetime, *, attempt: str) -> None:
        """An attempt to write these values got no answer: it may still arrive, even after a repetition of it was confirmed. What waits
        to go out again is noted at every look, and each attempt counts once."""
        if self.noted.get(side) == attempt:
            return
        self.noted[side] = attempt
        known, until = self.late.setdefault(side, {}), (at + LATE_FOR).isoformat()
        for name, text in sent.items():
            self.tried.setdefault(side, {})[name] = text
            awaited = {one: last for one, last in known.get(name, {}).items() if _is_to_come(last, at)}
            known[name] = awaited | {text: until}

    def may_be_late(self, side: str, name: str, text: str, at: dt.datetime) -> bool:
        """Whether a value on this side may be a late write of ours."""
        known = self.late.get(side, {}).get(name, {})
        return any(is_echo(sent, text) and _is_to_come(until, at) for sent, until in known.items())

    def note_won(self, name: str, winner: str, text: str, loser: str) -> None:
        self.won.setdefault(winner, {})[name] = text
        self.won.get(loser, {}).pop(name, None)
        self.is_not_put_back(name)

    def is_settled(self, name: str) -> None:
        """What had won is carried, or both sides agree without it."""
        for won in self.won.values():
            won.pop(name, None)
        self.is_not_put_back(name)
        self.is_certain(name)

    def is_not_put_back(self, name: str) -> None:
        for put_back in self.put_back.values():
            put_back.pop(name, None)

    def is_certain(self, name: str) -> None:
        """Both sides agree, or it is decided: what was tried before is of no interest, and nobody has to be asked."""
        for tried in self.tried.values():
            tried.pop(name, None)
        self.asked = [one for one in self.asked if one != name]


def _is_to_come(until: str, at: dt.datetime) -> bool:
    return at <= dt.datetime.fromisoformat(until)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One direction: `sent` is what the source would have the target hold, `held` is what the target holds."""

    source: str
    sent: Values
    held: Values


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who wins, seen from one direction. `modes` are its mapping's write modes: what it may write at all. `cannot_empty` are the
    fields that its target's provider lets nobody empty."""

    rule: str = "owner"
    owner: Literal["source", "target"] = "source"
    field_winners: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    cannot_empty: Collection[str] = ()

    def may_write(self, name: str, sent: str, held: str) -> bool:
        mode = self._mode(name)
        return bool(sent) and (mode == "overwrite" or (mode == "if_empty" and not held))

    def may_empty(self, name: str) -> bool:
        return name != "name" and self._mode(name) == "overwrite"

    def _mode(self, name: str) -> str:
        return self.modes.get("address_line1" if name == "address" else name, "overwrite")

    def winner(self, name: str, source_at: dt.datetime, target_at: dt.datetime) -> tuple[Winner, str]:
        """The winner and the rule that says so; nobody when a person has to be asked. Of two changes of the very same time the
        owner's is the newest."""
        if name in self.field_winners:
            return ("source" if self.field_winners[name] == "source" else "target"), "field_owner"
        if self.rule == "ask":
            return "", "ask"
        if self.rule == "newest" and source_at != target_at:
            return ("source" if source_at > target_at else "target"), "newest"
        return self.owner, "owner"


@dataclass(frozen=True, kw_only=True)
class Clash:
    """A field both sides changed differently. Without a `winner` it is open."""

    name: str
    source_value: str
    target_value: str
    agreed: tuple[str, str]  # source, target; empty for sides that never agreed
    source_at: dt.datetime
    target_at: dt.datetime
    winner: Winner
    rule: str
    is_doubtful: bool = False  # one or both values may be a late write of ours


@dataclass
class Meeting:
    """What became of one look at both sides. `carried` are the fields to write to the target now, an empty value too; `stuck` are
    those that would be emptied there and cannot be; `ended` are open clashes that both sides settled by themselves;
    `is_for_the_way_back`: the other direction has something to write now."""

    carried: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    is_for_the_way_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """Both sides at one moment: both directions, who wins, when each side's record was changed, and which fields are being asked
    about already."""

    there: Way
    back: Way
    rules: Rules
    source_at: dt.datetime
    target_at: dt.datetime
    now: dt.datetime
    open_fields: Collection[str] = ()


def meet(base: Base, look: Look) -> Meeting:
    """Compare both sides with their base, moving it where they agree or where a rule has decided. Until a carried value is
    written, meeting again carries it again."""
    for way, own, at in ((look.there, look.back.held, look.source_at), (look.back, look.there.held, look.target_at)):
        base.agreed.setdefault(way.source, {})
        base.note_seen(way.source, own, at)
    meeting = Meeting()
    for name in FIELDS:
        _meet_field(base, look, name, meeting)
    return meeting


def _meet_field(base: Base, look: Look, name: str, meeting: Meeting) -> None:
    sent, held = look.there.sent[name], look.there.held[name]
    is_open = name in look.open_fields
    if is_same(name, sent, held) or (is_open and is_echo(sent, held)):
        _agree(base, look, name)
        if is_open:
            meeting.ended.append(name)
    elif is_open:
        _clash(base, look, name, meeting)
    else:
        _meet_change(base, look, name, meeting)


def _meet_change(base: Base, look: Look, name: str, meeting: Meeting) -> None:
    """A late write of ours is no change of the side it stands on. Where it leaves in doubt what people want, a person is asked."""
    sent, held = look.there.sent[name], look.there.held[name]
    late = _late_writes(base, look, name)
    if late and not is_echo(sent, held) and _is_doubtful(base, look, late, name):
        _ask(base, look, name, meeting)
        return
    _forget_lost_winner(base, look, name)
    if not late:
        _give_way(base, look, name)
        _compare(base, look, name, meeting)
    elif is_echo(sent, held):
        _agree(base, look, name)
    elif look.there.source in late:
        _put_back(base, look, name, "target")
        meeting.is_for_the_way_back = True
    else:
        _put_back(base, look, name, "source")
        _carry(look, name, meeting)


def _put_back(base: Base, look: Look, name: str, winner: Literal["source", "target"]) -> None:
    """The side without the late write has what people want; whether that is a change of its own or what was agreed."""
    way, own = (look.there, look.back.held) if winner == "source" else (look.back, look.there.held)
    is_as_agreed = way.sent[name] == base.agreed[way.source].get(name, ["", ""])[0]
    is_put_back = base.put_back.get(way.source, {}).get(name) == own[name]
    decide(base, look, name, winner)
    if is_as_agreed or is_put_back:
        base.put_back.setdefault(way.source, {})[name] = own[name]


def _give_way(base: Base, look: Look, name: str) -> None:
    """What was only put back is no change any more once people have changed what it was to come over; unless it was tried there, and
    what stands there may be what became of it."""
    sides = (look.there, look.back.held), (look.back, look.there.held)
    for (way, own), (other, theirs) in (sides, sides[::-1]):
        put_back = base.put_back.get(way.source, {}).get(name)
        if put_back is None:
            continue
        is_changed = _is_changed(base, other, theirs, name, base.agreed[way.source][name][1])
        if put_back != own[name] or is_changed:
            base.is_not_put_back(name)
        if put_back == own[name] and is_changed and name not in base.tried.get(other.source, {}):
            base.agreed[way.source][name] = [way.sent[name], ANOTHER]
            base.agreed[other.source][name] = [ANOTHER, own[name]]
            del base.won[way.source][name]


def _is_doubtful(base: Base, look: Look, late: Mapping[str, str], name: str) -> bool:
    """Late writes of ours stand on both sides, so what people had is on neither; or on one, where people may have emptied the field
    as well, or may have put back what was agreed, or where a value had won over what the other side still has."""
    other = look.back.held if look.back.source in late else look.there.held
    is_over_winner = any(
        name in base.won.get(side, {}) and other[name] == base.agreed.get(side, {}).get(name, ["", ""])[1]
        for side in late
    )
    before_sent, before_held = base.agreed[look.there.source].get(name, ("", ""))
    is_as_agreed = late.get(look.there.source) == before_sent or late.get(look.back.source) == before_held
    return len(late) == 2 or "" in late.values() or is_as_agreed or is_over_winner


def _ask(base: Base, look: Look, name: str, meeting: Meeting) -> None:
    if _may_write(look, name):
        base.asked = [*base.asked, name]
        _clash(base, look, name, meeting)


def _late_writes(base: Base, look: Look, name: str) -> dict[str, str]:
    """By side, the new values that may be late writes of ours."""
    before_sent, before_held = base.agreed[look.there.source].get(name, ("", ""))
    values = (
        (look.there, look.back, look.there.sent[name], before_sent, look.back.held[name]),
        (look.back, look.there, look.there.held[name], before_held, look.there.held[name]),
    )
    late = {}
    for way, back, text, before, own in values:
        is_as_agreed = text == before and not _is_changed_twice(base, way, back, name)
        is_known = is_as_agreed or base.won.get(way.source, {}).get(name) == own
        if not is_known and base.may_be_late(way.source, name, text, look.now):
            late[way.source] = text
    return late


def _forget_lost_winner(base: Base, look: Look, name: str) -> None:
    """A value that had won and was put back before it was carried is no change any more: what had lost is the one left. Where it
    was emptied, the field is to be empty: what lost does not come over it. Where it was changed, the new value has won over that."""
    sides = (look.there, look.back.held[name]), (look.back, look.there.held[name])
    for (way, own), (other, theirs) in (sides, sides[::-1]):
        won = base.won.get(way.source, {}).get(name)
        if won is not None and won != own:
            has_lost = theirs == base.agreed.get(way.source, {}).get(name, ["", ""])[1]
            is_put_back = own == base.agreed.get(other.source, {}).get(name, ["", ""])[1]
            if has_lost and not own:
                decide(base, look, name, "source" if way is look.there else "target")
            elif has_lost and is_put_back:
                decide(base, look, name, "target" if way is look.there else "source")
            elif has_lost:
                base.won[way.source][name] = own
            else:
                del base.won[way.source][name]
            return


def _compare(base: Base, look: Look, name: str, meeting: Meeting) -> None:
    there, back = look.there, look.back
    sent, held = there.sent[name], there.held[name]
    before_sent, before_held = base.agreed[there.source].get(name, ("", ""))
    source_edit = 2 if _is_emptied(base, there, back.held, name) else _edit(name, sent, before_sent)
    target_edit = 2 if _is_emptied(base, back, there.held, name) else _edit(name, held, before_held)
    if target_edit == 2 and _is_changed_twice(base, there, back, name):
        source_edit = 2
    elif source_edit == 2 and _is_changed_twice(base, back, there, name):
        target_edit = 2
    if source_edit > target_edit:
        _carry(look, name, meeting)
    elif source_edit == target_edit == 2 and is_echo(sent, held):
        _agree(base, look, name)
    elif source_edit == target_edit == 2 and _may_write(look, name):
        _clash(base, look, name, meeting)


def _is_changed(base: Base, way: Way, own: Values, name: str, before: str) -> bool:
    """Whether the side this direction starts from has another value than before, or none any more."""
    return _edit(name, own[name], before) == 2 or _is_emptied(base, way, own, name)


def _is_emptied(base: Base, way: Way, own: Values, name: str) -> bool:
    """Whether the side this direction starts from has emptied the field: what it would have sent of it was there and is gone."""
    before = base.agreed[way.source].get(name, ("", ""))[0]
    return not (own[name] or way.sent[name] or is_same(name, before, "")) and name != "name"


def _is_changed_twice(base: Base, way: Way, back: Way, name: str) -> bool:
    """Whether the side this direction starts from was changed since we tried to carry a change of it: with the other side changed as
    well, by us or by people, the one must not give way to the other just because it is as it was before."""
    tried = base.tried.get(back.source, {}).get(name)
    return tried is not None and not is_same(name, tried, way.sent[name])


def _edit(name: str, now: str, before: str) -> int:
    """0: as it was, or nothing; 1: written differently; 2: another value."""
    if not now or now == before:
        return 0
    return 1 if is_same(name, now, before) else 2


def _carry(look: Look, name: str, meeting: Meeting) -> None:
    if not _may_write(look, name):
        return
    is_stuck = not look.there.sent[name] and name in look.rules.cannot_empty
    (meeting.stuck if is_stuck else meeting.carried).append(name)


def _may_write(look: Look, name: str) -> bool:
    """Nothing is emptied for what the mapping makes of a field that is not empty."""
    sent, held = look.there.sent[name], look.there.held[name]
    return look.rules.may_write(name, sent, held) if sent else not look.back.held[name] and look.rules.may_empty(name)


def _agree(base: Base, look: Look, name: str) -> None:
    there, back = look.there, look.back
    base.agreed[there.source][name] = [there.sent[name], there.held[name]]
    base.is_settled(name)
    if is_echo(back.sent[name], back.held[name]):
        base.agreed[back.source][name] = [back.sent[name], back.held[name]]


def _clash(base: Base, look: Look, name: str, meeting: Meeting) -> None:
    there = look.there
    source_at, target_at = base.since(there.source, name), base.since(look.back.source, name)
    is_doubtful = name in base.asked
    rules = Rules(rule="ask") if is_doubtful else look.rules
    winner, rule = rules.winner(name, source_at, target_at)
    before_sent, before_held = (_known(text) for text in base.agreed[there.source].get(name, ("", "")))
    meeting.clashes.append(
        Clash(
            name=name,
            source_value=there.sent[name],
            target_value=there.held[name],
            agreed=(before_sent, before_held),
            source_at=source_at,
            target_at=target_at,
            winner=winner,
            rule=rule,
            is_doubtful=is_doubtful,
        )
    )
    if winner:
        decide(base, look, name, winner)
    if winner == "source":
        _carry(look, name, meeting)
    elif winner == "target":
        meeting.is_for_the_way_back = True


def decide(base: Base, look: Look, name: str, winner: Winner) -> None:
    """The loser's value becomes what was known of its side, so the winner's is the only change left, in both directions."""
    there, back = look.there, look.back
    won, loser, stays = (there, back, there.sent[name]) if winner == "source" else (back, there, back.sent[name])
    tried, may_be_ours = base.tried.get(loser.source, {}).get(name), name in base.tried.get(won.source, {})
    base.is_certain(name)
    if tried is not None and is_same(name, tried, stays):  # the winner's value goes out once more
        base.tried[loser.source][name] = tried
    forth, home = base.agreed.setdefault(there.source, {}), base.agreed.setdefault(back.source, {})
    before_sent, before_held = forth.get(name, ("", ""))
    sent_before, held_before = home.get(name, ("", ""))
    if winner == "source":
        forth[name] = [_other_than(there.sent[name], before_sent, may_be_ours=may_be_ours), there.held[name]]
        home[name] = [back.sent[name], _other_than(back.held[name], held_before, may_be_ours=may_be_ours)]
        base.note_won(name, there.source, back.held[name], back.source)
    else:
        forth[name] = [there.sent[name], _other_than(there.held[name], before_held, may_be_ours=may_be_ours)]
        home[name] = [_other_than(back.sent[name], sent_before, may_be_ours=may_be_ours), back.held[name]]
        base.note_won(name, back.source, there.held[name], there.source)


def _other_than(now: str, agreed: str, *, may_be_ours: bool) -> str:
    """What was agreed, unless it is the value itself: a winner's value has to count as changed, an empty one too. What was never
    agreed on stays unknown, so that emptying it again brings nothing new; unless it may be what became of a write of ours."""
    if not agreed and now and not may_be_ours:
        return ""
    return agreed if agreed and not is_same("", agreed, now) else ANOTHER


def _known(agreed: str) -> str:
    return "" if agreed == ANOTHER else agreed


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A write that the target has confirmed. `sent` are the fields that were in it and `held` all that the target answered;
    `there` and `back` are both directions as they stand now, with the answer in them. `before` is what the way back would have
    sent before the write, if that is known."""

    sent: Values
    held: Values
    there: Way
    back: Way
    before: Values | None = None


def confirm(base: Base, answer: Answer, at: dt.datetime) -> None:
    """What was written and what the target made of it are the new base, in both directions: what comes back is no change."""
    there, back = answer.there, answer.back
    forth, home = base.agreed.setdefault(there.source, {}), base.agreed.setdefault(back.source, {})
    base.note_seen(back.source, answer.held, at)
    for name, text in answer.sent.items():
        forth[name] = [text, answer.held[name]]
        base.is_settled(name)
    for name in FIELDS:
        if name in answer.sent or (answer.before is not None and answer.before[name] != back.sent[name]):
            home[name] = [back.sent[name], _known_home(answer, home.get(name), name)]


def _known_home(answer: Answer, agreed: list[str] | None, name: str) -> str:
    """What the source holds, unless it was changed again while the write was under way: that change is not known over there."""
    sent = answer.sent.get(name)
    if sent is None or is_same(name, answer.there.sent[name], sent):
        return answer.back.held[name]
    return agreed[1] if agreed else sent
