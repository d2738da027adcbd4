"""Settings of the order service. Everything that differs between deployments comes from the environment; README.md lists the variables."""

import os
import sys
import tempfile
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.getenv("DJANGO_SECRET_KEY", "dev-secret-change-in-production")
DEBUG = os.getenv("DEBUG", "False").strip().lower() in ("true", "1")
ALLOWED_HOSTS = [host.strip() for host in os.getenv("ALLOWED_HOSTS", "localhost").split(",") if host.strip()]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "myproject.middleware.CustomHeaderMiddleware",
]

ROOT_URLCONF = "myproject.urls"
WSGI_APPLICATION = "myproject.wsgi.application"
ASGI_APPLICATION = "myproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

if os.getenv("DB_ENGINE") == "sqlite3":
    # Concurrent requests need all three: readers beside a writer (WAL), waiting instead of failing (timeout), and a write lock taken
    # at BEGIN, since a transaction that reads first cannot wait for it later. orders/apps.py switches WAL on.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.getenv("DB_NAME", str(BASE_DIR / "orders.sqlite3")),
            "OPTIONS": {"timeout": 20, **({"transaction_mode": "IMMEDIATE"} if django.VERSION >= (5, 1) else {})},
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.getenv("DB_NAME", "orders"),
            "USER": os.getenv("DB_USER", "postgres"),
            "PASSWORD": os.getenv("DB_PASSWORD", "postgres"),
            "HOST": os.getenv("DB_HOST", "localhost"),
            "PORT": os.getenv("DB_PORT", "5432"),
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "orders.authentication.DemoUserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
}
# Who owns orders that arrive without credentials. Empty: such requests are refused.
DEMO_USER_ID = os.getenv("DEMO_USER_ID", "1")

CELERY_BROKER_URL = os.getenv("CELERY_BROKER_URL", "redis://localhost:6379/0")
if CELERY_BROKER_URL.startswith("filesystem:"):
    # A queue without a service, for one machine. In and out are one folder: what a producer writes is what a worker reads.
    _folder = os.getenv("CELERY_FILESYSTEM_FOLDER", str(Path(tempfile.gettempdir()) / "django-order-service-queue"))
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": f"{_folder}/messages",
        "data_folder_out": f"{_folder}/messages",
        "control_folder": f"{_folder}/control",
        "processed_folder": f"{_folder}/processed",
        "store_processed": True,
        "polling_interval": 0.1,
    }
    for _name in ("messages", "control", "processed"):
        Path(_folder, _name).mkdir(parents=True, exist_ok=True)
    CELERY_RESULT_BACKEND = None
    # Remote control and events would only fill the folder.
    CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
else:
    CELERY_RESULT_BACKEND = os.getenv("CELERY_RESULT_BACKEND", "redis://localhost:6379/0")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {
    "process-pending-orders": {"task": "orders.tasks.process_pending_orders", "schedule": 15 * 60.0},
}

EMAIL_BACKEND = os.getenv("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")
DEFAULT_FROM_EMAIL = "noreply@example.com"

OTEL_SERVICE_NAME = os.getenv("OTEL_SERVICE_NAME", "django-order-service")
OTEL_EXPORTER_OTLP_ENDPOINT = os.getenv("OTEL_EXPORTER_OTLP_ENDPOINT")  # None: the default of the tracing module in use

TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# How long /orders/slow/ waits for its (imaginary) warehouse.
SLOW_VIEW_SECONDS = float(os.getenv("SLOW_VIEW_SECONDS", "0.25"))
# More repetitions of one statement than this in a request are reported as a probable N+1 (orders/utils.py).
N_PLUS_ONE_THRESHOLD = int(os.getenv("N_PLUS_ONE_THRESHOLD", "5"))

# No tracing in tests: `manage.py test` says so on its command line, pytest does not. OTEL_SDK_DISABLED=false in the environment keeps it on.
TESTING = "test" in sys.argv or "pytest" in sys.modules
if TESTING:
    OTEL_SDK_DISABLED = True
