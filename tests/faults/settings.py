"""The settings of processes that a fault test starts: those of the tests, in that test's database and at its simulators."""

import json
import os
from typing import Any

from marketplace.settings import CACHES as _CACHES
from tests.faults.removal import REMOVE
from tests.settings import *  # noqa: F403 -- everything else is as in the tests
from tests.settings import DATABASES, INSTALLED_APPS

_given: dict[str, Any] = json.loads(os.environ["FAULTS_SETTINGS"])

DATABASES["default"] |= _given["database"]
SIMULATORS = _given["simulators"]
SIMULATOR_SPEED = _given["speed"]
PUBLIC_URL = _given["public_url"]
REDIS_URL = _given["redis_url"]
CELERY_BROKER_URL = _given["broker_url"]
CACHES = {"default": {**_CACHES["default"], "LOCATION": REDIS_URL}}  # web and workers share one, as in production
if os.environ.get(REMOVE):
    INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.apps.RemovalConfig"]
