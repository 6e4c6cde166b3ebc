"""News for the slices above, sent inside the transaction of the change it tells of."""

from django.dispatch import Signal

#: kwargs: flow_id (UUID), reason_codes (tuple[str, ...]): outcomes held for these reasons are worth planning again
mapping_saved = Signal()

#: kwargs: flow_ids (set[UUID]), reason_codes (tuple[str, ...]): outcomes excluded for these reasons are worth planning again
rules_changed = Signal()
