"""Compiles and runs expressions from standard input, and tells of each how it ended: `python -m tests.faults.evaluating`.

Time is of this process's processor, memory the most that was allocated while the expression was compiled and run.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from typing import Any

import django


def main() -> None:
    django.setup()
    from tests.mapping.world import order  # noqa: PLC0415 -- needs the loaded applications

    record = order(1, note="a" * 4000)
    outcome(record, "number")  # whatever is loaded on first use is not the expression's
    for text in json.load(sys.stdin):
        tracemalloc.start()
        start = time.process_time()
        told, value = outcome(record, text)
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        line = {"text": text, "outcome": told, "seconds": seconds, "megabytes": peak / 2**20, "length": len(value)}
        print(json.dumps(line), flush=True)


def outcome(record: Any, text: str) -> tuple[str, str]:
    """`refused` with a sentence at the form, `held` with a sentence for this record, or its value."""
    from marketplace.mapping.compiling import MappingError, compile_spec  # noqa: PLC0415 -- needs the loaded applications
    from marketplace.mapping.plan import Held  # noqa: PLC0415 -- the same
    from marketplace.mapping.templates import template  # noqa: PLC0415 -- the same
    from tests.mapping.plans import SALES, circumstances  # noqa: PLC0415 -- the same

    fields = SALES | {"reference": {"from": "expression", "text": text}}
    try:
        compiled = compile_spec(template("orders"), {"fields": fields})
        return "value", str(compiled.fields(record, circumstances())["reference"])
    except MappingError:
        return "refused", ""
    except Held:
        return "held", ""
    except BaseException as error:
        return "error", repr(error)[:300]


if __name__ == "__main__":
    main()
