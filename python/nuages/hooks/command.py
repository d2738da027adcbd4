"""Management commands: a span `manage.py NAME` around `BaseCommand.execute`, from the command line or through `call_command`.

A command of the command line is the root of its trace, and everything it does hangs below it. Commands that serve until they are stopped
(`NUAGES_EXCLUDED_COMMANDS`) get no span of their own, so that each request or task in them stays a trace of its own.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Optional

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from nuages import settings
from nuages.hooks import sql_comment, support

_patches = support.Patches()
# Options that every command has.
_COMMON = frozenset(
    ["verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks", "stdout", "stderr"]
)
_SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
_HIDDEN = "[REDACTED]"
_MAX_TEXT = 256


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.core.management.base import BaseCommand

    _patches.replace(BaseCommand, "execute", "around", (_before, _after))


def uninstall() -> None:
    _patches.undo()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    package, _, name = type(args[0]).__module__.rpartition(".")
    if name in settings.get("excluded_commands"):
        return None
    attributes: dict[str, Any] = {"nuages.kind": "command", "django.command.name": name}
    if package.endswith(".management.commands"):
        attributes["django.command.app"] = package[: -len(".management.commands")]
    for option, value in kwargs.items():
        if option not in _COMMON and value not in (None, False, [], ()):
            attributes[f"django.command.option.{option}"] = _shown(option, value)
    if len(args) > 1:
        attributes["django.command.arguments"] = len(args) - 1
    outer = trace.get_current_span().get_span_context().is_valid
    span = trace.get_tracer("nuages.django").start_span(f"manage.py {name}", attributes=attributes)
    return support.OpenSpan(span), outer, sql_comment.command.set(name)


def _shown(option: str, value: Any) -> Any:
    if _SECRET.search(option):
        return _HIDDEN
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, list, tuple)):
        return str(value)[:_MAX_TEXT]
    return type(value).__name__  # an object's text may run the application's code


def _after(state: Any, result: Any, error: Optional[BaseException]) -> None:
    opened, outer, token = state
    with contextlib.suppress(ValueError):  # another Context
        sql_comment.command.reset(token)
    code = 0
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        code = 130
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code:
            opened.span.set_status(Status(StatusCode.ERROR, f"exit status {code}"))
        error = None
    elif error is not None:
        code = int(getattr(error, "returncode", 1))
    if not outer:
        opened.span.set_attribute("process.exit.code", code)
    opened.close(error)
