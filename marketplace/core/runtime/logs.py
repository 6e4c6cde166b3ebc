"""One JSON object per line. Only the message and named ids: a payload can hold other people's books."""

import json
import logging
from datetime import UTC, datetime

# What a log call may add through `extra`; anything else is left out.
IDS = ("tenant_id", "connection_id", "run_id", "posting_id", "connector", "task_id", "status_code")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: str(value) for name in IDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
