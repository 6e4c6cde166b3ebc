"""The settings of web servers whose cost is measured: those of the fault tests' processes, with connections kept as in production."""

from tests.faults.settings import *  # noqa: F403 -- everything else is as there
from tests.faults.settings import DATABASES

DATABASES["default"]["CONN_MAX_AGE"] = 300
