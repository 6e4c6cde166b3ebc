"""What becomes of every source record, and the documents we write for it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Case, Func, Q, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Now

from marketplace.core.keys import document_key


def _if_compared(key: Func) -> Case:
    """A key only for what is held against staff's entries; what is written has no use for one."""
    return Case(When(state="shadow", then=key), default=Value(""), output_field=models.TextField())


class RecordOutcome(models.Model):
    """How one source record ended in one flow: the row the proof counts. Exactly one per flow and record.

    `held` waits for a person, `failed` was refused by the provider; both carry a reason, whose move it is and the next step.
    `digest` is the record's state this outcome was made from, so a changed record is noticed by comparison.
    """

    class State(models.TextChoices):
        PENDING = "pending", "On its way"
        SHADOW = "shadow", "Compared only"
        POSTED = "posted", "Posted"
        HELD = "held", "Held"
        EXCLUDED = "excluded", "Excluded"
        FAILED = "failed", "Failed"

    class Owner(models.TextChoices):
        NOBODY = "", "Nobody"
        BOOKKEEPER = "bookkeeper", "Bookkeeper"
        OWNER = "owner", "Owner"
        TIEOUT = "tieout", "Tieout"

    id = models.BigAutoField(primary_key=True)
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="outcomes")
    record = models.ForeignKey("sync.Record", on_delete=models.PROTECT, related_name="outcomes")
    digest = models.CharField(max_length=32)
    mapping = models.ForeignKey("mapping.MappingVersion", null=True, on_delete=models.PROTECT, related_name="+")
    stage = models.CharField(max_length=10)
    state = models.CharField(max_length=8, choices=State.choices)
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)
    owner = models.CharField(max_length=12, choices=Owner.choices, blank=True)
    next_step = models.TextField(blank=True)
    occurred_on = models.DateField()
    amount = models.DecimalField(max_digits=18, decimal_places=4)
    currency = models.CharField(max_length=3, blank=True)
    is_replay_asked = models.BooleanField(default=False)
    decided_by = models.ForeignKey(
        "tenants.User", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    decision = models.TextField(blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["flow", "record"], name="one_outcome_per_record")]
        indexes = [
            models.Index(fields=["flow", "occurred_on"], name="outcome_by_day"),
            models.Index(fields=["state"], name="outcome_waiting", condition=Q(state__in=["held", "failed"])),
            models.Index(fields=["flow"], name="outcome_replay", condition=Q(is_replay_asked=True)),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.record_id}"


class PostingBatch(models.Model):
    """One request to a ledger, committed before its first byte is sent. A key stands for one request for ever.

    `intended_at` is when it was first sent under its key, and `deadline_at` after which no byte of it is sent: both by the
    database's clock, as is `sent_at`, the last time. `request_digest` identifies the documents, whatever a request makes of them.
    """

    class State(models.TextChoices):
        SENDING = "sending", "Sending"
        UNCERTAIN = "uncertain", "Unconfirmed"
        SETTLED = "settled", "Settled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="batches")
    data_type = models.CharField(max_length=30)
    action = models.CharField(max_length=8, default="create")
    key = models.CharField(max_length=50)
    request = models.JSONField()
    request_digest = models.CharField(max_length=64)
    state = models.CharField(max_length=9, choices=State.choices, default=State.SENDING)
    size = models.IntegerField()
    calls = models.IntegerField(default=0)
    problem = models.TextField(blank=True)
    sent_at = models.DateTimeField()
    intended_at = models.DateTimeField(db_default=Now())
    deadline_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["connection", "key"], name="one_request_per_key")]
        indexes = [models.Index(fields=["connection"], name="batch_open", condition=~Q(state="settled"))]

    def __str__(self) -> str:
        return f"{self.size} x {self.data_type}"


class Posting(models.Model):
    """One entry we write, would write (shadow), or took over from staff (linked). `key` is permanent and unique.

    `purpose` tells the documents of one record apart (invoice, payment ...). A posting waits for `depends_on` to be in the ledger.
    `key_round` grows when a request for it was given up after the provider had forgotten its key: the next one has a fresh key.
    One that `reverses` another is the entry against it: it belongs to a reversal, not to what is planned from the record.
    """

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        SHADOW = "shadow", "Compared only"
        SENDING = "sending", "Sending"
        UNCERTAIN = "uncertain", "Unconfirmed"
        POSTED = "posted", "Posted"
        LINKED = "linked", "Linked"
        FAILED = "failed", "Failed"
        REVERSED = "reversed", "Reversed"
        WITHDRAWN = "withdrawn", "Withdrawn"

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=50, unique=True)
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="postings")
    record = models.ForeignKey("sync.Record", on_delete=models.PROTECT, related_name="postings")
    mapping = models.ForeignKey("mapping.MappingVersion", on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=60)
    version = models.IntegerField(default=1)
    action = models.CharField(max_length=8, default="create")
    data_type = models.CharField(max_length=30)
    document = models.JSONField()
    digest = models.CharField(max_length=32)
    state = models.CharField(max_length=9, choices=State.choices)
    depends_on = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="dependants")
    reverses = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="reversed_by")
    batch = models.ForeignKey(PostingBatch, null=True, on_delete=models.PROTECT, related_name="postings")
    external_id = models.CharField(max_length=120, blank=True)
    external_number = models.CharField(max_length=120, blank=True)
    external_version = models.CharField(max_length=80, blank=True)
    url = models.CharField(max_length=500, blank=True)
    number = models.CharField(max_length=120, blank=True)
    reference = models.CharField(max_length=255, blank=True)
    occurred_on = models.DateField()
    amount = models.DecimalField(max_digits=18, decimal_places=4)
    tax_amount = models.DecimalField(max_digits=18, decimal_places=4, default=0)
    currency = models.CharField(max_length=3, blank=True)
    party = models.CharField(max_length=255, blank=True)
    ledger_account = models.CharField(max_length=255, blank=True)
    problem = models.TextField(blank=True)
    attempts = models.IntegerField(default=0)
    key_round = models.IntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    posted_at = models.DateTimeField(null=True)
    reference_key = models.GeneratedField(
        expression=_if_compared(
            document_key(Coalesce(KT("document__reference"), Value(""), output_field=models.TextField()))
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
    number_key = models.GeneratedField(
        expression=_if_compared(document_key("number")), output_field=models.TextField(), db_persist=True
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["flow", "data_type", "external_id"],
                condition=Q(state__in=["posted", "linked"]) & ~Q(external_id="") & Q(action="create"),
                name="one_posting_per_ledger_entry",
            )
        ]
        indexes = [
            models.Index(fields=["flow", "state", "data_type"], name="posting_by_state"),
            models.Index(
                fields=["flow", "data_type", "action", "id"], name="posting_ready", condition=Q(state="planned")
            ),
            models.Index(fields=["data_type", "external_id"], name="posting_by_entry"),
        ]

    def __str__(self) -> str:
        return self.number or self.reference or self.key


class Reversal(models.Model):
    """Taking back what one flow posted: first a plan, then, once a person has confirmed it, the work and its proof.

    `selection` says which postings (see `reversal_planning.selected`), `covers` the same in words. `effect` is what the plan does
    to each ledger account.
    """

    class State(models.TextChoices):
        PLANNING = "planning", "Being planned"
        PLANNED = "planned", "Waits to be confirmed"
        RUNNING = "running", "Taking back"
        DONE = "done", "Done"
        DISCARDED = "discarded", "Discarded"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="reversals")
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="reversals")
    selection = models.JSONField()
    covers = models.TextField()
    reason = models.TextField()
    state = models.CharField(max_length=9, choices=State.choices, default=State.PLANNING)
    closed_until = models.DateField(null=True)
    effect = models.JSONField(default=list)
    trial_balance = models.JSONField(default=dict)  # see `trial_balances`
    problem = models.TextField(blank=True)
    asked_by = models.ForeignKey(
        "tenants.User", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    asked_at = models.DateTimeField()
    planned_at = models.DateTimeField(null=True)
    confirmed_by = models.ForeignKey(
        "tenants.User", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    confirmed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["connection"], name="reversal_running", condition=Q(state="running"))]

    def __str__(self) -> str:
        return self.covers


class ReversalLine(models.Model):
    """What becomes of one ledger entry. `fingerprint` is what the entry said when it was planned: what says something else by
    then is left alone. `entry` is the last of the entries against it, where it is not taken back itself.
    """

    class Action(models.TextChoices):
        VOID = "void", "Take back"
        ENTRY = "entry", "Entry against it"
        NOTHING = "nothing", "Gone already"
        KEEP = "keep", "Stays"

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        DUE = "due", "Waits its turn"
        SENDING = "sending", "Sending"
        UNCERTAIN = "uncertain", "Unconfirmed"
        DONE = "done", "Taken back"
        HELD = "held", "Left as it is"

    id = models.BigAutoField(primary_key=True)
    reversal = models.ForeignKey(Reversal, on_delete=models.CASCADE, related_name="lines")
    posting = models.ForeignKey(Posting, on_delete=models.PROTECT, related_name="reversal_lines")
    phase = models.IntegerField()
    action = models.CharField(max_length=7, choices=Action.choices)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PLANNED)
    fingerprint = models.CharField(max_length=32, blank=True)
    code = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)
    owner = models.CharField(max_length=12, choices=RecordOutcome.Owner.choices, blank=True)
    next_step = models.TextField(blank=True)
    entry_date = models.DateField(null=True)
    exchange_rate = models.DecimalField(max_digits=20, decimal_places=10, null=True)  # the ledger quotes it
    entry = models.ForeignKey(Posting, null=True, on_delete=models.PROTECT, related_name="+")
    movements = models.JSONField(default=dict)  # ledger account -> what the entry books on it
    base_movements = models.JSONField(
        default=dict
    )  # of one in a foreign currency: the same in the base currency, where it can be told
    batch = models.ForeignKey(PostingBatch, null=True, on_delete=models.PROTECT, related_name="+")
    attempts = models.IntegerField(default=0)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reversal", "posting"], name="one_line_per_posting"),
            models.UniqueConstraint(
                fields=["posting"],
                condition=Q(state__in=["due", "sending", "uncertain"]),
                name="one_reversal_at_a_time",
            ),
        ]
        indexes = [models.Index(fields=["reversal", "state", "phase"], name="reversal_line_due")]

    def __str__(self) -> str:
        return f"{self.action} {self.posting_id}"


class LinkedPair(models.Model):
    """Two records, one a side, that are the same customer, with the base of their three-way merge.

    `one` is the side whose connection's id comes first, so that a pair has one row whichever flow looks at it. `base` is
    `marketplace.mapping.merging.Base`.
    """

    id = models.BigAutoField(primary_key=True)
    one = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="+")
    one_id_there = models.CharField(max_length=120)
    other = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="+")
    other_id_there = models.CharField(max_length=120)
    base = models.JSONField(default=dict)
    merged_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["one", "one_id_there", "other", "other_id_there"], name="one_pair_per_two_records"
            )
        ]
        indexes = [models.Index(fields=["other", "other_id_there"], name="pair_by_other")]

    def __str__(self) -> str:
        return f"{self.one_id_there} = {self.other_id_there}"


class Conflict(models.Model):
    """One field both sides changed differently: both values, what they had agreed on, and who won by which rule.

    Never deleted. Open: a person is asked. `source` and `target` are those of the flow that found it.
    """

    class State(models.TextChoices):
        OPEN = "open", "To be decided"
        DECIDED = "decided", "Decided"
        ENDED = "ended", "Made equal"

    class Rule(models.TextChoices):
        OWNER = "owner", "The owner wins"
        FIELD_OWNER = "field_owner", "The field’s owner wins"
        NEWEST = "newest", "The newest change wins"
        ASK = "ask", "Decided by a person"

    class Winner(models.TextChoices):
        NOBODY = "", "Nobody"
        SOURCE = "source", "Source"
        TARGET = "target", "Target"

    id = models.BigAutoField(primary_key=True)
    pair = models.ForeignKey(LinkedPair, on_delete=models.PROTECT, related_name="conflicts")
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="conflicts")
    record = models.ForeignKey("sync.Record", on_delete=models.PROTECT, related_name="conflicts")
    field = models.CharField(max_length=20)
    source_value = models.TextField()
    target_value = models.TextField()
    source_agreed = models.TextField(blank=True)
    target_agreed = models.TextField(blank=True)
    source_at = models.DateTimeField()
    target_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices)
    rule = models.CharField(max_length=12, choices=Rule.choices)
    winner = models.CharField(max_length=6, choices=Winner.choices, blank=True)
    decided_by = models.ForeignKey(
        "tenants.User", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    found_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair", "field"], condition=Q(state="open"), name="one_open_conflict_per_field"
            )
        ]
        indexes = [models.Index(fields=["-found_at"], name="conflict_by_time")]

    def __str__(self) -> str:
        return f"{self.field} of {self.pair}"
