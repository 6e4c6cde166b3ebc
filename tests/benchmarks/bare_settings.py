"""A web server with nothing in it but one view that does one INSERT: what receiving costs at least."""

from tests.benchmarks.web_settings import *  # noqa: F403 -- the same server and database
from tests.benchmarks.web_settings import DATABASE_ROUTERS, DATABASES, INSTALLED_APPS, MIDDLEWARE

MIDDLEWARE.clear()
ROOT_URLCONF = "tests.benchmarks.bare"
# What a plain Django does: no search paths, and no question before each request whether the connection still lives.
DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
DATABASE_ROUTERS.clear()
INSTALLED_APPS.clear()
