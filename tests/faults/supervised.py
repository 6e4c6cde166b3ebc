"""Celery as it is deployed: `python -m tests.faults.supervised <folder> <command ...>` starts it again when it has ended.

A broker that dies at the wrong moment can end Celery's main process with an error of its own; whoever keeps processes running is
part of what is promised.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from marketplace.core.runtime.programs import Program
from marketplace.core.runtime.supervisor import Supervisor


def main() -> None:
    folder, command = Path(sys.argv[1]), tuple(sys.argv[2:])
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.set())
    supervisor = Supervisor([Program("celery", command)], working_folder=Path.cwd(), logs=folder)
    supervisor.start()
    try:
        supervisor.watch(ends.is_set, report=print, every=0.1)
    finally:
        supervisor.stop()


if __name__ == "__main__":
    main()
