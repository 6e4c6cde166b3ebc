"""The processes of a running Tieout, as the settings describe them."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings


@dataclass(frozen=True)
class Program:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    # Ready when something listens here; None when the process listens nowhere.
    address: tuple[str, int] | None = None
    # Talks to no other process of ours, so it need not wait for one when stopping.
    is_independent: bool = False


def stack_programs() -> list[Program]:
    """In the order of starting; they stop in the reverse order, so work stops before what it talks to."""
    return [*(_simulator(slug, url) for slug, url in settings.SIMULATORS.items()), _web(), _worker(), _beat()]


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _simulator(slug: str, url: str) -> Program:
    port = urlsplit(url).port or 80
    state: Path = settings.PLACES.simulators / slug
    arguments = ("--port", str(port), "--state", str(state), "--speed", str(settings.SIMULATOR_SPEED))
    webhook = ("--webhook-url", f"{settings.PUBLIC_URL}/webhooks/{slug}/simulator/")
    credentials = {
        f"CONNECTOR_{slug.upper()}_{name.upper()}": value
        for name, value in settings.CONNECTOR_CREDENTIALS.get(slug, {}).items()
    }
    command = _python("connectors.testing.serve", slug, *arguments, *webhook)
    return Program(f"simulator-{slug}", command, credentials, ("127.0.0.1", port), is_independent=True)


def _web() -> Program:
    command = _python(
        *("gunicorn", "marketplace.wsgi:application", "--worker-class", "gthread", "--workers", "1"),
        *("--threads", str(settings.WEB_THREADS), "--bind", f"{settings.WEB_HOST}:{settings.WEB_PORT}"),
        # A process keeps the catalogue of every tenant it touched: start afresh before that grows.
        *("--max-requests", "20000", "--max-requests-jitter", "2000", "--graceful-timeout", "20"),
        *("--no-control-socket", "--log-level", "warning"),
    )
    return Program("web", command, address=(settings.WEB_HOST, settings.WEB_PORT))


def _worker() -> Program:
    return Program(
        "worker",
        _python(
            *("celery", "-A", "marketplace", "worker", "--pool", "prefork", "--loglevel", "INFO"),
            *("--concurrency", str(settings.WORKER_PROCESSES), "--without-gossip", "--without-mingle"),
        ),
    )


def _beat() -> Program:
    # The schedule repeats every few seconds, so what a former run remembered of it is worth nothing.
    schedule = settings.PLACES.var / "run" / f"beat-{os.getpid()}"
    schedule.parent.mkdir(parents=True, exist_ok=True)  # servers of somebody else's leave it to us
    return Program("beat", _python("celery", "-A", "marketplace", "beat", "--schedule", str(schedule)))
