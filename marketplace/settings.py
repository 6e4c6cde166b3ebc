"""All settings. Values come from the environment (docs name each); an unknown TIEOUT_ name refuses to start."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from marketplace.core.runtime.database import database_from_url, embedded_database, with_patience, with_values_apart
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
from marketplace.core.runtime.postgres import programs

BASE_DIR = Path(__file__).resolve().parent.parent
TIEOUT_ENV = env_str("TIEOUT_ENV", "local", choices=("local", "test", "production"))
IS_PRODUCTION = TIEOUT_ENV == "production"
PLACES = Places(Path(env_str("TIEOUT_VAR", str(BASE_DIR / "var"))).resolve())

# --- secrets ---------------------------------------------------------------------------------------------
SECRETS = Secrets(PLACES.secrets, may_generate=not IS_PRODUCTION)
SECRET_KEY = SECRETS.text("TIEOUT_SECRET_KEY")
TIEOUT_KEK = SECRETS.key("TIEOUT_KEK")  # wraps every tenant's data key; never stored in the database
TIEOUT_KEK_OLD = SECRETS.keys("TIEOUT_KEK_OLD")  # still open what they sealed; nothing new is sealed with them


def _folders(file_name: str) -> list[str]:
    """The connectors that have this file; settings must not import connectors to know their names."""
    return sorted(path.parent.name for path in (BASE_DIR / "connectors" / "providers").glob(f"*/{file_name}"))


def _credentials(slug: str) -> dict[str, str]:
    prefix = f"CONNECTOR_{slug.upper()}"
    names = {"client_id": "CLIENT_ID", "client_secret": "CLIENT_SECRET", "webhook_secret": "WEBHOOK_SECRET"}
    return {key: SECRETS.text(f"{prefix}_{name}", is_required=False) for key, name in names.items()}


# Our registration at each provider; several webhook secrets are separated by commas. Empty = connector not offered.
CONNECTOR_CREDENTIALS: dict[str, dict[str, str]] = {slug: _credentials(slug) for slug in _folders("manifest.py")}
# Where a provider's sandbox signs with secrets of its own: they count there, and only there.
SANDBOX_WEBHOOK_SECRETS: dict[str, tuple[str, ...]] = {
    slug: tuple(env_list(f"CONNECTOR_{slug.upper()}_SANDBOX_WEBHOOK_SECRET")) for slug in CONNECTOR_CREDENTIALS
}
# Only these may be connected for real: locally, the credentials that were made up are good for the simulators alone.
REGISTERED_CONNECTORS = frozenset(
    slug
    for slug in CONNECTOR_CREDENTIALS
    if env_str(f"CONNECTOR_{slug.upper()}_CLIENT_ID") and env_str(f"CONNECTOR_{slug.upper()}_CLIENT_SECRET")
)

# --- addresses -------------------------------------------------------------------------------------------
WEB_HOST = env_str("TIEOUT_WEB_HOST", "127.0.0.1")
WEB_PORT = env_int("TIEOUT_WEB_PORT", 8000)
PUBLIC_URL = env_str("TIEOUT_PUBLIC_URL", f"http://127.0.0.1:{WEB_PORT}").rstrip("/")
FIRST_SIMULATOR_PORT = env_int("TIEOUT_SIMULATOR_PORT", 8101)
ALLOWED_HOSTS = env_list("TIEOUT_ALLOWED_HOSTS", () if IS_PRODUCTION else ("127.0.0.1", "localhost", "testserver"))
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SIMULATORS: dict[str, str] = env_urls("TIEOUT_SIMULATORS") or {}
if TIEOUT_ENV == "local" and not SIMULATORS:
    SIMULATORS = {
        slug: f"http://127.0.0.1:{FIRST_SIMULATOR_PORT + position}"
        for position, slug in enumerate(_folders("simulator.py"))
    }
# How much faster than real time the simulators' limits and retries run; workers keep the same pace.
SIMULATOR_SPEED = env_int("TIEOUT_SIMULATOR_SPEED", 60)
if IS_PRODUCTION and not (ALLOWED_HOSTS and PUBLIC_URL.startswith("https://")):
    raise ImproperlyConfigured("Production needs TIEOUT_ALLOWED_HOSTS and an https:// TIEOUT_PUBLIC_URL.")

# --- servers ---------------------------------------------------------------------------------------------
DATABASE_URL = env_str("DATABASE_URL")
REDIS_URL = env_str("REDIS_URL")
USES_EMBEDDED_POSTGRES = not DATABASE_URL
USES_EMBEDDED_VALKEY = not REDIS_URL
if IS_PRODUCTION and (USES_EMBEDDED_POSTGRES or USES_EMBEDDED_VALKEY):
    raise ImproperlyConfigured("Production needs DATABASE_URL and REDIS_URL; embedded servers are for local use.")
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **with_values_apart(
            with_patience(database_from_url(DATABASE_URL) if DATABASE_URL else embedded_database(PLACES))
        ),
        "ENGINE": "tenants.backend",
        "CONN_MAX_AGE": env_int("TIEOUT_DATABASE_MAX_AGE", 300),
        "CONN_HEALTH_CHECKS": True,
        # A connection pooler in transaction mode would hand one tenant's search path to another: connect directly.
        "DISABLE_SERVER_SIDE_CURSORS": False,
    }
}
# The wheel's pg_dump reads the template schema; it is there even when the server is somebody else's.
PG_DUMP = programs() / "pg_dump"
CELERY_BROKER_URL = REDIS_URL or f"redis+socket://{PLACES.valkey_socket}"
REDIS_URL = REDIS_URL or f"unix://{PLACES.valkey_socket}?db=0"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        # A server that stands still must not hold requests: they are told that it does not answer.
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 1},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- applications: whose tables live where -----------------------------------------------------------------
SHARED_APPS = [  # one copy, in the schema `public`
    "django.contrib.auth",  # permissions framework; the user model is tenants.User
    "django.contrib.contenttypes",  # needed by auth
    "django.contrib.sessions",  # a session belongs to a person, not to a tenant
    "django.contrib.messages",  # no tables
    "django.contrib.staticfiles",  # no tables
    "django.forms",  # no tables; lets templates/ override the form templates
    "allauth",  # sign-up and log-in, for people
    "allauth.account",
    "allauth.mfa",
    "rest_framework",  # no tables
    "django_htmx",  # no tables
    "csp",  # no tables
    "tenants",  # who belongs where; read before a tenant is known
    "marketplace.core",  # work queue and webhook inbox: written before a tenant is known
    "marketplace.catalogue",  # no tables; listings are the same for everybody
    "marketplace.demo",  # no tables; the demonstration's command
]
TENANT_APPS = [  # one copy per tenant, in its own schema
    "marketplace.audit",  # a tenant's trail moves with the tenant
    "marketplace.installations",  # consents, connections and sealed tokens
    "marketplace.mapping",  # flows, mapping versions, source of truth
    "marketplace.sync",  # records, changes, cursors
    "marketplace.posting",  # postings and their keys
    "marketplace.cutover",  # pairings, gate, proof
    "marketplace.overview",  # no tables
    "marketplace.api",  # no tables
]
INSTALLED_APPS = SHARED_APPS + TENANT_APPS
TENANT_MODEL = "tenants.Tenant"
TENANT_LIMIT_SET_CALLS = True  # the search path is set when it changes, not per statement
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]

# --- requests ----------------------------------------------------------------------------------------------
ROOT_URLCONF = "marketplace.urls"
WSGI_APPLICATION = "marketplace.wsgi.application"
MIDDLEWARE = [  # for people; deliveries of webhooks never come here (marketplace/wsgi.py)
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Pages of a hundred rows shrink tenfold. It pads at random and CSRF tokens are masked, so lengths tell nobody anything.
    "django.middleware.gzip.GZipMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.context_processors.opened",
                "marketplace.core.context_processors.businesses",
            ],
        },
    },
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- people ------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "start"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_SIGNUP_FORM_CLASS = "tenants.forms.SignUpForm"
ACCOUNT_FORMS = {
    "change_password": "tenants.password_forms.ChangePassword",
    "reset_password_from_key": "tenants.password_forms.ResetPassword",
}
ACCOUNT_ADAPTER = "tenants.letters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CONFIRM_EMAIL_ON_GET = False  # mail scanners open links; a person presses the button
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Tieout: "
ACCOUNT_PREVENT_ENUMERATION = True
CONFIRMED_FOR = timedelta(minutes=env_int("TIEOUT_CONFIRM_MINUTES", 15))
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Tieout"
MFA_ADAPTER = "tenants.mfa.SealedMFAAdapter"

# --- mail --------------------------------------------------------------------------------------------------
EMAIL_HOST = env_str("TIEOUT_EMAIL_HOST")
EMAIL_PORT = env_int("TIEOUT_EMAIL_PORT", 587)
EMAIL_HOST_USER = env_str("TIEOUT_EMAIL_USER")
EMAIL_HOST_PASSWORD = SECRETS.text("TIEOUT_EMAIL_PASSWORD", is_required=False) if EMAIL_HOST else ""
EMAIL_USE_TLS = env_bool("TIEOUT_EMAIL_TLS", True)
DEFAULT_FROM_EMAIL = env_str("TIEOUT_EMAIL_FROM", "Tieout <no-reply@localhost>")
# Without a mail server the letters are files, so that a person can still open the link in them.
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = PLACES.mail
SHOWS_LETTERS = TIEOUT_ENV == "local" and not EMAIL_HOST  # on a page of their own, /letters/
if IS_PRODUCTION and not EMAIL_HOST:
    raise ImproperlyConfigured("Production needs TIEOUT_EMAIL_HOST: people verify their address by mail.")

# --- security ----------------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PRODUCTION
SESSION_COOKIE_NAME = "__Host-session" if IS_PRODUCTION else "tieout_session"
CSRF_COOKIE_NAME = "__Host-csrf" if IS_PRODUCTION else "tieout_csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"  # the provider's redirect back to us must carry the session
SECURE_SSL_REDIRECT = IS_PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("TIEOUT_BEHIND_PROXY", False) else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # asked by the container's own probe, without TLS
SECURE_HSTS_SECONDS = 31_536_000 if IS_PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_PRODUCTION
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# --- language, time, files -----------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# Locally the files are served from where they are; production collects them first.
STATIC_ROOT = env_str("TIEOUT_STATIC_ROOT", str(BASE_DIR / "staticfiles")) if IS_PRODUCTION else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
}

# Where the heads of all audit trails are written down outside of the database; None: nowhere.
_anchors = env_str("TIEOUT_AUDIT_ANCHORS", "" if IS_PRODUCTION else str(PLACES.var / "audit-anchors.jsonl"))
AUDIT_ANCHORS = Path(_anchors) if _anchors else None

METRICS_TOKEN = SECRETS.text("TIEOUT_METRICS_TOKEN", is_required=False)  # lets a scraper elsewhere read /metrics

# --- logs ----------------------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "marketplace.core.runtime.logs.JsonFormatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env_str("TIEOUT_LOG_LEVEL", "INFO").upper()},
    "loggers": {
        # Client libraries write whole requests at these levels; those hold payloads and tokens.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "django.server": {"handlers": [], "propagate": True},
    },
}

# --- the supervisor ------------------------------------------------------------------------------------------
WEB_THREADS = env_int("TIEOUT_WEB_THREADS", 4)
# Of one machine; `--concurrency` of its Celery worker says the same. One of them does short work only.
WORKER_PROCESSES = env_int("TIEOUT_WORKER_PROCESSES", 3)

refuse_unknown_names(("TIEOUT_",))
