"""Settings are read strictly."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from marketplace.core.runtime.database import database_from_url
from marketplace.core.runtime.environment import (
    Secrets,
    env_bool,
    env_int,
    env_list,
    env_str,
    env_urls,
    refuse_unknown_names,
)
from marketplace.core.runtime.places import Places

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("1", True), ("TRUE", True), ("off", False), ("0", False)])
def test_truth_is_read(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKED", text)
    assert env_bool("ASKED", not value) is value


def test_missing_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASKED", raising=False)
    assert (env_bool("ASKED", True), env_int("ASKED", 7), env_str("ASKED", "x")) == (True, 7, "x")
    assert (env_list("ASKED", ("a",)), env_urls("ASKED")) == (["a"], None)


@pytest.mark.parametrize("text", ["maybe", "", "2"])
def test_value_that_is_no_truth_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKED", text)
    with pytest.raises(ImproperlyConfigured, match="ASKED must be yes or no"):
        env_bool("ASKED", True)


def test_unreadable_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKED", "8o")
    with pytest.raises(ImproperlyConfigured, match="whole number"):
        env_int("ASKED", 1)
    with pytest.raises(ImproperlyConfigured, match="one of a, b"):
        env_str("ASKED", "a", choices=("a", "b"))
    with pytest.raises(ImproperlyConfigured, match="JSON"):
        env_urls("ASKED")


def test_value_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "value").write_text("from the file\n")
    monkeypatch.setenv("ASKED_FILE", str(tmp_path / "value"))
    assert env_str("ASKED") == "from the file"
    monkeypatch.setenv("ASKED", "from the environment")
    with pytest.raises(ImproperlyConfigured, match="not both"):
        env_str("ASKED")


def test_file_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKED_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="ASKED_FILE cannot be read"):
        env_str("ASKED")


def test_name_that_nobody_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_ASKED", "1")
    env_int("ODD_ASKED", 0)
    refuse_unknown_names(("ODD_",))
    monkeypatch.setenv("ODD_ASKDE", "1")
    with pytest.raises(ImproperlyConfigured, match="ODD_ASKDE"):
        refuse_unknown_names(("ODD_",))


def test_local_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secrets.json"
    made = Secrets(path, may_generate=True).text("LOCAL_SECRET")
    assert len(made) >= 32
    assert Secrets(path, may_generate=True).text("LOCAL_SECRET") == made
    assert Secrets(path, may_generate=True).text("ANOTHER") != made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secret_is_demanded_where_none_is_made(tmp_path: Path) -> None:
    vault = Secrets(tmp_path / "secrets.json", may_generate=False)
    with pytest.raises(ImproperlyConfigured, match="LOCAL_SECRET"):
        vault.text("LOCAL_SECRET")
    assert vault.text("LOCAL_SECRET", is_required=False) == ""
    assert not (tmp_path / "secrets.json").exists()


def test_key_must_be_32_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Secrets(tmp_path / "secrets.json", may_generate=True)
    assert len(vault.key("LOCAL_KEY")) == 32
    monkeypatch.setenv("LOCAL_KEY", base64.urlsafe_b64encode(b"short").decode())
    with pytest.raises(ImproperlyConfigured, match="32 bytes"):
        vault.key("LOCAL_KEY")


def test_database_url_is_taken_apart() -> None:
    url = "postgresql://t%40x:p%3Aw@db.example.com:6432/books?sslmode=require"
    assert database_from_url(url) == {
        "NAME": "books",
        "USER": "t@x",
        "PASSWORD": "p:w",
        "HOST": "db.example.com",
        "PORT": "6432",
        "OPTIONS": {"sslmode": "require"},
    }


@pytest.mark.parametrize("url", ["mysql://db/books", "postgresql://db", "books"])
def test_database_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        database_from_url(url)


def test_long_folder_gets_a_short_place_for_sockets(tmp_path: Path) -> None:
    short, long = Places(Path("/var/tieout")), Places(tmp_path / ("long" * 30))
    assert short.sockets == Path("/var/tieout/run")
    assert len(str(long.valkey_socket)) < 107
    assert long.sockets == Places(long.var).sockets


def run_settings(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import django; django.setup()"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")}
    names = {"DJANGO_SETTINGS_MODULE": "marketplace.settings", "TIEOUT_VAR": str(ROOT / "var" / "tests")}
    return subprocess.run(
        command, cwd=ROOT, env={**clean, **names, **environment}, capture_output=True, text=True, timeout=60
    )


def test_misspelt_setting_refuses_to_start() -> None:
    result = run_settings(TIEOUT_WEB_PROT="80")
    assert result.returncode == 1
    assert "Unknown settings in the environment: TIEOUT_WEB_PROT." in result.stderr


def test_production_refuses_to_start_without_its_secrets() -> None:
    result = run_settings(TIEOUT_ENV="production")
    assert result.returncode == 1
    assert "TIEOUT_SECRET_KEY (or TIEOUT_SECRET_KEY_FILE) must be set." in result.stderr


def test_old_keys_are_a_list_and_never_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Secrets(tmp_path / "secrets.json", may_generate=True)
    assert vault.keys("LOCAL_OLD_KEYS") == ()
    first, second = (base64.urlsafe_b64encode(letter * 32).decode().rstrip("=") for letter in (b"a", b"b"))
    monkeypatch.setenv("LOCAL_OLD_KEYS", f"{first}, {second}")
    assert vault.keys("LOCAL_OLD_KEYS") == (b"a" * 32, b"b" * 32)
    monkeypatch.setenv("LOCAL_OLD_KEYS", f"{first},short")
    with pytest.raises(ImproperlyConfigured, match="LOCAL_OLD_KEYS must be 32 bytes"):
        vault.keys("LOCAL_OLD_KEYS")
