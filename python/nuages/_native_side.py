"""What the native code asks of Python: descriptions of exceptions, log lines, decorators. None of it is on the hot path."""

from __future__ import annotations

import functools
import inspect
import logging
import time
import traceback
from typing import Any, Callable

from nuages import _db_errors, _native

logger = logging.getLogger("nuages")

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
WARN_INTERVAL = 60.0
_warned: dict[str, float] = {}
_failed: set[str] = set()


def exception_attributes(exception: BaseException, escaped: bool) -> dict[str, str]:
    """The attributes of an `exception` event, as the SDK names and formats them."""
    kind = type(exception)
    module = kind.__module__
    name = f"{module}.{kind.__qualname__}" if module and module != "builtins" else kind.__qualname__
    return {
        "exception.type": name,
        "exception.message": _text(exception),
        "exception.stacktrace": _stack(exception),
        "exception.escaped": str(escaped),
    }


def _text(exception: BaseException) -> str:
    try:
        return _db_errors.message(exception)
    except Exception as error:
        _let_through(error)
        return "<exception whose str() failed>"


def _stack(exception: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
        return _db_errors.clean_stack(exception, text)
    except Exception as error:
        _let_through(error)
        return ""


def _let_through(error: BaseException) -> None:
    """What Celery's signal handler raised while we were at work is the task's; our native caller hands it on."""
    if type(error).__name__ == "SoftTimeLimitExceeded":
        raise error


def describe_exception(exception: BaseException) -> str:
    return f"{type(exception).__name__}: {_text(exception)}"


def warn(message: str, *args: Any) -> None:
    """At most one line per message and minute."""
    now = time.monotonic()
    if now - _warned.get(message, -WARN_INTERVAL) >= WARN_INTERVAL:
        _warned[message] = now
        logger.warning(message, *args)


def processor_failed(callback: Callable[..., Any], error: BaseException) -> None:
    """An exception in a user's processor: the whole traceback once per method, never into the application."""
    owner = getattr(callback, "__self__", None)
    name = f"{type(owner).__qualname__}.{getattr(callback, '__name__', callback)}"
    if name not in _failed:
        _failed.add(name)
        logger.error("%s raised; the span goes on without it (reported once)", name, exc_info=error)


def drain_logs() -> None:
    """Native lines into logging.getLogger("nuages")."""
    for level, component, message in _native.take_logs():
        logger.log(_LEVELS[level], "%s: %s", component, message)


def decorate(manager: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """`@tracer.start_as_current_span(...)`: a new span for each call; a coroutine's span ends after its body."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def traced_coroutine(*args: Any, **kwargs: Any) -> Any:
            with manager._recreate():
                return await function(*args, **kwargs)

        return traced_coroutine

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with manager._recreate():
            return function(*args, **kwargs)

    return traced


def set_native_level() -> None:
    """The native side drops what the logger would drop anyway."""
    level = logger.getEffectiveLevel()
    _native.set_log_level(
        0 if level <= logging.DEBUG else 1 if level <= logging.INFO else 2 if level <= logging.WARNING else 3
    )
