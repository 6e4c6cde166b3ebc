"""Where the embedded servers keep their files, from the one folder TIEOUT_VAR."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

# A Unix socket's path may have 107 characters; the servers append their own file names.
_LONGEST_FOLDER = 80


@dataclass(frozen=True)
class Places:
    var: Path

    @property
    def postgres(self) -> Path:
        return self.var / "postgres"

    @property
    def valkey(self) -> Path:
        return self.var / "valkey"

    @property
    def logs(self) -> Path:
        return self.var / "logs"

    @property
    def mail(self) -> Path:
        return self.var / "mail"

    @property
    def simulators(self) -> Path:
        return self.var / "simulators"

    @property
    def secrets(self) -> Path:
        return self.var / "secrets.json"

    @property
    def sockets(self) -> Path:
        """In the folder itself, or in the temporary folder under a name made from it when that is too long."""
        folder = self.var / "run"
        if len(str(folder)) <= _LONGEST_FOLDER:
            return folder
        return Path(tempfile.gettempdir()) / f"tieout-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"
