"""Processes of the product forked from one that has loaded it: `python -m tests.faults.warm`.

Each is a process of its own with settings, environment, folder and output of its own, as if it were started by `python -m`; only what
all of them load is loaded once. Requests and answers are lines of JSON, in and out. When whoever asked is gone, so are they.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from typing import Any, NoReturn

import django
from asgiref.local import Local
from django.conf import Settings, settings
from django.core.cache import caches
from django.db import connections
from django.urls import get_resolver
from django.utils.log import configure_logging
from django.utils.module_loading import import_string

from marketplace.celery import app

#: What serves, works and tests loads besides the product itself.
PROGRAMS = """
    celery.bin.worker celery.bin.beat celery.apps.worker celery.concurrency.prefork celery.worker.consumer kombu.transport.redis
    gunicorn.app.wsgiapp gunicorn.workers.gthread pytest hypothesis
"""
#: Read the environment they find when they are loaded, so each process loads its own.
SETTINGS = ("marketplace.settings", "tests.settings")


def main() -> None:
    load()
    asked = serve()
    if asked is not None:
        become(asked)


def load() -> None:
    """Nothing that opens a connection, or that looks at settings once and for all."""
    django.setup()
    assert get_resolver().url_patterns
    for path in settings.MIDDLEWARE:
        import_string(path)
    for name in PROGRAMS.split():
        importlib.import_module(name)


def serve() -> dict[str, Any] | None:
    """Until nobody asks any more. In a process that was asked for: what it is to be."""
    living: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "module" in asked:
            pid = os.fork()
            if pid == 0:
                return dict(asked)
            living.add(pid)
            answer: int | None = pid
        else:
            ended, status = os.waitpid(asked["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
            living.discard(ended)
        print(json.dumps(answer), flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
    return None


def become(asked: dict[str, Any]) -> NoReturn:
    """Ends as the module does."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for here, there in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(here, there)
    os.environ.clear()
    os.environ.update(asked["environment"])
    read_settings()
    sys.argv = [asked["module"], *asked["arguments"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    sys.exit()


def read_settings() -> None:
    """As a process that begins reads them; nothing is kept that was made from those of the process it was forked from."""
    for name in SETTINGS:
        sys.modules.pop(name, None)
    settings._wrapped = Settings(os.environ["DJANGO_SETTINGS_MODULE"])
    assert all(made.connection is None for made in connections.all(initialized_only=True))
    handlers: tuple[Any, ...] = (connections, caches)
    for handler in handlers:
        handler._connections = Local(handler.thread_critical)
        handler.settings = handler._settings = handler.configure_settings(None)
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    app.conf.update(broker_url=settings.CELERY_BROKER_URL)


if __name__ == "__main__":
    main()
