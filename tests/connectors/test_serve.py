"""Simulators as processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from connectors.testing.serve import keys_from_environment, simulated_slugs

COMMAND = [sys.executable, "-m", "connectors.testing.serve"]


def start(slug: str, state: Path) -> tuple[subprocess.Popen[str], str]:
    """The process, and the address it says it listens at."""
    arguments = [*COMMAND, slug, "--port", "0", "--state", str(state), "--speed", "100"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().rsplit(" ", 1)[1].strip()


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    return process.returncode


@pytest.mark.stack
def test_a_served_simulator_keeps_its_books_over_a_restart(tmp_path: Path) -> None:
    slug = simulated_slugs()[0]
    process, address = start(slug, tmp_path)
    opened = {"id": "alder", "name": "Alder & Finch", "base_currency": "GBP", "country": "GB"}
    httpx.post(f"{address}/_sim/organisations", json=opened).raise_for_status()
    assert stop(process) == 0
    process, address = start(slug, tmp_path)
    found = httpx.get(f"{address}/_sim/organisations").json()["organisations"]
    assert "Alder & Finch" in [organisation["name"] for organisation in found]
    assert stop(process) == 0


@pytest.mark.stack
def test_the_simulators_are_listed() -> None:
    listed = subprocess.run([*COMMAND, "--list"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == simulated_slugs()
    assert listed.stdout.split() != []


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_SAMPLE_CLIENT_ID", "ours")
    monkeypatch.setenv("CONNECTOR_SAMPLE_WEBHOOK_SECRET", "hook, next")
    keys = keys_from_environment("sample")
    assert (keys.client_id, keys.webhook_secrets) == ("ours", ("hook", "next"))
    assert keys.client_secret == "simulated-secret"
