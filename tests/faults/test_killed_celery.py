"""C3 with the real thing: Celery's workers, their parent and the scheduler, killed by chance. They are slow to start, so kills are few."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.forked import Process
from tests.faults.processes import children_of, kill, running
from tests.faults.world import connect, make_orders, seen_first

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, ORDERS_A_STEP = 15, 10
#: At release size with the product's own times: minutes are waited for what a killed worker may still have sent.
APP = "marketplace" if Size.asked().is_release else "tests.faults.hastened"
#: After each kill work is taken up again later than after the one before, by ten minutes at the most.
ENDS_WITHIN = Size.asked().pick(120, 900)
CELERY = (sys.executable, "-m", "celery", "-A", APP)
WORKER = (*CELERY, "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR", "--without-gossip", "--without-mingle")  # fmt: skip


class Program:
    """A process that is started again once it was killed, as its supervisor would."""

    def __init__(self, command: Sequence[str], log: Path, stack: ExitStack) -> None:
        self._start: Callable[[], Process] = lambda: stack.enter_context(running(command, log))
        self._process = self._start()

    def kill_child(self, dice: random.Random) -> None:
        children = children_of(self._process)
        if children:
            kill(dice.choice(children))

    def kill(self) -> None:
        """With its children: none of them outlives the container."""
        for pid in (self._process.pid, *children_of(self._process)):
            kill(pid)
        self._process.wait()
        self._process = self._start()


@contextmanager
def celery(folder: Path) -> Iterator[tuple[Program, Program]]:
    """The worker and the scheduler."""
    with ExitStack() as stack:
        beat = (*CELERY, "beat", "--loglevel", "ERROR", "--schedule", str(folder / "beat"))
        yield Program(WORKER, folder / "worker.log", stack), Program(beat, folder / "beat.log", stack)


def test_killed_celery_loses_and_repeats_nothing(
    business: Business, simulators: dict[str, str], tmp_path: Path, size: Size, seed: int, tell: Tell
) -> None:
    dice, steps = random.Random(seed), size.pick(3, 60)
    orders = seen_first(make_orders(SEEN + steps * ORDERS_A_STEP, seed))
    world = connect(business, orders[:SEEN], ["xero", "quickbooks"] if size.is_release else ["xero"])
    with celery(tmp_path) as (worker, beat):
        world.wait()  # they are up and consume
        blows = [lambda: worker.kill_child(dice), worker.kill, beat.kill]
        for step, start in enumerate(range(SEEN, len(orders), ORDERS_A_STEP)):
            world.sell(orders[start : start + ORDERS_A_STEP])
            world.read()
            time.sleep(dice.uniform(0.2, 1.5))  # the fault itself: some time at work, then the end
            blows[step % len(blows)]()
        world.wait(ENDS_WITHIN)
        world.read()
        world.wait(ENDS_WITHIN)
    check(business, world.flows, world.orders)
    tell(
        "C3",
        "kill -9 of Celery's worker, its parent, the scheduler",
        tried=steps,
        events=len(orders) * len(world.ledgers),
    )
