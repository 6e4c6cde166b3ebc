"""Serve one simulator: `python -m connectors.testing.serve <slug> --port N --state DIR`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from connectors.sdk.oauth import ConnectorKeys
from connectors.testing.simulator import DEFAULT_KEYS, Simulator


def simulator_class(slug: str) -> type[Simulator]:
    """Raises `ModuleNotFoundError` for a provider without a simulator."""
    found: type[Simulator] = importlib.import_module(f"connectors.providers.{slug}.simulator").SIMULATOR
    return found


def simulated_slugs() -> list[str]:
    """Every provider that has a simulator."""
    providers = importlib.import_module("connectors.providers")
    return [
        module.name
        for module in pkgutil.iter_modules(providers.__path__)
        if module.ispkg and importlib.util.find_spec(f"connectors.providers.{module.name}.simulator")
    ]


def keys_from_environment(slug: str) -> ConnectorKeys:
    """`CONNECTOR_<SLUG>_CLIENT_ID`, `_CLIENT_SECRET` and `_WEBHOOK_SECRET`, each with a default; of several webhook secrets the
    first signs, or all where the provider signs with all."""
    prefix = f"CONNECTOR_{slug.upper()}_"
    secrets = os.environ.get(f"{prefix}WEBHOOK_SECRET", DEFAULT_KEYS.webhook_secrets[0]).split(",")
    return ConnectorKeys(
        client_id=os.environ.get(f"{prefix}CLIENT_ID", DEFAULT_KEYS.client_id),
        client_secret=os.environ.get(f"{prefix}CLIENT_SECRET", DEFAULT_KEYS.client_secret),
        webhook_secrets=tuple(secret.strip() for secret in secrets),
    )


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with one process, so there is one simulator, and threads, so a slow call holds up nobody."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"{self.arguments.host}:{self.arguments.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": 16,
            "keepalive": 75,
            "graceful_timeout": 5,
            "timeout": 0,
            "loglevel": "warning",
            "when_ready": self._announce,
            "worker_exit": _close,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _announce(self, server: Any) -> None:
        """Tell people (and tests that asked for any free port) where it listens."""
        for listener in server.LISTENERS:
            print(f"{self.arguments.slug} simulator at {listener}", flush=True)

    def load(self) -> Simulator:
        """Called in the worker, where the database and the sending thread have to live."""
        return simulator_class(self.arguments.slug)(
            state=self.arguments.state,
            keys=keys_from_environment(self.arguments.slug),
            webhook_url=self.arguments.webhook_url,
            speed=self.arguments.speed,
        )


def _close(server: Any, worker: Any) -> None:
    simulator = getattr(worker, "wsgi", None)
    if isinstance(simulator, Simulator):
        simulator.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m connectors.testing.serve", description=__doc__)
    parser.add_argument("slug", nargs="?", default="")
    parser.add_argument("--list", action="store_true", help="print the providers that have a simulator")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, default=None, help="folder that keeps the simulator's books")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--speed", type=float, default=1.0, help="shortens limits and webhook retries")
    return parser


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(simulated_slugs()))
    elif not arguments.slug:
        parser.error("name a provider, or use --list")
    else:
        Server(arguments).run()


if __name__ == "__main__":
    main()
