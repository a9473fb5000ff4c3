"""Django's settings, from `environment.py`. The hot path reads ENVIRONMENT, never these names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dj_database_url
from django.urls import reverse_lazy

from hypereal.environment import read_or_exit

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = read_or_exit(root=BASE_DIR)

SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = False
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts) or (
    [] if ENVIRONMENT.is_production else ["localhost", "127.0.0.1", "[::1]", ENVIRONMENT.host]
)
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "apps.accounts.apps.AccountsConfig",
    "apps.catalog.apps.CatalogConfig",
    "apps.upstreams.apps.UpstreamsConfig",
    "apps.keys.apps.KeysConfig",
    "apps.usage.apps.UsageConfig",
    "apps.ledger.apps.LedgerConfig",
    "apps.insurance.apps.InsuranceConfig",
    "apps.gateway.apps.GatewayConfig",
    "apps.console.apps.ConsoleConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "hypereal.urls"
ASGI_APPLICATION = "hypereal.asgi.application"
AUTH_USER_MODEL = "accounts.User"
LOGIN_REDIRECT_URL = "/admin/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

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
            ],
        },
    },
]

DATABASES: dict[str, Any]
if ENVIRONMENT.is_embedded:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ENVIRONMENT.data_dir / "hypereal.sqlite3",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    }
else:
    DATABASES = {"default": dj_database_url.parse(ENVIRONMENT.database_url, conn_max_age=60, conn_health_checks=True)}

LEDGER_JOURNAL_DIR = ENVIRONMENT.journal_dir

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.accounts.api_auth.BearerToken",
        "apps.accounts.api_auth.OperatorSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["apps.accounts.api_auth.IsOperator"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.accounts.api_errors.error_reply",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Hypereal",
    "DESCRIPTION": "The control plane's API. The managed models are called at `/v1`, with a `ck_` key.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    # Open to anyone, and nobody is asked who they are.
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
DATETIME_FORMAT = "Y-m-d H:i"

STATIC_URL = "static/"
# Served from where the packages keep them: no build step, nothing to collect.
WHITENOISE_USE_FINDERS = True

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
if ENVIRONMENT.public_url.startswith("https://"):
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # The server's own lines say what `make run` has said already.
    "loggers": {"uvicorn.error": {"level": "WARNING"}},
}


def _link(title: str, icon: str, view: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{view}_changelist")}


UNFOLD = {
    "SITE_TITLE": "Hypereal",
    "SITE_HEADER": "Hypereal",
    "SITE_SYMBOL": "bolt",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Customers",
                "items": [
                    _link("Accounts", "apartment", "accounts_account"),
                    _link("API keys", "key", "keys_apikey"),
                    _link("CLI violations", "gavel", "keys_cliviolation"),
                    _link("People", "group", "accounts_user"),
                    _link("Notifications", "notifications", "accounts_notification"),
                    _link("Audit log", "history", "accounts_auditevent"),
                ],
            },
            {
                "title": "Catalog",
                "items": [
                    {"title": "Capacity", "icon": "speed", "link": reverse_lazy("admin-capacity")},
                    _link("Models", "category", "catalog_model"),
                    _link("Prices", "sell", "catalog_priceversion"),
                    _link("Insurance policies", "policy", "catalog_insuranceversion"),
                    _link("Notices", "campaign", "catalog_notice"),
                    _link("Routes", "alt_route", "upstreams_route"),
                    _link("Alerts", "warning", "accounts_operatoralert"),
                ],
            },
            {
                "title": "Money and use",
                "items": [
                    _link("Usage", "monitoring", "usage_usagerecord"),
                    _link("Ledger entries", "receipt_long", "ledger_entry"),
                    _link("Grants", "redeem", "ledger_grant"),
                    _link("Open holds", "hourglass_top", "ledger_hold"),
                    _link("Insurance claims", "health_and_safety", "insurance_claim"),
                ],
            },
        ],
    },
}
