"""How the web server's process shares its requests out among its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped] # it ships without types


class Threads(ThreadWorker):  # type: ignore[misc] # as above
    """gunicorn's threads, fed by a plain queue: handing each request over by `concurrent.futures` took a fifth of all that the server
    itself spends on one."""

    def get_thread_pool(self) -> Pool:
        return Pool(self.cfg.threads)


class Pool:
    """What a `ThreadPoolExecutor` is to gunicorn. Its threads are waited for at the end of the process, as those are."""

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"request-{number}") for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        task = Task(function, arguments)
        self._tasks.put(task)
        return task

    def shutdown(self, wait: bool = True) -> None:
        """What was submitted is still done."""
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()


class Task:
    """Its outcome is there for whoever is called when it is done."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._turn = threading.Lock()
        self._is_done = False
        self._when_done: Callable[[Task], object] | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def add_done_callback(self, callback: Callable[[Task], object]) -> None:
        """One, called by the thread that did it, or at once when it is done already."""
        with self._turn:
            self._when_done = callback
            if not self._is_done:
                return
        callback(self)

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result

    def run(self) -> None:
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:  # as a `Future` keeps it: `SystemExit` ends no thread of ours
            self._error = error
        with self._turn:
            self._is_done = True
            when_done = self._when_done
        if when_done is not None:
            when_done(self)
