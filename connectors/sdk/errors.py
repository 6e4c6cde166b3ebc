"""What can go wrong at a provider, grouped by who has to act.

ConnectorError
├── ReconnectRequired     the tenant gives consent again
├── ConfigurationError    the tenant changes a setting or a mapping
├── TransientError        nobody; the engine tries again
│   ├── RateLimited       ... not before `retry_after` seconds
│   │   └── AllowanceUsed ... and we did not even ask
│   └── OutcomeUnknown    ... only after looking up whether the write arrived
├── RecordRejected        a bookkeeper corrects this one record; the run goes on
└── UnexpectedResponse    the connector's author; the provider answered outside its documentation
"""


class ConnectorError(Exception):
    """Base of every error a connector raises.

    `user_message` is a sentence for the person who can act; `detail` is technical and never holds a secret.
    """

    def __init__(self, user_message: str, *, detail: str = "") -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.detail = detail


class ReconnectRequired(ConnectorError):
    """The provider no longer accepts our authorisation; only a new consent helps."""


class ConfigurationError(ConnectorError):
    """A setting, permission or mapping of the tenant is wrong."""


class TransientError(ConnectorError):
    """Passing trouble: the same call may succeed later. Nothing was written."""


class RateLimited(TransientError):
    """The provider asked us to slow down; `retry_after` in seconds."""

    def __init__(self, user_message: str, *, retry_after: float, detail: str = "") -> None:
        super().__init__(user_message, detail=detail)
        self.retry_after = retry_after


class AllowanceUsed(RateLimited):
    """By our own counting the provider would refuse: it was not called."""


class OutcomeUnknown(TransientError):
    """A write was sent and its answer was lost: it may or may not have taken effect."""


class RecordRejected(ConnectorError):
    """The provider understood the request and refused this record.

    `code` classifies the refusal for the engine: `closed_period`, `archived_account`, `duplicate`, `missing_reference`,
    `amount`, `stale` or `other`.
    """

    def __init__(self, user_message: str, *, code: str = "other", detail: str = "") -> None:
        super().__init__(user_message, detail=detail)
        self.code = code


class UnexpectedResponse(ConnectorError):
    """The answer was not what the provider documents (HTML, half a body, an unknown shape)."""
