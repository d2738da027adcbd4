"""What every hook module uses: replacing and restoring attributes, errors that never reach the application."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Callable, Optional

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.trace import Status, StatusCode

from nuages import _import, _native, settings
from nuages.hooks import headers, sql_comment

logger = logging.getLogger("nuages")

hook = _native.hook

# Read by the native hooks at each request and query, so changes take effect at once.
request_options: dict[str, Any] = {
    "request_hook": None,
    "response_hook": None,
    "excluded": None,
    "parameters": None,
    "commenter": None,
    "user": None,
    "headers": None,
    "semconv_http": 0,
    "semconv_database": 0,
}

_said: set[str] = set()


def say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.error("%s", message)


def failed(place: str) -> None:
    """Call from an except block: counts the error, logs it the first time. The application goes on untraced at that place."""
    _native.hook_failed(place)
    if place not in _said:
        _said.add(place)
        logger.exception("nuages failed while %s; the application is not affected", place)


def loaded(name: str) -> bool:
    """The module is imported and its body has run to the end."""
    return _import.is_loaded(name)


class Patches:
    """Attributes replaced by one hook module, put back in reverse order.

    An attribute that somebody else has wrapped since is left alone: our hook inside their wrapper is switched to pass-through instead.
    """

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._done)

    def replace(self, owner: Any, name: str, kind: str, data: Any = None) -> None:
        """Puts a native hook around `owner.name`; a property gets one around its getter."""
        own = vars(owner).get(name, _ABSENT)
        original = getattr(owner, name) if own is _ABSENT else own
        if isinstance(original, property):
            replacement: Any = property(hook(original.fget, kind, data), original.fset, original.fdel, original.__doc__)
        else:
            replacement = hook(original, kind, data)
        self.put(owner, name, replacement)

    def put(self, owner: Any, name: str, replacement: Any) -> None:
        own = vars(owner).get(name, _ABSENT)
        self.assign(owner, name, replacement)
        self._done.append((owner, name, replacement, own))

    def assign(self, owner: Any, name: str, value: Any) -> None:
        setattr(owner, name, value)

    def rebind(self, original: Any, replacement: Any, name: str) -> None:
        """Puts the replacement where `from module import name` has already put the original."""
        for module in list(sys.modules.values()):
            space = getattr(module, "__dict__", None)
            if isinstance(space, dict) and space.get(name) is original:
                self.put(module, name, replacement)

    def undo(self) -> None:
        for owner, name, replacement, original in reversed(self._done):
            _pass_through(replacement)
            if vars(owner).get(name) is not replacement:
                continue
            if original is _ABSENT:
                delattr(owner, name)
            else:
                self.assign(owner, name, original)
        self._done.clear()


class Parts:
    """Parts of one hook that go in when their modules appear, which may be long after the hook itself."""

    def __init__(self, parts: dict[str, Callable[[], None]]) -> None:
        self._parts = parts
        self._watched: set[str] = set()
        self._wanted = False

    def install(self) -> None:
        self._wanted = True
        for name in self._parts:
            if loaded(name):
                self._put(name)
            elif name not in self._watched:
                self._watched.add(name)
                _import.finder().watch(name, functools.partial(self._appeared, name))

    def uninstall(self) -> None:
        self._wanted = False

    def _appeared(self, name: str, module: ModuleType) -> None:
        self._watched.discard(name)
        if self._wanted:
            self._put(name)

    def _put(self, name: str) -> None:
        try:
            self._parts[name]()
        except Exception:
            failed(f"hooking {name}")


_ABSENT = object()


def _pass_through(replacement: Any) -> None:
    target: Any = (
        replacement.fget if isinstance(replacement, property) else getattr(replacement, "__func__", replacement)
    )
    if isinstance(target, _native.HookFunction) or "nuages_enabled" in getattr(target, "__dict__", ()):
        target.nuages_enabled = False


class OpenSpan:
    """A span that Python hooks opened around a call and made current."""

    __slots__ = ("_token", "span")

    def __init__(self, span: Any) -> None:
        self.span = span
        self._token = context_api.attach(trace.set_span_in_context(span))

    def close(self, error: Optional[BaseException]) -> None:
        context_api.detach(self._token)
        asyncio = sys.modules.get("asyncio")  # heavy, and only who has it can raise its errors
        if asyncio is not None and isinstance(
            error, asyncio.CancelledError
        ):  # somebody stopped waiting: no failure of the application
            self.span.set_attribute("asyncio.cancelled", True)
        elif error is not None:
            self.span.record_exception(error, escaped=True)
            self.span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        self.span.end()


def open_span(scope: str, name: str, attributes: dict[str, Any]) -> Optional[OpenSpan]:
    """A span below the current one; None where nothing is being recorded."""
    if not trace.get_current_span().is_recording():
        return None
    return OpenSpan(trace.get_tracer(scope).start_span(name, attributes=attributes))


def close_span(opened: Optional[OpenSpan], error: Optional[BaseException] = None) -> None:
    if opened is not None:
        opened.close(error)


def shim(traced: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a Python function that stands for a hooked one, so that `Patches.undo` can make it pass through."""
    traced.nuages_enabled = True  # type: ignore[attr-defined]
    return traced


def enabled(traced: Callable[..., Any]) -> bool:
    return bool(getattr(traced, "nuages_enabled", False))


def awaiting(
    original: Callable[..., Any], before: Callable[..., Any], after: Callable[..., None]
) -> Callable[..., Any]:
    """For a coroutine function what the native kind "around" is for a function: `before(args, kwargs)`, `after(state, result, error)`."""

    @functools.wraps(original)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        state = None
        try:
            state = before(args, kwargs) if enabled(traced) and not _native.is_suppressed() else None
        except Exception:
            failed("before a hooked call")
        if state is None:
            return await original(*args, **kwargs)
        result, error = None, None
        try:
            result = await original(*args, **kwargs)
            return result
        except BaseException as raised:
            error = raised
            raise
        finally:
            try:
                after(state, result, error)
            except Exception:
                failed("after a hooked call")

    return shim(traced)


@contextlib.contextmanager
def span(shape: Any, share: bool = False) -> Iterator[None]:
    """A span of the template around an `await` in one of our coroutine shims."""
    opened = _native.enter_span(shape)
    try:
        yield
    except BaseException as error:
        _native.leave_span(opened, error, share)
        raise
    _native.leave_span(opened, None, share)


# ---- operations built from each other ----


def part(
    name: str,
    kind: str,
    class_key: Optional[str] = None,
    by_module: bool = False,
    argument_key: Optional[str] = None,
    required: Optional[str] = None,
    fold: bool = True,
) -> tuple[Any, ...]:
    """Data of the native kind "part": a span around a method, and none inside one of the same kind (`fold`) or where the attribute `required`
    of the object is empty. `class_key` names the object's class (or its module's last part), `argument_key` the first argument."""
    shape = _native.span_template(name, {"nuages.kind": kind})
    return shape, class_key, by_module, argument_key, required, fold


def awaiting_part(original: Callable[..., Any], data: tuple[Any, ...]) -> Callable[..., Any]:
    """For a coroutine method what the native kind "part" is for a method."""

    @functools.wraps(original)
    async def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        opened = _native.enter_part(data, self, args[0] if args else None) if enabled(traced) else None
        if opened is None:
            return await original(self, *args, **kwargs)
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            _native.leave_span(opened, error, False)
            raise
        _native.leave_span(opened, None, False)
        return result

    return shim(traced)


class Family:
    """A base class and all classes below it, those of the future included, whose own methods get hooks."""

    def __init__(self, patches: Patches, hook_method: Callable[[type, str], None], methods: tuple[str, ...]) -> None:
        self._patches = patches
        self._hook_method = hook_method
        self._methods = methods

    def watch(self, base: type) -> None:
        original = vars(base).get("__init_subclass__")

        def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:
            if original is None:
                super(base, cls).__init_subclass__(**kwargs)  # type: ignore[arg-type]
            else:
                original.__get__(None, cls)(**kwargs)
            if self._patches:
                try:
                    self.adopt(cls)
                except Exception:
                    failed(f"hooking {cls.__qualname__}")

        self._patches.put(base, "__init_subclass__", classmethod(__init_subclass__))
        pending = [base]
        while pending:
            owner = pending.pop()
            self.adopt(owner)
            pending.extend(owner.__subclasses__())

    def adopt(self, owner: type) -> None:
        for name in self._methods:
            found = vars(owner).get(name)
            if callable(found) and not isinstance(found, _native.HookFunction) and not hasattr(found, "nuages_enabled"):
                self._hook_method(owner, name)


# ---- excluded URLs ----


class UrlFilter:
    """Which requests make no span. Plain entries match whole path segments anywhere in the path; entries with regular-expression
    characters are searched in the path and in the full URL, as the official instrumentation does."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self.entries = entries
        plain, patterns = [], []
        for entry in entries:
            text = entry.strip().strip("/")
            if not text:
                continue
            if not re.search(r"[\\^$*+?()\[\]{}|]", entry):
                plain.append(re.escape(text))
                continue
            try:
                patterns.append(re.compile(entry.strip()))
            except re.error as error:
                say_once(
                    f"the excluded URL pattern {entry!r} is not a valid regular expression ({error}); it is ignored"
                )
        self.plain = re.compile(f"(?:^|/)(?:{'|'.join(plain)})(?:/|$)") if plain else None
        self.patterns = patterns

    def __call__(self, path: str, url: str) -> bool:
        if self.plain is not None and self.plain.search(path):
            return True
        return any(pattern.search(path) or pattern.search(url) for pattern in self.patterns)


_MAX_PARAMETERS = 30
_MAX_PARAMETER_TEXT = 100


def shown_parameters(parameters: Any) -> str:
    """The bound parameters of a statement (or the first rows of executemany) as one line of bounded length."""
    if isinstance(parameters, Mapping):
        inner = ", ".join(f"{key!r}: {_shown(value)}" for key, value in list(parameters.items())[:_MAX_PARAMETERS])
        return "{" + inner + (", ..." if len(parameters) > _MAX_PARAMETERS else "") + "}"
    if not isinstance(parameters, (list, tuple)):
        return ""  # an iterator, which is not ours to consume
    inner = ", ".join(_shown(value) for value in parameters[:_MAX_PARAMETERS])
    return "(" + inner + (", ..." if len(parameters) > _MAX_PARAMETERS else "") + ")"


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return shown_parameters(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    text = repr(value[: _MAX_PARAMETER_TEXT + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_PARAMETER_TEXT else f"{text[:_MAX_PARAMETER_TEXT]}..."


class _EnvironGetter:
    """Headers in a WSGI environment (or Django's `request.META`)."""

    def get(self, carrier: Mapping[str, Any], key: str) -> Optional[list[str]]:
        value = carrier.get("HTTP_" + key.upper().replace("-", "_"))
        return None if value is None else [str(value)]

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


_getter = _EnvironGetter()


def extract(environ: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the global propagator reads from a request: (Context, span context). The native hook asks only for baggage or unusual propagators."""
    context = propagate.extract(environ, context_api.Context(), getter=_getter)
    return context, trace.get_current_span(context).get_span_context()


def _note_propagator() -> None:
    """Trace context and baggage, the default: then a request without baggage needs no Python."""
    current = propagate.get_global_textmap()
    parts = getattr(current, "_propagators", None)
    usual = parts is not None and sorted(type(part).__name__ for part in parts) == [
        "TraceContextTextMapPropagator",
        "W3CBaggagePropagator",
    ]
    request_options.update(extract=extract, propagate=vars(propagate), usual_propagator=current if usual else None)


def refresh() -> None:
    """Reads settings again that may have come later than the hooks."""
    allowed = settings.get("masking") not in ("gdpr", "hipaa")
    request_options["parameters"] = shown_parameters if allowed and settings.get("capture_parameters") else None
    request_options["headers"] = headers.capture(say_once)
    request_options["user"] = note_user if allowed and settings.get("capture_user") else None
    request_options["commenter"] = sql_comment.refresh()
    _note_propagator()
    keep = settings.get("keep")
    slow_ns = max(1, int(settings.get("keep_slower_than") * 1e9)) if "slow" in keep else 0
    _native.set_keep("errors" in keep, "n_plus_one" in keep, slow_ns)
    _native.set_off_file(settings.get("off_file"))
    _native.set_n_plus_one(
        settings.get("n_plus_one_threshold"), settings.get("query_count_threshold"), settings.get("n_plus_one_allow")
    )
    names = {word.strip().lower() for word in os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")}
    for convention in ("http", "database"):
        request_options[f"semconv_{convention}"] = 2 if f"{convention}/dup" in names else int(convention in names)
    entries = tuple(settings.get("excluded_urls"))
    if not entries and settings.get("masking") in ("gdpr", "hipaa"):
        entries = ("admin/", "accounts/profile/", "api/users/")  # the guide's
    current = request_options["excluded"]
    if not entries:
        request_options["excluded"] = None
    elif current is None or current.entries != entries:
        request_options["excluded"] = UrlFilter(entries)


# ---- who is asking ----


def note_user(span: Any, request: Any) -> None:
    """`user.id` and `user.username` of a user that the application has loaded. Asks nobody: a lazy user stays lazy, deferred fields stay so."""
    user = vars(request).get("user")
    lazy = getattr(sys.modules.get("django.utils.functional"), "LazyObject", None)
    if lazy is not None and issubclass(type(user), lazy):
        user = object.__getattribute__(user, "__dict__").get("_wrapped")
    meta = getattr(type(user), "_meta", None)  # anonymous users and lazy ones that nobody asked for have none
    if meta is None:
        return
    known, set_already = vars(user), span.attributes or {}
    for key, field in (("user.id", meta.pk.attname), ("user.username", getattr(type(user), "USERNAME_FIELD", ""))):
        value = known.get(field)
        if value is not None and key not in set_already:
            span.set_attribute(key, str(value))
