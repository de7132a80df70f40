"""Django's settings. What can be set is read here, once, by ``env``; ``.env.example`` explains each name."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from poolhub.common.postgres.patience import ImpatientConnection
from poolhub.env import Reader, env_file
from poolhub.theme import UNFOLD  # noqa: F401 - Django reads it here
from poolhub.version import VERSION

BASE_DIR = Path(__file__).resolve().parent.parent

read = Reader(env_file(BASE_DIR))

# --- where it runs
POOLHUB_ENV = read.choice("POOLHUB_ENV", "embedded", ("embedded", "production"))
POOLHUB_HOST = read.host("POOLHUB_HOST", "127.0.0.1")
POOLHUB_PORT = read.whole("POOLHUB_PORT", 8203, low=0, high=65535)
DEBUG = read.flag("DEBUG", default=False)
ALLOWED_HOSTS = read.hosts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = read.origins("CSRF_TRUSTED_ORIGINS")
LOG_LEVEL = read.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = read.choice("LOG_FORMAT", "auto", ("auto", "text", "json"))
LOG_JSON = LOG_FORMAT == "json" or (LOG_FORMAT == "auto" and POOLHUB_ENV == "production")
OTEL_EXPORTER_OTLP_ENDPOINT = read.collector(
    "OTEL_EXPORTER_OTLP_ENDPOINT", needs="opentelemetry.exporter.otlp.proto.http"
)
TRACE_SAMPLE = read.number("TRACE_SAMPLE", 0.1, low=0, high=1)

# --- secrets
SECRET_KEY = read.secret("SECRET_KEY", min_length=50)
API_KEY_PEPPER = read.secret("API_KEY_PEPPER", min_length=32)
COORDINATOR_SHARED_SECRET = read.secrets("COORDINATOR_SHARED_SECRET", min_length=16)
ADMIN_SHARED_SECRET = read.secrets("ADMIN_SHARED_SECRET", min_length=16)

# --- who may call
COORDINATOR_ALLOWLIST = read.networks("COORDINATOR_ALLOWLIST")
ADMIN_ALLOWLIST = read.networks("ADMIN_ALLOWLIST")
TRUSTED_PROXIES = read.networks("TRUSTED_PROXIES")
ENROLLMENT = read.choice("ENROLLMENT", "closed", ("open", "closed"))
RATELIMIT_MATCH = read.rate("RATELIMIT_MATCH", "500/s")
RATELIMIT_REGISTER = read.rate("RATELIMIT_REGISTER", "50/s")
RATELIMIT_WRONG_KEY = read.rate("RATELIMIT_WRONG_KEY", "20/m")
RATELIMIT_ENABLE = True
LOGIN_ATTEMPTS = read.whole("LOGIN_ATTEMPTS", 10, low=1, high=1000)
LOGIN_LOCKOUT_SEC = read.number("LOGIN_LOCKOUT_SEC", 900, low=1, high=86_400, unit="s")
MAX_BODY_BYTES = read.whole("MAX_BODY_BYTES", 262_144, low=1024, high=16 * 1024 * 1024, unit="bytes")
REQUEST_WAIT_MS = read.whole("REQUEST_WAIT_MS", 2000, low=10, high=30_000, unit="ms")

# --- miners, matches, trust
SESSION_TTL_SEC = read.number("SESSION_TTL_SEC", 60, low=0.1, high=86_400, unit="s")
HEARTBEAT_GRACE_SEC = read.number("HEARTBEAT_GRACE_SEC", 120, low=0.1, high=864_000, unit="s")
MAX_HEARTBEATS_PER_SEC = read.number("MAX_HEARTBEATS_PER_SEC", 5000, low=0, high=10_000_000)
if HEARTBEAT_GRACE_SEC < SESSION_TTL_SEC:
    read.stop("HEARTBEAT_GRACE_SEC", f"it must not be less than SESSION_TTL_SEC, which is {SESSION_TTL_SEC:g} s")
DEFAULT_WEIGHTS = read.weights("DEFAULT_WEIGHTS", "cap=0.40,price=0.20,latency=0.20,trust=0.15,load=0.05")
SOFT_HOLD_MS = read.whole("SOFT_HOLD_MS", 2000, low=0, high=600_000, unit="ms")
JOB_TTL_SEC = read.number("JOB_TTL_SEC", 3600, low=1, high=604_800, unit="s")
COMMAND_TTL_SEC = read.number("COMMAND_TTL_SEC", 86_400, low=1, high=31_536_000, unit="s")
TRUST_HALF_LIFE_DAYS = read.number("TRUST_HALF_LIFE_DAYS", 30, low=0.001, high=36_500, unit="days")
MATCH_RECORD_SAMPLE = read.number("MATCH_RECORD_SAMPLE", 1.0, low=0, high=1)
MATCH_RECORD_DAYS = read.number("MATCH_RECORD_DAYS", 14, low=0, high=3650, unit="days")

# --- other hubs
HUB_NAME = read.hub("HUB_NAME", "local")
PEER_HUBS = read.hubs("PEER_HUBS")
PEER_SECRET = read.secrets("PEER_SECRET", min_length=16)[:1] or COORDINATOR_SHARED_SECRET[:1]
PEER_DEADLINE_MS = read.whole("PEER_DEADLINE_MS", 250, low=10, high=10_000, unit="ms")
if HUB_NAME in PEER_HUBS:
    read.stop("PEER_HUBS", f"it names {HUB_NAME}, which is this hub's own HUB_NAME")
if PEER_HUBS and not PEER_SECRET:
    read.stop("PEER_SECRET", "peer hubs are asked with it, or with the first COORDINATOR_SHARED_SECRET: set one")

# --- calls to the outside
OUTBOUND_ALLOW = read.networks("OUTBOUND_ALLOW")

# --- settlement
SETTLEMENT_URL = read.url("SETTLEMENT_URL")
SETTLEMENT_SECRETS = read.webhook_secrets("SETTLEMENT_SECRETS")
SETTLEMENT_TIMEOUT_SEC = read.number("SETTLEMENT_TIMEOUT_SEC", 10, low=0.1, high=120, unit="s")
SETTLEMENT_ATTEMPTS = read.whole("SETTLEMENT_ATTEMPTS", 16, low=1, high=100)
SETTLEMENT_PARALLEL = read.whole("SETTLEMENT_PARALLEL", 8, low=1, high=64)
SETTLEMENT_BACKEND = read.choice("SETTLEMENT_BACKEND", "webhook", ("webhook", "evm"))
EVM_RPC_URL = read.url("EVM_RPC_URL")
EVM_CHAIN_ID = read.whole("EVM_CHAIN_ID", 0, low=0, high=2**53)
EVM_TOKEN_ADDRESS = read.hex_bytes("EVM_TOKEN_ADDRESS", size=20)
EVM_TOKEN_DECIMALS = read.whole("EVM_TOKEN_DECIMALS", 18, low=0, high=77)
EVM_PRIVATE_KEY = read.hex_bytes("EVM_PRIVATE_KEY", size=32)
EVM_CONFIRMATIONS = read.whole("EVM_CONFIRMATIONS", 12, low=1, high=10_000)
EVM_BUMP_SEC = read.number("EVM_BUMP_SEC", 180, low=1, high=86_400, unit="s")
EVM_MAX_FEE_GWEI = read.number("EVM_MAX_FEE_GWEI", 100, low=0.001, high=1_000_000, unit="gwei")
if SETTLEMENT_BACKEND == "evm":
    for _name in ("EVM_RPC_URL", "EVM_CHAIN_ID", "EVM_TOKEN_ADDRESS", "EVM_PRIVATE_KEY"):
        if not globals()[_name]:
            read.stop(_name, "it must be set with SETTLEMENT_BACKEND=evm")
if SETTLEMENT_URL and not SETTLEMENT_SECRETS:
    read.stop("SETTLEMENT_SECRETS", "it must be set with SETTLEMENT_URL: events are signed")

# --- market
MARKET_FEED_DIR = read.folder("MARKET_FEED_DIR", base=BASE_DIR)
MARKET_HISTORY_DAYS = read.number("MARKET_HISTORY_DAYS", 365, low=0, high=36_500, unit="days")

# --- storage
DATABASE = read.database("DB_DSN", "sqlite:///poolhub.sqlite3", base=BASE_DIR)
DB_POOL_SIZE = read.whole("DB_POOL_SIZE", 8, low=1, high=500)
REDIS_URL = read.redis("REDIS_URL")

ON_SQLITE = DATABASE["ENGINE"].endswith("sqlite3")
PRODUCTION = POOLHUB_ENV == "production"
if PRODUCTION and DEBUG:
    read.stop("DEBUG", "it must be off with POOLHUB_ENV=production")

if ON_SQLITE:
    # With the default DEFERRED, WAL answers "database is locked" to most concurrent writers.
    DATABASE["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
        "timeout": 5,
    }
else:
    # Under ASGI each synchronous view has a thread of its own, so connections belong to a pool, never to a thread.
    DATABASE["CONN_MAX_AGE"] = 0
    DATABASE["CONN_HEALTH_CHECKS"] = True
    DATABASE["OPTIONS"] = {
        "connect_timeout": 3,
        "pool": {
            "min_size": 1,
            "max_size": DB_POOL_SIZE,
            "timeout": 3.0,
            "reconnect_timeout": 2.0,
            "connection_class": ImpatientConnection,
        },
        **DATABASE["OPTIONS"],
    }
DATABASES: dict[str, dict[str, Any]] = {"default": DATABASE}

# A plain client retries a dead Redis for seconds: on a request's path one quick try is enough.
REDIS_OPTIONS: dict[str, Any] = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "retry": Retry(NoBackoff(), 0),
}
CACHES: dict[str, dict[str, Any]]
CHANNEL_LAYERS: dict[str, dict[str, Any]]
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "poolhub",
            "OPTIONS": REDIS_OPTIONS,
        }
    }
    # The core layer loses idle sockets on redis-py 8 (django/channels_redis#422); pub/sub survives a restart of Redis.
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": "poolhub"},
        }
    }
else:
    # a counter for each address that calls: at Django's 300 entries it would soon forget who called
    CACHES = {"default": {"BACKEND": "poolhub.common.localcache.LocalCache", "OPTIONS": {"MAX_ENTRIES": 10_000}}}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- the framework
ROOT_URLCONF = "poolhub.urls"
ASGI_APPLICATION = "poolhub.asgi.application"
WSGI_APPLICATION = "poolhub.wsgi.application"
INSTALLED_APPS = [
    "poolhub.apps.PoolhubConfig",  # first: it takes over runserver
    "miners",
    "matching",
    "feedback",
    "settlement",
    "market",
    "unfold.apps.BasicAppConfig",  # before the admin, whose templates it replaces
    "unfold.contrib.filters",
    "unfold.contrib.import_export",  # before import_export, likewise
    "import_export",
    "poolhub.apps.HubAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "axes",
    "access",  # last: its roles follow the permissions of all others
]
MIDDLEWARE = [
    "poolhub.middleware.RequestIdMiddleware",
    "poolhub.csp.ContentSecurityMiddleware",
    "poolhub.middleware.ProblemMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "poolhub.middleware.MeteredMiddleware",
    "axes.middleware.AxesMiddleware",
]
if OTEL_EXPORTER_OTLP_ENDPOINT:
    MIDDLEWARE.insert(1, "poolhub.otel.TracingMiddleware")  # right after the request's id
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "poolhub.common.problems.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "poolhub.openapi.HubSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Pool Hub",
    "DESCRIPTION": "Matches jobs to miners: registry, matching, reservations, feedback.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["poolhub.openapi.simple_paths"],
    "POSTPROCESSING_HOOKS": ["poolhub.openapi.add_types"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENFORCE_NON_BLANK_FIELDS": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},  # else the page tells a stranger of this hub
}
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "poolhub.formats"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # files come straight from the packages: nothing to collect

# --- security; TLS ends at the proxy in front, which also redirects to it
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PRODUCTION else None
SECURE_HSTS_SECONDS = 30 * 86_400 if PRODUCTION else 0
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_NAME = "poolhub_session"
CSRF_COOKIE_NAME = "poolhub_csrf"
CSRF_FAILURE_VIEW = "poolhub.common.problems.csrf_failure"
X_FRAME_OPTIONS = "DENY"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_AGE = 12 * 3600
# Failed logins count by address, not by name: else a stranger could lock out an operator. A login that works forgets
# none, or somebody with an account could guess on for ever; while an address is locked out nothing is written.
AXES_FAILURE_LIMIT = LOGIN_ATTEMPTS
AXES_COOLOFF_TIME = timedelta(seconds=LOGIN_LOCKOUT_SEC)
AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_CLIENT_IP_CALLABLE = "access.logins.login_address"
AXES_LOCKOUT_CALLABLE = "access.logins.locked_out"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False  # access/admin.py shows what there is
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # whether HSTS covers sub-domains …
    "security.W021",  # … and enters the browsers' preload list is for the owner of the domain to say, in the proxy
    "security.W008",  # the proxy redirects to TLS; health checks and scrapers behind it speak plain HTTP
]
if not PRODUCTION:
    # The embedded hub speaks plain HTTP on loopback: its cookies and answers cannot ask for TLS.
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W012", "security.W016"]

LOGGING_CONFIG = "poolhub.logs.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"()": "poolhub.logs.handler"}},  # in poolhub/servers.json too, for granian and uvicorn
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"level": "INFO", "handlers": [], "propagate": True},
        "django.server": {"level": "WARNING", "handlers": [], "propagate": True},
        "django.request": {"level": "ERROR"},  # a refused request is no event of the log: metrics count it
        "django.security": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # nor is that
        "django.channels.server": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # it tells names and addresses; the page of failed logins shows them
        "daphne": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "psycopg.pool": {"level": "ERROR"},
    },
}
