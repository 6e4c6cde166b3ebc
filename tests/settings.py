"""The settings of the tests: the real ones, with a few things changed."""

import os
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TIEOUT_ENV", "test")
os.environ.setdefault("TIEOUT_VAR", str(Path(__file__).resolve().parent.parent / "var" / "tests"))

from marketplace.core.runtime.database import with_patience
from marketplace.settings import *  # noqa: F403 -- the environment above must be set first
from marketplace.settings import DATABASES, PLACES, USES_EMBEDDED_VALKEY
from marketplace.settings import REDIS_URL as _REDIS_URL

# Hashing a password should not be what tests spend their time on.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# `flush` after a transactional test must reach the tables of tenants.
DATABASES["default"]["ENGINE"] = "tests.backend"
# Each test session has databases of its own; a connection kept open would stop them from being dropped.
DATABASES["default"]["CONN_MAX_AGE"] = 0
# Workers side by side count in numbered databases of their own, so that the allowance one test used up is not another's.
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
if USES_EMBEDDED_VALKEY:
    REDIS_URL = f"unix://{PLACES.valkey_socket}?db={_NUMBER}"
    CELERY_BROKER_URL = f"redis+socket://{PLACES.valkey_socket}?virtual_host={_NUMBER}"
else:
    REDIS_URL = CELERY_BROKER_URL = urlsplit(_REDIS_URL)._replace(path=f"/{_NUMBER}").geturl()
# Most tests are one transaction, in which they may wait for something.
DATABASES["default"] |= with_patience(DATABASES["default"], seconds=0)
