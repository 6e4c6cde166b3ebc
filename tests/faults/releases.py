"""Releases to come: the product's code with models that have more to say and the migrations for it, in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.faults.processes import environment

PARTS = ("marketplace", "connectors", "tenants", "templates", "tests", "manage.py", "conftest.py", "pyproject.toml")
#: What each release adds to the models of an application, and by which its work is known: it writes its own number where the releases
#: before it, which know nothing of the column, leave the database's nought.
ADDED = {
    "sync": """
SyncRun.add_to_class("release_{number}", models.IntegerField(default={number}, db_default=0))
Record.add_to_class("noted_{number}", models.CharField(max_length=40, db_default=""))
Record.add_to_class("seen_by_{number}", models.BooleanField(null=True, db_index=True))
""",
    "posting": """
Posting.add_to_class("release_{number}", models.IntegerField(default={number}, db_default=0))
""",
    "core": """
WebhookDelivery.add_to_class("release_{number}", models.IntegerField(default={number}, db_default=0))
""",
}
_ITS_RUNS = (
    "SELECT count(*) FILTER (WHERE release_{0} = 0), count(*) FILTER (WHERE release_{0} = {0}) FROM {1}.sync_syncrun"
)


@dataclass(frozen=True)
class Release:
    """`code` is where its programs run."""

    number: int
    code: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of its management commands, at the servers of this test."""
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=self.code,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def runs(self, schema_name: str) -> tuple[int, int]:
        """How many readings were begun by the releases before it since its migration, or before that, and how many by itself."""
        with connection.cursor() as cursor:
            cursor.execute(_ITS_RUNS.format(self.number, schema_name))
            before, own = cursor.fetchone()
        return before, own


def this_release() -> Release:
    return Release(0, Path(settings.BASE_DIR))


def make_next(release: Release, folder: Path) -> Release:
    """The release after this one, as somebody makes it: the models are changed, `makemigrations` writes the rest."""
    made = Release(release.number + 1, folder / f"release-{release.number + 1}")
    made.code.mkdir()
    for part in PARTS:
        source = release.code / part
        if source.is_dir():
            shutil.copytree(source, made.code / part)
        else:
            shutil.copy2(source, made.code / part)
    for app, addition in ADDED.items():
        with (made.code / "marketplace" / app / "models.py").open("a") as models:
            models.write(addition.format(number=made.number))
    told = made.run("makemigrations", *ADDED, "--name", f"release_{made.number}", "--no-input")
    assert told.returncode == 0, told.stderr
    return made
