"""What became of a round of requests, and its settling: everything a round's answers say in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.sdk.errors import ConnectorError, RecordRejected
from connectors.sdk.streams import Draft, Outcome, Request, WritableStream, Written
from marketplace.posting.batches import close_all, give_back, mark_uncertain, plan_again
from marketplace.posting.models import PostingBatch
from marketplace.posting.ready import Ready
from marketplace.posting.settling import settle_failures, settle_written
from marketplace.posting.updating import refuse_stale


@dataclass(frozen=True)
class Sending:
    """A committed intent and what goes with it. `request`: what was committed; to create documents, it is sent as it is. `is_repeat`:
    an earlier request of the same may yet arrive."""

    batch: PostingBatch
    postings: Sequence[Ready]
    drafts: Sequence[Draft]
    stream: WritableStream
    request: Request
    is_repeat: bool = False


@dataclass(frozen=True)
class Answered:
    """A request whose answer came, after so many calls."""

    sending: Sending
    outcomes: Sequence[Outcome]
    calls: int


@dataclass
class Sent:
    """What became of the requests of a round. After the first one that failed none was begun.

    `unsent` were never begun: no byte of them left; nor of the `unwanted`, which somebody stopped, while the others go on. `refused`
    surely wrote nothing, `doubtful` may have. `trouble` is raised once all this is committed; a request that met something nobody
    expected is in none of these, and looked up before anything else.
    """

    answered: list[Answered] = field(default_factory=list)
    unsent: list[Sending] = field(default_factory=list)
    unwanted: list[Sending] = field(default_factory=list)
    refused: tuple[Sending, ConnectorError] | None = None
    doubtful: tuple[Sending, ConnectorError] | None = None
    trouble: Exception | None = None


def settle(sent: Sent) -> None:
    """Inside the tenant's context, holding the lease: write down all of it."""
    if sent.answered:
        _settle_answered(sent.answered)
    if sent.refused is not None:
        _settle_refused(*sent.refused)
    if sent.doubtful is not None:
        sending, error = sent.doubtful
        mark_uncertain(sending.batch, error)
    if sent.unsent or sent.unwanted:
        give_back([sending.batch for sending in (*sent.unwanted, *sent.unsent)])


def _settle_answered(answered: Sequence[Answered]) -> None:
    written: dict[int, Written] = {}
    refused: dict[int, RecordRejected] = {}
    for one in answered:
        failed: dict[int, RecordRejected] = {}
        for posting, outcome in zip(one.sending.postings, one.outcomes, strict=True):
            if isinstance(outcome, Written):
                written[posting.id] = outcome
            else:
                failed[posting.id] = outcome
        refused |= refuse_stale(failed) if one.sending.batch.action == "update" else failed
    settle_written(written)
    settle_failures(refused)
    close_all({one.sending.batch: one.calls for one in answered})


def _settle_refused(sending: Sending, error: ConnectorError) -> None:
    """This request wrote nothing. The one it repeats may have, or may yet: that stays unknown."""
    if sending.is_repeat:
        mark_uncertain(sending.batch, error)
    else:
        plan_again(sending.batch, error)
