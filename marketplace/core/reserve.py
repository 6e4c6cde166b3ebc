"""One worker of each machine is kept free for short work: long work waits for one of the other places.

A place is a locked file, so a worker that dies gives it back in the same moment, whatever it was doing.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def place_for_long_work(folder: Path, places: int) -> Iterator[bool]:
    """Whether the caller may do long work while the block runs. With a single worker nobody can be kept free."""
    if places < 1:
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(places):
        with (folder / f"long-{number}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield True
            return
    yield False
