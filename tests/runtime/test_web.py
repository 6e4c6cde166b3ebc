"""The threads that answer requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from marketplace.core.runtime.web import Pool, Task

PATIENCE_SECONDS = 30


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2)
    yield made
    made.shutdown()


def outcome(pool: Pool, task: Task) -> object:
    told = threading.Event()
    task.add_done_callback(lambda done: told.set())
    assert told.wait(PATIENCE_SECONDS)
    return task.result()


def test_whoever_asks_is_told_once_before_or_after_it_is_done(pool: Pool) -> None:
    for _ in range(500):
        told = threading.Semaphore(0)
        task = pool.submit(pow, 2, 10)
        task.add_done_callback(lambda done, told=told: told.release())  # type: ignore[misc]
        assert told.acquire(timeout=PATIENCE_SECONDS)
        assert not told.acquire(blocking=False)
        assert (task.result(), task.cancelled()) == (1024, False)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_error_is_kept_and_the_thread_goes_on(pool: Pool, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    for _ in range(5):
        with pytest.raises(error):
            outcome(pool, pool.submit(fail))
    assert outcome(pool, pool.submit(pow, 3, 2)) == 9


def test_both_threads_work_and_a_third_task_waits(pool: Pool) -> None:
    go, busy = threading.Event(), threading.Semaphore(0)

    def hold() -> bool:
        busy.release()
        return go.wait(PATIENCE_SECONDS)

    tasks = [pool.submit(hold) for _ in range(3)]
    assert busy.acquire(timeout=PATIENCE_SECONDS) and busy.acquire(timeout=PATIENCE_SECONDS)
    assert not busy.acquire(blocking=False)
    go.set()
    assert [outcome(pool, task) for task in tasks] == [True] * 3


def test_what_was_submitted_is_still_done_when_it_stops() -> None:
    pool = Pool(1)
    done: list[int] = []
    for number in range(20):
        pool.submit(partial(done.append, number))
    pool.shutdown()
    assert done == list(range(20))
