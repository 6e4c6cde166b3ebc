"""News for the slices above: sent inside the checkpoint's transaction, so that what it causes is committed with it."""

from django.dispatch import Signal

#: kwargs: connection_id (UUID), data_types (set[str])
records_changed = Signal()
