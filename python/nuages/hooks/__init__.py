"""Hooks: what makes Django, Django REST framework and Celery tell about themselves without a change in the application.

One module per target, each with ``available()`` / ``install()`` / ``uninstall()``. ``install_all()`` installs every hook whose library has been
imported; it is idempotent and costs a few dictionary look-ups when there is nothing to do, so the import finder calls it again after each
import named in ``TRIGGERS``. ``uninstall_all()`` puts every original back, by identity; where somebody else has wrapped our hook meanwhile,
the hook stays in place and passes through.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Callable, Optional

from nuages import settings
from nuages.hooks import places, support

NAMES = (
    "request",
    "channels",
    "middleware",
    "view",
    "orm",
    "queryset",
    "transaction",
    "psycopg",
    "psycopg2",
    "sqlite3",
    "pymysql",
    "mysqlclient",
    "psycopg_pool",
    "dbapi",
    "template",
    "jinja2",
    "drf",
    "serializer",
    "form",
    "session",
    "storage",
    "cache",
    "redis",
    "command",
    "mail",
    "signal",
    "auth",
    "permission",
    "celery",
    "task",
)
# Modules after whose import install_all() has something new to do. Django's packages import each other without settings, so its root is
# enough; DRF reads settings at import and Celery may still have to patch for gevent, so for those we wait until they are there by themselves.
TRIGGERS = (
    "django",
    "django.core.cache",
    "django.db.models",
    "channels.consumer",
    "channels.routing",
    "django.core.mail",
    "django.core.files.storage",
    "django.contrib.sessions.backends.base",
    "django.forms.models",
    "django.contrib.auth",
    "django.contrib.auth.models",
    "jinja2",
    "redis",
    "rest_framework.serializers",
    "rest_framework.generics",
    "celery.app",
    "django.tasks",
    "django_tasks",
    "psycopg",
    "psycopg2",
    "psycopg2.extensions",
    "sqlite3",
    "pymysql",
    "MySQLdb.connections",
    "MySQLdb.cursors",
    "psycopg_pool",
    "opentelemetry.instrumentation.dbapi",
)

OLDEST_DJANGO = (3, 2)

places.configure()

_lock = threading.RLock()
_installed: dict[str, ModuleType] = {}


def install_all(names: Optional[Iterable[str]] = None) -> tuple[str, ...]:
    """Installs what can be installed now and is not yet; returns the names that this call installed. Never raises."""
    chosen = _chosen(names)
    done = []
    if _django_too_old():
        return ()
    something = any(name in sys.modules for name in TRIGGERS)  # else the hooks' modules need not even be imported
    with _lock:
        for name in NAMES:
            if name not in chosen or name in _installed or not something:
                continue
            try:
                module = importlib.import_module(f"nuages.hooks.{name}")
                if not module.available():
                    continue
                module.install()
            except Exception:
                support.failed(f"installing the {name} hook")
                continue
            _installed[name] = module
            done.append(name)
    support.refresh()
    return tuple(done)


def uninstall_all() -> None:
    with _lock:
        for name in reversed(list(_installed)):
            try:
                _installed.pop(name).uninstall()
            except Exception:
                support.failed(f"removing the {name} hook")


def installed() -> tuple[str, ...]:
    return tuple(_installed)


def set_request_hooks(
    request_hook: Optional[Callable[[Any, Any], None]] = None,
    response_hook: Optional[Callable[[Any, Any, Any], None]] = None,
) -> None:
    """``DjangoInstrumentor().instrument(request_hook=..., response_hook=...)``: called with (span, request) and (span, request, response)."""
    support.request_options["request_hook"] = request_hook
    support.request_options["response_hook"] = response_hook


def _django_too_old() -> bool:
    version = getattr(sys.modules.get("django"), "VERSION", None)
    if version is None or tuple(version[:2]) >= OLDEST_DJANGO:
        return False
    support.say_once(
        f"Django {'.'.join(map(str, version[:3]))} is not supported by nuages, which needs {'.'.join(map(str, OLDEST_DJANGO))} or newer; "
        "the application goes on untraced"
    )
    return True


def _chosen(names: Optional[Iterable[str]]) -> frozenset[str]:
    wanted = tuple(settings.get("hooks") if names is None else names)
    if "none" in wanted:
        return frozenset()
    if "all" in wanted:
        return frozenset(NAMES)
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        support.say_once(f"unknown hook {unknown[0]!r} in NUAGES_HOOKS; known are: all, none, {', '.join(NAMES)}")
    return frozenset(wanted)
