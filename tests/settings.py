"""The settings of the tests: the real ones, with five things changed."""

import os
from pathlib import Path

os.environ.setdefault("TIEOUT_ENV", "test")
os.environ.setdefault("TIEOUT_VAR", str(Path(__file__).resolve().parent.parent / "var" / "tests"))

from marketplace.settings import *  # noqa: F403 -- the environment above must be set first
from marketplace.settings import DATABASES

# Hashing a password should not be what tests spend their time on.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# `flush` after a transactional test must reach tables of tenants that refer to shared ones.
DATABASES["default"]["ENGINE"] = "tests.backend"
# Each test session has databases of its own; a connection kept open would stop them from being dropped.
DATABASES["default"]["CONN_MAX_AGE"] = 0
