"""Settings that mean the same from Django 3.2 on. COMPAT_POSTGRES (host, port, user) adds a second database."""

import importlib.util
import os

SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "store.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "store",
]
if importlib.util.find_spec("django_tasks_db"):
    import django

    own = "django.tasks" if django.VERSION >= (6,) else "django_tasks"
    INSTALLED_APPS.append("django_tasks_db")
    TASKS = {
        "default": {"BACKEND": f"{own}.backends.immediate.ImmediateBackend"},
        "database": {"BACKEND": "django_tasks_db.DatabaseBackend"},
    }
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "store.middleware.Counting",
    "store.middleware.plain",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("COMPAT_DATABASE", ":memory:")},
}
if os.environ.get("COMPAT_POSTGRES"):
    host, port, user = os.environ["COMPAT_POSTGRES"].split(",")
    DATABASES["postgres"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": host,
        "PORT": port,
        "USER": user,
        "NAME": "postgres",
    }
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_BROKER_URL = "memory://"
if os.environ.get("COMPAT_BROKER"):
    CELERY_BROKER_URL = "filesystem://"
    folder = os.environ["COMPAT_BROKER"]
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": folder + "/control",
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
