"""sqlcommenter: a comment behind each statement that tells the database who asked, `/*controller='...',route='...',traceparent='...'*/`.

Off unless `instrument(enable_commenter=True)` or `NUAGES_SQL_COMMENTER` ask for it. As the specification has it: keys in order, keys and values
percent-encoded, values in single quotes, statements that have a comment left alone. Called by the native hooks once a statement; spans, counts
and fingerprints are those of the statement without it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Optional
from urllib.parse import quote

from nuages import settings

# The management command that runs, by name (set by hooks.command).
command: ContextVar[str] = ContextVar("nuages_command", default="")

# Options that switch off a tag of another name.
_TAG_OPTIONS = {"framework": ("framework", "db_framework")}
_MAX_CACHED = 512
_off: frozenset[str] = frozenset()
_with_trace = True
_prefixes: dict[tuple[Any, ...], str] = {}
_driver_tags: dict[str, tuple[tuple[str, str], ...]] = {}

Origin = tuple[str, str, str, str]  # framework, controller, route, app_name


def refresh() -> Any:
    """Reads the options; what the native hooks shall call, or None where comments are off."""
    global _off, _with_trace
    chosen: Mapping[str, Any] = settings.get("commenter_options")
    refused = {str(name) for name, wanted in chosen.items() if not wanted}
    conf = settings.django_settings()
    for name in ("framework", "controller", "route", "app_name", "db_driver", "opentelemetry"):
        if conf is not None and getattr(conf, f"SQLCOMMENTER_WITH_{name.upper()}", True) is False:
            refused.add("opentelemetry_values" if name == "opentelemetry" else name)
    _off = frozenset(refused)
    _with_trace = "opentelemetry_values" not in refused
    _prefixes.clear()
    return commented if settings.get("sql_commenter") else None


def commented(sql: Any, text: str, source: Any, percent: bool, traceparent: str, tracestate: str, match: Any) -> Any:
    """The statement with its comment; None: as it is. `source` is a driver's module name or Django's connection; `percent`: % must be doubled."""
    if "/*" in text or "--" in text or not text.strip():
        return None
    module = sys.modules.get(source) if isinstance(source, str) else getattr(source, "Database", None)
    name = str(getattr(module, "__name__", source)).partition(".")[0]
    if "#" in text and name in ("MySQLdb", "pymysql"):
        return None
    origin = _origin(match)
    inner = _prefixes.get((name, *origin))
    if inner is None:
        inner = _prefix(module, name, origin)
    if _with_trace and traceparent:
        inner += f",traceparent='{traceparent}'" if inner else f"traceparent='{traceparent}'"
        if tracestate:
            inner += f",tracestate='{quote(tracestate, safe='')}'"
    if not inner:
        return None
    return _append(sql, text, f"/*{inner.replace('%', '%%') if percent else inner}*/")


def _append(sql: Any, text: str, comment: str) -> Any:
    if isinstance(sql, str):
        end = len(sql.rstrip())
        if sql[end - 1] == ";":
            return f"{sql[: end - 1]} {comment}{sql[end - 1 :]}"
        return f"{sql} {comment}"
    if isinstance(sql, bytes):
        end = len(sql.rstrip())
        encoded = comment.encode("ascii")
        if sql[end - 1 : end] == b";":
            return sql[: end - 1] + b" " + encoded + sql[end - 1 :]
        return sql + b" " + encoded
    package = type(sql).__module__.partition(".")[0]
    composed = sys.modules.get(f"{package}.sql")
    if package not in ("psycopg", "psycopg2") or composed is None or not isinstance(sql, composed.Composable):
        return None
    return sql + composed.SQL(" " + comment)


def _origin(match: Any) -> Origin:
    state = sys.modules.get("celery._state")
    task = state.get_current_task() if state is not None else None
    if task is not None:
        return f"celery:{sys.modules['celery'].__version__}", str(task.name), "", ""
    django = sys.modules.get("django")
    framework = f"django:{django.__version__}" if django is not None else ""
    if match is not None:
        return framework, str(match.view_name or ""), str(match.route or ""), str(match.app_name or "")
    name = command.get()
    return framework, f"manage.py {name}" if name else "", "", ""


def _prefix(module: Optional[ModuleType], name: str, origin: Origin) -> str:
    framework, controller, route, app_name = origin
    tags = dict(_driver(module, name))
    tags.update(framework=framework, controller=controller, route=route, app_name=app_name)
    inner = ",".join(
        f"{quote(key, safe='')}='{quote(value, safe='')}'"
        for key, value in sorted(tags.items())
        if value and _wanted(key)
    )
    if len(_prefixes) >= _MAX_CACHED:
        _prefixes.clear()
    _prefixes[(name, framework, controller, route, app_name)] = inner
    return inner


def _wanted(tag: str) -> bool:
    return _off.isdisjoint(_TAG_OPTIONS.get(tag, (tag,)))


def _driver(module: Optional[ModuleType], name: str) -> tuple[tuple[str, str], ...]:
    known = _driver_tags.get(name)
    if known is not None or module is None:
        return known or ()
    version = str(getattr(module, "sqlite_version", "") or getattr(module, "__version__", "")).partition(" ")[0]
    if not version and hasattr(module, "version_info"):  # mysqlclient
        version = ".".join(str(part) for part in module.version_info[:3])
    tags = [("db_driver", f"{name}:{version}" if version else name)]
    for tag, attribute in (
        ("dbapi_level", "apilevel"),
        ("dbapi_threadsafety", "threadsafety"),
        ("driver_paramstyle", "paramstyle"),
    ):
        if hasattr(module, attribute):
            tags.append((tag, str(getattr(module, attribute))))
    client = _client_version(module, name)
    if client:
        tags.append(client)
    _driver_tags[name] = tuple(tags)
    return _driver_tags[name]


def _client_version(module: ModuleType, name: str) -> Optional[tuple[str, str]]:
    try:
        if name == "psycopg2":
            return "libpq_version", str(vars(module)["__libpq_version__"])
        if name == "psycopg":
            return "libpq_version", str(sys.modules["psycopg.pq"].version())
        if name == "MySQLdb":
            return "mysql_client_version", str(sys.modules["MySQLdb._mysql"].get_client_info())
        if name == "pymysql":
            return "mysql_client_version", str(vars(module)["get_client_info"]())
    except (AttributeError, KeyError):
        pass
    return None
