"""Where there is no native core: one log line, and the official SDK does the tracing.

The core needs CPython with the GIL on Linux with glibc, and an extension that loads. Everywhere else (PyPy, macOS, Windows, musl, free-threaded
builds, subinterpreters with a GIL of their own, a broken installation), and where opentelemetry-sdk moved something under it (_selftest.py), `import
nuages`, every on-ramp and the names the import finder serves keep working: `install()` ends here, the application's own tracing code uses the
official classes it named, and an automatic on-ramp sets up the official provider, exporter and instrumentations that are installed. What only the
core does (hooks, N+1, masking) is off, and the line says so.

Nothing here imports the core's half of this package.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from typing import Any, Callable, Optional

logger = logging.getLogger("nuages")

CAPABILITIES_LOST = "Django hooks, N+1 detection and masking are off"
_UNKNOWN = object()
_lock = threading.RLock()
_problem: Any = _UNKNOWN
_checking = False
_after_check: list[Callable[[], None]] = []
_said = False
_own_provider: Any = None
_wants_provider = False

_EXPORTERS = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}
_INSTRUMENTORS = (
    ("django", "opentelemetry.instrumentation.django", "DjangoInstrumentor"),
    ("celery", "opentelemetry.instrumentation.celery", "CeleryInstrumentor"),
    ("psycopg2", "opentelemetry.instrumentation.psycopg2", "Psycopg2Instrumentor"),
    ("pymysql", "opentelemetry.instrumentation.pymysql", "PyMySQLInstrumentor"),
    ("sqlite3", "opentelemetry.instrumentation.sqlite3", "SQLite3Instrumentor"),
    ("redis", "opentelemetry.instrumentation.redis", "RedisInstrumentor"),
)


def problem() -> Optional[str]:
    """Why there is no native core in this process; None when there is one. Loads and tries it to find out, once."""
    global _problem, _checking
    with _lock:
        if _problem is _UNKNOWN:
            if _checking:  # the self-test's own imports lead back here
                return None
            _checking = True
            try:
                _problem = _find_problem()
            finally:
                _checking = False
            waiting = _after_check[:]
            _after_check.clear()
            for call in waiting:
                call()
        return _problem  # type: ignore[no-any-return]


def after_check(call: Callable[[], None]) -> bool:
    """Puts off a call that comes from inside of the self-test; False: there is none going on in this thread."""
    with _lock:
        if _checking:
            _after_check.append(call)
        return _checking


def _find_problem() -> Optional[str]:
    if sys.implementation.name != "cpython":
        return f"it is made for CPython, and this is {sys.implementation.name}"
    # Loading an extension that does not declare otherwise would switch the GIL back on for the whole application.
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "this Python runs without the GIL, which it has not been tested for"
    try:
        importlib.import_module("nuages._native")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "nuages._native":
            return f"there is none for {sys.platform} in this installation"
        return f"it could not be loaded ({error})"
    selftest: Any = importlib.import_module("nuages._selftest")
    reason: Optional[str] = selftest.problem()
    return reason


def install(automatic: bool) -> None:
    """What `nuages.install()` does without the core: says so once; with an automatic on-ramp, a provider from the environment."""
    global _wants_provider
    from nuages import settings

    with _lock:
        _say(automatic)
        settings.report()
        _wants_provider = _wants_provider or automatic
        # With Django the provider waits until the application had its chance to set one (django_ready).
        if _wants_provider and "django" not in sys.modules:
            _guarded(_ensure_provider)


def django_ready() -> None:
    """After django.setup(): the official provider and instrumentations, unless the application has set its own."""
    from nuages import settings

    with _lock:
        settings.django_settings_loaded()
        if _wants_provider:
            _guarded(_ensure_provider)
            _instrument()


def _guarded(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        logger.exception("nuages could not set up the official OpenTelemetry SDK; the application goes on untraced")


def _say(automatic: bool) -> None:
    global _said
    if _said:
        return
    _said = True
    exporter = (
        " Spans are exported by nothing: install opentelemetry-exporter-otlp." if automatic and not _exporter() else ""
    )
    logger.warning(
        "nuages has no native core here: %s. The official OpenTelemetry SDK is used instead; %s.%s",
        problem(),
        CAPABILITIES_LOST,
        exporter,
    )


def _official(module: str, name: str) -> Any:
    """The class of an official package; None when that is not installed (or our own name stands in for it)."""
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception:
        return None
    return None if getattr(found, "__module__", "").startswith("nuages.") else found


def _exporter() -> Any:
    wanted = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted is not None and wanted.strip().lower() in _EXPORTERS:
        return _official(_EXPORTERS[wanted.strip().lower()], "OTLPSpanExporter")
    found = (_official(module, "OTLPSpanExporter") for module in _EXPORTERS.values())
    return next((exporter for exporter in found if exporter is not None), None)


def _ensure_provider() -> None:
    """A stand-in of the official SDK, as the environment wants it; it gives way to the application's first provider."""
    global _own_provider
    from opentelemetry import trace as api

    from nuages import settings

    exporter = _exporter()
    if (
        _own_provider is not None
        or not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)
        or exporter is None
        or settings.get("sdk_disabled")
        or os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    ):
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create(_service()))
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    _own_provider = provider
    original = api.set_tracer_provider

    def set_tracer_provider(tracer_provider: Any) -> None:
        if getattr(api, "_TRACER_PROVIDER", None) is provider:
            api._TRACER_PROVIDER = (
                tracer_provider  # ours goes on for those who have a tracer of it, and is flushed at exit
            )
        else:
            original(tracer_provider)

    original(provider)
    api.set_tracer_provider = set_tracer_provider


def _service() -> dict[str, Any]:
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or os.environ.get("OTEL_SERVICE_NAME")
    package = os.environ.get("DJANGO_SETTINGS_MODULE", "").split(".")[0]
    return {"service.name": package} if package and not named else {}


def _instrument() -> None:
    from nuages import settings

    hooks = settings.get("hooks")
    if "none" in hooks or not settings.get("django_instrument") or settings.get("sdk_disabled"):
        return
    for library, module, name in _INSTRUMENTORS:
        instrumentor = _official(module, name) if library in sys.modules else None
        if instrumentor is None:
            continue
        try:
            if not instrumentor().is_instrumented_by_opentelemetry:
                instrumentor().instrument()
        except Exception:
            logger.exception("%s of the official instrumentation package failed; the application goes on", name)
