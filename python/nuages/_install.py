"""`install()`: where every on-ramp ends. Idempotent, never raises into the application.

1. the names of opentelemetry-sdk become native classes: the module names are rebound, and the original classes get a `__new__` that returns
   the native subclass, so names imported earlier work too; users' own subclasses are untouched;
2. a provider of the official SDK that is set already is adopted in place, and ProxyTracer hands its callers native tracers;
3. the import finder serves the OTLP exporter and the instrumentors;
4. the hooks go in as the libraries they hook appear;
5. unless the application sets a provider, one of ours is set, and gives way silently to the application's first.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from types import ModuleType
from typing import Any, Optional

from nuages import _adopt, _fallback, _import, settings

logger = logging.getLogger("nuages")

_lock = threading.RLock()
_installed = False
_sdk_ready = False
_automatic = False  # a provider of our own is wanted when the application sets none
_own_provider: Any = None
_retired: list[Any] = []  # own providers that gave way: alive until the exit has flushed them
_hook_names: Optional[tuple[str, ...]] = None


def install(*, automatic: bool = False, **values: Any) -> None:
    """Makes this process traced. `values` are settings given in code, for example ``install(masking="gdpr")``.

    `automatic`: also without any tracing code of the application's, with a provider from the environment.
    """
    global _installed, _automatic
    if _fallback.after_check(lambda: install(automatic=automatic, **values)):
        return
    with _lock:
        if values:
            settings.override(**values)
        _automatic = _automatic or automatic
        if _fallback.problem() is not None:
            _import.serve_names(_import.finder())
            _fallback.install(_automatic)
            _import.finder().watch("django.apps.registry", _watch_django_apps)
            return
        if not _installed:
            _installed = True
            try:
                _install_once()
            except Exception:
                logger.exception("nuages could not be installed completely; the application goes on")
        _install_hooks()
        if _automatic and "none" not in settings.get("hooks") and not settings.get("sdk_disabled"):
            _watch_instrumented()


def _watch_instrumented() -> None:
    try:
        importlib.import_module("nuages._instrumentors").watch()
    except Exception:
        logger.exception("the official instrumentors of other libraries could not be prepared; the application goes on")


def _install_once() -> None:
    hooks = settings.get("hooks")
    finder = _import.finder()
    _import.serve_names(finder, instrumentors="none" not in hooks)
    install_sdk()
    if "none" not in hooks:
        _adopt.instrumentors()
    finder.watch("django.conf", _watch_django_settings)
    finder.watch("django.apps.registry", _watch_django_apps)
    for trigger in _triggers():
        finder.watch(trigger, _library_appeared)
    finder.watch("opentelemetry.propagate", _watch_propagate)
    settings.report()
    logger.debug("nuages installed; hooks %s, disabled %s", ",".join(hooks), settings.get("sdk_disabled"))


# ---- the SDK's names


def install_sdk() -> None:
    """Rebinds the SDK's classes; separately callable for programs that want D2 without hooks."""
    global _sdk_ready
    with _lock:
        if _sdk_ready:
            return
        _sdk_ready = True
        from opentelemetry import trace as api
        from opentelemetry.sdk import trace as sdk
        from opentelemetry.sdk.trace import export as sdk_export

        from nuages import _native_side
        from nuages.sdk import export, trace

        for module, name, native in (
            (sdk, "TracerProvider", trace.TracerProvider),
            (sdk, "Tracer", trace.Tracer),
            (sdk_export, "BatchSpanProcessor", export.BatchSpanProcessor),
            (sdk_export, "SimpleSpanProcessor", export.SimpleSpanProcessor),
        ):
            original = getattr(module, name)
            setattr(module, name, native)
            if name != "Tracer":
                _redirect(original, native)
        _adopt.exporter_classes()
        _patch_proxy_tracer(api)
        _patch_set_tracer_provider(api)
        _native_side.set_native_level()
        current = api._TRACER_PROVIDER
        if current is not None and type(current) is trace.OfficialTracerProvider:
            try:
                trace.TracerProvider.adopt(current)
                _adopt.processors(current)
                logger.info("the TracerProvider that was set before nuages is native now")
            except Exception:
                logger.exception(
                    "the TracerProvider that was set before nuages could not be made native; it stays as it was"
                )


def _redirect(original: Any, native: Any) -> None:
    """`Original(...)` makes a native object, for names that were imported before install(). Subclasses are left alone."""
    if "__new__" in vars(original):
        return

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(native if cls is original else cls)

    original.__new__ = staticmethod(__new__)


def _patch_proxy_tracer(api: Any) -> None:
    """Tracers taken before a provider was set: the first span after that puts the native methods on the object itself."""
    from nuages.sdk import trace

    original_start, original_current = api.ProxyTracer.start_span, api.ProxyTracer.start_as_current_span

    def resolve(proxy: Any) -> Any:
        if api._TRACER_PROVIDER is None:
            ensure_provider()
        real = proxy._tracer
        if isinstance(real, trace.Tracer):
            proxy.start_span = real.start_span
            proxy.start_as_current_span = real.start_as_current_span
            return real
        return None

    def start_span(self: Any, *args: Any, **kwargs: Any) -> Any:
        real = resolve(self)
        return original_start(self, *args, **kwargs) if real is None else real.start_span(*args, **kwargs)

    def start_as_current_span(self: Any, *args: Any, **kwargs: Any) -> Any:
        real = resolve(self)
        if real is None:
            return _LateManager(self, original_current, args, kwargs)
        return real.start_as_current_span(*args, **kwargs)

    api.ProxyTracer.start_span = start_span
    api.ProxyTracer.start_as_current_span = start_as_current_span


class _LateManager:
    """start_as_current_span() of a tracer without a provider yet. As a decorator it must ask again at each call: the usual case of
    ``@tracer.start_as_current_span("name")`` in a module imported before the initialisation."""

    def __init__(self, tracer: Any, original: Any, args: Any, kwargs: Any) -> None:
        self._tracer, self._original, self._args, self._kwargs = tracer, original, args, kwargs
        self._active: Any = None

    def _recreate(self) -> Any:
        return self._tracer.start_as_current_span(*self._args, **self._kwargs)

    def __enter__(self) -> Any:
        self._active = self._original(self._tracer, *self._args, **self._kwargs)
        return self._active.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._active.__exit__(*error)

    def __call__(self, function: Any) -> Any:
        from nuages import _native_side

        return _native_side.decorate(self, function)


def _patch_set_tracer_provider(api: Any) -> None:
    original = api.set_tracer_provider

    def set_tracer_provider(tracer_provider: Any) -> None:
        global _own_provider
        with _lock:
            if _own_provider is not None and api._TRACER_PROVIDER is _own_provider:
                # ours was a stand-in: it gives way silently; what it has queued is sent in its own time
                old, _own_provider = _own_provider, None
                _retired.append(old)
                api._TRACER_PROVIDER = tracer_provider
                old.hand_over(tracer_provider)
                _forget_hook_tracers()
                return
            before = api._TRACER_PROVIDER
            original(tracer_provider)
            if api._TRACER_PROVIDER is not before:
                _forget_hook_tracers()

    api.set_tracer_provider = set_tracer_provider


def _watch_propagate(module: ModuleType) -> None:
    """Trace context headers are read and written natively, whatever OTEL_PROPAGATORS adds to them."""
    try:
        from nuages.propagators import tracecontext

        tracecontext.install()
    except Exception:
        logger.exception("the trace context propagator could not be made native; the API's own goes on")


# ---- the provider


def ensure_provider() -> Any:
    """The global provider; one of our own from the environment when there is none and an automatic on-ramp was used. None: untraced."""
    global _own_provider
    from opentelemetry import trace as api

    with _lock:
        if api._TRACER_PROVIDER is not None:
            return api._TRACER_PROVIDER
        if not _automatic or settings.get("sdk_disabled"):
            return None
        if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
            return None
        provider = make_provider()
        _own_provider = provider
        api._set_tracer_provider(provider, log=False)
        _forget_hook_tracers()
        exporters = [processor.span_exporter for processor in provider._active_span_processor._span_processors]
        logger.info(
            "tracing to %s as %s",
            ", ".join(getattr(exporter, "_url", type(exporter).__name__) for exporter in exporters),
            provider.resource.attributes.get("service.name"),
        )
        return provider


def make_provider() -> Any:
    """A provider from the environment alone."""
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    from nuages.sdk import environment
    from nuages.sdk.export import BatchSpanProcessor, SimpleSpanProcessor
    from nuages.sdk.trace import TracerProvider

    provider = TracerProvider(resource=_own_resource(), id_generator=environment.id_generator())
    for exporter in environment.exporters():
        # what somebody reads on a terminal shall be there when it happens
        processor = SimpleSpanProcessor if isinstance(exporter, ConsoleSpanExporter) else BatchSpanProcessor
        provider.add_span_processor(processor(exporter))
    return provider


def _own_resource() -> Any:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES as the SDK reads them; else the settings package is the service's name."""
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create()
    name = str(resource.attributes.get("service.name", ""))
    if name and not name.startswith("unknown_service"):
        return resource
    package = os.environ.get("DJANGO_SETTINGS_MODULE", "").split(".")[0]
    wanted = settings.get("service_name") or package
    return resource.merge(Resource({"service.name": wanted})) if wanted else resource


def hook_tracer(scope_name: str) -> Any:
    """The tracer for the spans of a hook; None while there is no provider of ours."""
    from nuages import __version__
    from nuages.sdk.trace import TracerProvider

    provider = ensure_provider()
    if not isinstance(provider, TracerProvider) or provider._disabled:
        return None
    return provider.get_tracer(scope_name, __version__)


def _forget_hook_tracers() -> None:
    from nuages import _native

    _native.forget_hook_tracers()


# ---- the hooks


def _triggers() -> tuple[str, ...]:
    try:
        return tuple(getattr(importlib.import_module("nuages.hooks"), "TRIGGERS", ("django", "celery")))
    except Exception:
        logger.exception("nuages.hooks could not be imported; only spans made by hand are traced")
        return ()


def _library_appeared(module: ModuleType) -> None:
    _install_hooks()


_hooks_in_progress = threading.local()


def _install_hooks() -> None:
    hooks = settings.get("hooks")
    if "none" in hooks or settings.get("sdk_disabled"):
        return
    if getattr(_hooks_in_progress, "active", False):
        # A hook being installed imports a library that others wait for, while half of its modules are not there yet: afterwards.
        _hooks_in_progress.again = True
        return
    _hooks_in_progress.active = True
    try:
        module = importlib.import_module("nuages.hooks")
        if not settings.get("django_instrument"):
            hooks = tuple(name for name in ("celery",) if name in hooks or "all" in hooks)
        _hooks_in_progress.again = True
        while _hooks_in_progress.again:
            _hooks_in_progress.again = False
            module.install_all(None if "all" in hooks else hooks)
    except Exception:
        logger.exception("nuages could not install its hooks; the application goes on")
    finally:
        _hooks_in_progress.active = False


def uninstall() -> None:
    """Removes every hook; the SDK's names stay native (spans may be alive)."""
    global _installed
    with _lock:
        _installed = False
        importlib.import_module("nuages.hooks").uninstall_all()


# ---- Django


def _watch_django_settings(module: ModuleType) -> None:
    """OTEL_* settings fill absent environment variables as soon as the settings are loaded; nothing here loads them."""
    lazy = module.LazySettings
    original_setup, original_configure = lazy._setup, lazy.configure
    if getattr(original_setup, "__nuages__", False):
        return

    def _setup(self: Any, name: Optional[str] = None) -> None:
        original_setup(self, name)
        _settings_loaded()

    def configure(self: Any, *args: Any, **kwargs: Any) -> None:
        original_configure(self, *args, **kwargs)
        _settings_loaded()

    setattr(_setup, "__nuages__", True)  # noqa: B010
    lazy._setup, lazy.configure = _setup, configure
    _settings_loaded()


def _settings_loaded() -> None:
    """The application's own tracing code may have run before its settings said OTEL_SDK_DISABLED: what it made sleeps from now on."""
    settings.django_settings_loaded()
    if settings.django_settings() is None or not settings.get("sdk_disabled") or not _sdk_ready:
        return
    from nuages import _lifecycle

    try:
        _lifecycle.disable()
        importlib.import_module("nuages.hooks").uninstall_all()
    except Exception:
        logger.exception("OTEL_SDK_DISABLED in the Django settings could not be honoured completely")


def _watch_django_apps(module: ModuleType) -> None:
    """With an automatic on-ramp a provider is there once django.setup() is done, whether or not the application makes one later."""
    original = module.Apps.populate
    if getattr(original, "__nuages__", False):
        return

    def populate(self: Any, installed_apps: Any = None) -> None:
        original(self, installed_apps)
        if self.ready and _automatic and self is module.apps:
            django_ready()

    setattr(populate, "__nuages__", True)  # noqa: B010
    module.Apps.populate = populate


def django_ready() -> None:
    """After django.setup(): the settings are there, so are all libraries the applications import."""
    try:
        if _fallback.problem() is not None:
            _fallback.django_ready()
            return
        settings.django_settings_loaded()
        _install_hooks()
        ensure_provider()
    except Exception:
        logger.exception("nuages could not set its provider; the application goes on")
