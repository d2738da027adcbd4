"""Settings of the test project. The tests choose the database file, the broker folder and the middleware by environment variables."""

import json
import os

SECRET_KEY = "only-for-tests"
DEBUG = os.environ.get("BOOKSHOP_DEBUG", "") == "1"
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "catalog",
]
MIDDLEWARE = json.loads(
    os.environ.get(
        "BOOKSHOP_MIDDLEWARE",
        json.dumps(
            [
                "django.middleware.security.SecurityMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "catalog.middleware.ShelfMiddleware",
                "catalog.middleware.CallableMiddleware",
                "catalog.middleware.function_middleware",
                "catalog.middleware.FaultMiddleware",
            ]
        ),
    )
)
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BOOKSHOP_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},
    },
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("BOOKSHOP_ARCHIVE", ":memory:")},
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["catalog.authentication.HeaderAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"django": {"level": "CRITICAL"}}}

CELERY_BROKER_URL = os.environ.get("BOOKSHOP_BROKER", "memory://")
CELERY_RESULT_BACKEND = os.environ.get("BOOKSHOP_RESULTS") or None
CELERY_WORKER_LOST_WAIT = 1.0
CELERY_BEAT_SCHEDULE = {"restock every second": {"task": "catalog.tasks.add", "schedule": 1.0, "args": (1, 1)}}
CELERY_TASK_ALWAYS_EAGER = os.environ.get("BOOKSHOP_EAGER", "") == "1"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if "BOOKSHOP_BROKER_FOLDER" in os.environ:
    folder = os.environ["BOOKSHOP_BROKER_FOLDER"]
    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": os.path.join(folder, "control"),
    }

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
