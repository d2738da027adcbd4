"""The one registry of everything a user can set.

Precedence of every setting: value given in code > environment variable > the ``NUAGES`` dict (or an ``OTEL_*`` name) in Django's settings
> default. A bad value never stops the application: the default is used and one error names the variable and the value (unless the value may
hold a secret). The same problems come out as Django system checks (checks.py). Reading is cheap after the first time and thread-safe.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

logger = logging.getLogger("nuages")

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


class BadValue(ValueError):
    """Raised by a parser; the text says what would be right."""


def parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise BadValue("use true or false")


def parse_choice(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise BadValue("use " + " or ".join(words))
        return word

    return parse


def parse_hooks(value: Any) -> tuple[str, ...]:
    """``all``, ``none`` or names (``orm,celery``); which names exist is known to nuages.hooks alone."""
    if isinstance(value, (list, tuple, set, frozenset)):
        words = [str(word) for word in value]
    else:
        words = str(value).split(",")
    names = tuple(word.strip().lower() for word in words if word.strip())
    if not names:
        raise BadValue("use all, none or a comma list of hook names")
    if "none" in names and len(names) > 1:
        raise BadValue("none cannot be combined with other names")
    return names


def parse_masking(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return "on"
    if word in FALSE_WORDS or word == "none":
        return "off"
    if word in {"guide", "gdpr", "hipaa"}:
        return word
    raise BadValue("use on, off, guide, gdpr or hipaa")


def parse_seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise BadValue("use a number of seconds") from None
    if not 0 <= seconds <= 3600:
        raise BadValue("use seconds between 0 and 3600")
    return seconds


def parse_count(value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        raise BadValue("use a whole number") from None
    if count < 0:
        raise BadValue("use a whole number of 0 or more")
    return count


def parse_keep(value: Any) -> tuple[str, ...]:
    words = parse_patterns(value)
    known = ("errors", "slow", "n_plus_one")
    if words == ("none",):
        return ()
    if not words or not set(words) <= set(known):
        raise BadValue("use none or a comma list of errors, slow and n_plus_one")
    return words


def parse_repetitions(value: Any) -> int:
    count = parse_count(value)
    if count < 2:
        raise BadValue(
            "use a whole number of 2 or more: the place of a query is looked for from its third execution on"
        )
    return count


def parse_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadValue("use a dict")
    return dict(value)


def parse_text(value: Any) -> str:
    return str(value)


def parse_patterns(value: Any) -> tuple[str, ...]:
    """A comma list, or a list, of URL patterns; spaces around entries are tolerated."""
    words = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(str(word).strip() for word in words if str(word).strip())


def parse_mask_patterns(value: Any) -> tuple[tuple[str, str], ...]:
    """One pattern a line, or a list of patterns or of (pattern, replacement)."""
    items = value.splitlines() if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise BadValue("use a list of regular expressions or of (regular expression, replacement)")
    rules = []
    for item in items:
        pattern, replacement = (item, "***") if isinstance(item, str) else tuple(item)
        if not pattern.strip():
            continue
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadValue(f"{pattern!r} is no regular expression: {error}") from None
        rules.append((str(pattern), str(replacement)))
    return tuple(rules)


def parse_mask_functions(value: Any) -> tuple[Any, ...]:
    """Callables, or their dotted names in a list or a comma list."""
    if callable(value):
        return (value,)
    if isinstance(value, str):
        return parse_patterns(value)
    if not isinstance(value, (list, tuple)) or not all(callable(item) or isinstance(item, str) for item in value):
        raise BadValue("use callables or their dotted names")
    return tuple(value)


@dataclass(frozen=True)
class Setting:
    name: str  # the key in code and, upper-cased, in the NUAGES dict
    env: tuple[str, ...]  # environment variables, the first that is set wins
    default: Any
    parse: Callable[[Any], Any]
    help: str
    secret: bool = False  # the value must never be printed

    @property
    def key(self) -> str:
        return self.name.upper()


_ALL = (
    Setting("auto", ("NUAGES_AUTO",), False, parse_bool, "Install without code changes."),
    Setting(
        "django_instrument",
        ("OTEL_PYTHON_DJANGO_INSTRUMENT",),
        True,
        parse_bool,
        "true: also install without code changes; false: leave Django untouched.",
    ),
    Setting("sdk_disabled", ("OTEL_SDK_DISABLED",), False, parse_bool, "No spans, no network, no threads."),
    Setting("hooks", ("NUAGES_HOOKS",), ("all",), parse_hooks, "all, none (native SDK only) or a list of hook names."),
    Setting(
        "celery_relation",
        ("NUAGES_CELERY_RELATION",),
        "link",
        parse_choice("link", "child"),
        "How a task relates to its producer.",
    ),
    Setting("capture_parameters", ("NUAGES_CAPTURE_PARAMETERS",), False, parse_bool, "Record bound SQL parameters."),
    Setting(
        "capture_user",
        ("NUAGES_CAPTURE_USER",),
        False,
        parse_bool,
        "Record user.id and user.username of users that the application has loaded.",
    ),
    Setting(
        "masking",
        ("NUAGES_MASKING",),
        "on",
        parse_masking,
        "PII masking: on, off, or the profile guide, gdpr or hipaa.",
    ),
    Setting(
        "mask_patterns",
        ("NUAGES_MASK_PATTERNS",),
        (),
        parse_mask_patterns,
        "Your own patterns, or pairs of pattern and replacement, masked everywhere; in the environment one a line.",
    ),
    Setting(
        "mask_keys",
        ("NUAGES_MASK_KEYS",),
        (),
        parse_patterns,
        "Attributes whose values are hidden, with * and ?: customer.*.",
    ),
    Setting(
        "mask_functions",
        ("NUAGES_MASK_FUNCTIONS",),
        (),
        parse_mask_functions,
        "Python functions (key, value) -> value, or None to drop it, or their dotted names; slow.",
    ),
    Setting(
        "keep",
        ("NUAGES_KEEP",),
        (),
        parse_keep,
        "Which unsampled traces are kept after all: errors, slow, n_plus_one.",
    ),
    Setting(
        "keep_slower_than",
        ("NUAGES_KEEP_SLOWER_THAN",),
        1.0,
        parse_seconds,
        "Seconds from which on a trace is slow for KEEP.",
    ),
    Setting(
        "off_file",
        ("NUAGES_OFF_FILE",),
        "",
        parse_text,
        "While this file exists nothing is recorded; looked for once a second.",
    ),
    Setting(
        "n_plus_one_threshold",
        ("NUAGES_N_PLUS_ONE_THRESHOLD",),
        5,
        parse_repetitions,
        "How often a statement may run in a trace before it is an N+1 query.",
    ),
    Setting(
        "n_plus_one_allow",
        ("NUAGES_N_PLUS_ONE_ALLOW",),
        (),
        parse_patterns,
        "Relations or statements that may, with * and ?: Order.user, *django_session*.",
    ),
    Setting(
        "query_count_threshold",
        ("NUAGES_QUERY_COUNT_THRESHOLD",),
        10,
        parse_count,
        "More queries than that in a trace set db.high_query_count.",
    ),
    Setting(
        "excluded_urls",
        ("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"),
        (),
        parse_patterns,
        "Requests that make no span at all, and nothing below them.",
    ),
    Setting(
        "excluded_commands",
        ("NUAGES_EXCLUDED_COMMANDS",),
        (
            "runserver",
            "runserver_plus",
            "shell",
            "shell_plus",
            "dbshell",
            "test",
            "testserver",
            "celery",
            "runworker",
            "qcluster",
            "rqworker",
            "rqscheduler",
            "db_worker",
        ),
        parse_patterns,
        "Management commands without a span of their own: they serve until they are stopped.",
    ),
    Setting(
        "signals",
        ("NUAGES_SIGNALS",),
        "custom",
        parse_choice("custom", "all", "none"),
        "Which signals make spans: the application's own (custom), Django's too (all), or none.",
    ),
    Setting(
        "sql_commenter",
        ("NUAGES_SQL_COMMENTER",),
        False,
        parse_bool,
        "Append sqlcommenter comments to SQL (also set by instrument(enable_commenter=True)).",
    ),
    Setting("commenter_options", (), {}, parse_dict, "Which tags the comments carry."),
    Setting(
        "shutdown_timeout",
        ("NUAGES_SHUTDOWN_TIMEOUT",),
        5.0,
        parse_seconds,
        "Seconds that process exit may wait for export.",
    ),
    Setting("queue_bytes", ("NUAGES_QUEUE_BYTES",), 4 * 1024 * 1024, parse_count, "Upper bound of queued span bytes."),
    Setting(
        "outage_bytes",
        ("NUAGES_OUTAGE_BYTES",),
        8 * 1024 * 1024,
        parse_count,
        "Upper bound of the packed spans kept while the receiver is away.",
    ),
    Setting(
        "self_metrics",
        ("NUAGES_SELF_METRICS", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"),
        False,
        parse_bool,
        "Send the agent's own otel.sdk.* metrics to the spans' receiver, at most every OTEL_METRIC_EXPORT_INTERVAL.",
    ),
    Setting(
        "survive_kill",
        ("NUAGES_SURVIVE_KILL",),
        True,
        parse_bool,
        "Keep queued spans in a file on tmpfs, so that the next process sends what a killed one left.",
    ),
    Setting(
        "service_name", ("OTEL_SERVICE_NAME",), "", parse_text, "resource service.name; default: the settings package."
    ),
)
REGISTRY: dict[str, Setting] = {setting.name: setting for setting in _ALL}
_ENV_NAMES = frozenset(name for setting in _ALL for name in setting.env)
# Set by the build, the tests or the tools around the agent, not by its users.
_FOREIGN_ENV = (
    "NUAGES_CHDB_",
    "NUAGES_UPDATE_",
    "NUAGES_PYTHON",
    "NUAGES_SERVER",
    "NUAGES_UI_",
    "NUAGES_TEST_",
    "NUAGES_DEMO_",
    "NUAGES_EXAMPLE_",
    "NUAGES_BENCH_",
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration; `id` is the number behind nuages.W00x."""

    id: str
    message: str
    hint: str


_lock = threading.RLock()
_listeners: list[Callable[[], None]] = []
_code: dict[str, Any] = {}
_cache: dict[str, Any] = {}
_said: set[str] = set()


def _shown(setting: Setting, value: Any) -> str:
    return "(a value that is not shown)" if setting.secret else repr(value)


def django_settings() -> Any:
    """Django's settings when they are loaded already; None otherwise. Never loads them (R17.05)."""
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    if settings is None or not getattr(settings, "configured", False):
        return None
    return settings


def _django_dict() -> Mapping[str, Any]:
    settings = django_settings()
    value = getattr(settings, "NUAGES", None) if settings is not None else None
    return value if isinstance(value, Mapping) else {}


def _candidates(setting: Setting) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in setting.env:
        value = os.environ.get(name)
        if value is not None and value.strip():
            found.append((name, value))
            break
    for key, value in _django_dict().items():
        if str(key).upper() == setting.key:
            found.append((f"NUAGES[{key!r}] in the Django settings", value))
    settings = django_settings()
    if settings is not None:
        for name in setting.env:
            if hasattr(settings, name):
                found.append((f"{name} in the Django settings", getattr(settings, name)))
                break
    return found


def _resolve(setting: Setting) -> tuple[Any, Optional[Problem]]:
    if setting.name in _code:
        return _code[setting.name], None
    for where, value in _candidates(setting):
        try:
            return setting.parse(value), None
        except BadValue as error:
            return setting.default, Problem(
                "W001",
                f"{where} has the bad value {_shown(setting, value)}; using {setting.default!r}",
                str(error).capitalize() + ".",
            )
    return setting.default, None


def get(name: str) -> Any:
    """The effective value of a setting."""
    with _lock:
        if name in _cache:
            return _cache[name]
        value, problem = _resolve(REGISTRY[name])
        _cache[name] = value
        if problem is not None:
            _say(problem)
        return value


def get_now(name: str) -> Any:
    """The value as the environment has it now: for what programs set after nuages was imported."""
    with _lock:
        _cache.pop(name, None)
        return get(name)


def on_change(listener: Callable[[], None]) -> None:
    """Calls it now and whenever values may have changed: set in code, or come with Django's settings."""
    _listeners.append(listener)
    _tell(listener)


def _tell(listener: Callable[[], None]) -> None:
    try:
        listener()
    except Exception:
        logger.exception("a change of the settings could not be carried out")


def override(**values: Any) -> None:
    """Values given in code, for example by ``install(masking="gdpr")`` or ``DjangoInstrumentor().instrument(excluded_urls=...)``.

    A bad or unknown one is reported and ignored; None removes an earlier one.
    """
    with _lock:
        for name, value in values.items():
            setting = REGISTRY.get(name)
            if setting is None:
                _say(Problem("W002", f"unknown setting {name!r} given in code", _suggestion(name, REGISTRY)))
                continue
            if value is None:
                _code.pop(name, None)
                continue
            try:
                _code[name] = setting.parse(value)
            except BadValue as error:
                _say(
                    Problem(
                        "W001", f"{name} given in code has the bad value {_shown(setting, value)}; ignored", str(error)
                    )
                )
        _cache.clear()
    for listener in _listeners:
        _tell(listener)


def _suggestion(word: str, known: Any) -> str:
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else "Remove it."


def problems() -> list[Problem]:
    """Everything wrong with the present configuration, for the log and for Django's checks."""
    found = [problem for setting in _ALL for problem in [_resolve(setting)[1]] if problem is not None]
    for name in sorted(os.environ):
        if name.startswith("NUAGES_") and name not in _ENV_NAMES and not name.startswith(_FOREIGN_ENV):
            found.append(Problem("W002", f"unknown environment variable {name}", _suggestion(name, _ENV_NAMES)))
    settings = django_settings()
    value = getattr(settings, "NUAGES", None) if settings is not None else None
    if value is not None and not isinstance(value, Mapping):
        found.append(
            Problem(
                "W003", f"NUAGES in the Django settings is a {type(value).__name__}, not a dict", "Use NUAGES = {...}."
            )
        )
    known = {setting.key for setting in _ALL}
    for key in _django_dict():
        if str(key).upper() not in known:
            found.append(
                Problem(
                    "W002", f"unknown key NUAGES[{key!r}] in the Django settings", _suggestion(str(key).upper(), known)
                )
            )
    return found


def _say(problem: Problem) -> None:
    if problem.message not in _said:
        _said.add(problem.message)
        logger.error("%s. %s", problem.message, problem.hint)


def report() -> None:
    """Logs each problem once per process."""
    with _lock:
        for problem in problems():
            _say(problem)


_on_load: list[Callable[[], None]] = []


def when_django_settings_load(callback: Callable[[], None]) -> None:
    """Called each time that Django's settings become available, after they have been read here."""
    if callback not in _on_load:
        _on_load.append(callback)


def django_settings_loaded() -> None:
    """Called when Django's settings become available: OTEL_* settings fill absent environment variables, then values are read again."""
    settings = django_settings()
    if settings is None:
        return
    with _lock:
        for name in dir(settings):
            if not name.startswith("OTEL_") or name in os.environ:
                continue
            value = getattr(settings, name)
            if isinstance(value, bool):
                os.environ[name] = "true" if value else "false"
            elif isinstance(value, (str, int, float)):
                os.environ[name] = str(value)
            elif isinstance(value, (list, tuple)):
                os.environ[name] = ",".join(str(item) for item in value)
        _cache.clear()
    for listener in _listeners:
        _tell(listener)
    report()
    for callback in list(_on_load):
        callback()


def reset() -> None:
    """Forgets cached values and code overrides (tests)."""
    with _lock:
        _code.clear()
        _cache.clear()
        _said.clear()
