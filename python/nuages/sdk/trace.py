"""`Span`, `Tracer` and `TracerProvider`: the SDK's classes with native halves.

Each derives from a native base first and from the installed SDK's class second, so every isinstance() holds while the hot methods
(start_span, start_as_current_span, set_attribute, end, ...) resolve to C++ without a Python frame. What is cold stays Python here: events and
links as objects, the provider's configuration, JSON.
"""

from __future__ import annotations

# Before any provider: the SDK asks its resource detectors in a pool in the child of a fork, and the pool's own at-fork handler, which frees
# its lock there, must come first.
import concurrent.futures.thread  # noqa: F401
import inspect
import logging
import threading
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from opentelemetry import context as api_context
from opentelemetry import trace as api
from opentelemetry.context.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace.propagation import _SPAN_KEY

from nuages import _lifecycle, _native, _native_side, settings
from nuages.sdk import environment, metered, privacy
from nuages.sdk.attributes import SpanAttributes, bounded, clean_value
from nuages.sdk.export import BatchSpanProcessor, SimpleSpanProcessor, described
from nuages.sdk.sampling import RateLimitingSampler

logger = logging.getLogger("nuages")

# The classes as opentelemetry-sdk wrote them; install() rebinds the module's names later.
OfficialSpan: Any = sdk.Span
OfficialTracer: Any = sdk.Tracer
OfficialTracerProvider: Any = sdk.TracerProvider
OfficialSpanProcessor: Any = sdk.SpanProcessor
OfficialMultiSpanProcessor: Any = sdk.SynchronousMultiSpanProcessor


class Span(_native.RecordingSpanBase, OfficialSpan):  # type: ignore[misc]
    """A recording span; made by tracers only. It is also what processors and Python exporters get after the end."""

    @property
    def attributes(self) -> SpanAttributes:
        return SpanAttributes(self)

    @property
    def _attributes(self) -> SpanAttributes:
        return SpanAttributes(self)

    @_attributes.setter
    def _attributes(self, values: Optional[Mapping[str, Any]]) -> None:
        items = dict(values or {})
        _native.clear_part(self, "attributes")
        for key, value in items.items():
            _native.put_attribute(self, key, value)

    @property
    def events(self) -> Sequence[Any]:
        return tuple(
            sdk.Event(name=name, attributes=bounded(attributes, dropped), timestamp=time)
            for name, time, attributes, dropped in _native.event_list(self)
        )

    @property
    def _events(self) -> Sequence[Any]:
        return self.events

    @_events.setter
    def _events(self, events: Iterable[Any]) -> None:
        kept = list(events or ())
        _native.clear_part(self, "events")
        for event in kept:
            _native.put_event(self, event.name, event.attributes, event.timestamp)

    @property
    def links(self) -> Sequence[Any]:
        return tuple(
            api.Link(context, bounded(attributes, dropped)) for context, attributes, dropped in _native.link_list(self)
        )

    @property
    def _links(self) -> Sequence[Any]:
        return self.links

    @_links.setter
    def _links(self, links: Iterable[Any]) -> None:
        kept = list(links or ())
        _native.clear_part(self, "links")
        for link in kept:
            self.add_link(link.context, link.attributes)

    @property
    def instrumentation_info(self) -> Any:
        scope = self.instrumentation_scope
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return None if scope is None else InstrumentationInfo(scope.name, scope.version, scope.schema_url)

    @property
    def _instrumentation_info(self) -> Any:
        return self.instrumentation_info

    def _readable_span(self) -> Span:
        return self

    # Private names of the official class that processors read.

    @property
    def _limits(self) -> Any:
        return getattr(self._tracer, "_span_limits", None)

    @property
    def _span_processor(self) -> Any:
        return getattr(self._tracer, "span_processor", None)

    @property
    def _sampler(self) -> Any:
        return getattr(self._tracer, "sampler", None)

    @property
    def _lock(self) -> Any:
        """For code that changes several things of a span at once; the core needs none."""
        lock: Any = self.__dict__.setdefault("_own_lock", threading.Lock())
        return lock

    def start(self, start_time: Optional[int] = None, parent_context: Optional[Context] = None) -> None:
        logger.warning("Calling start() on a started span.")


class NonRecordingSpan(_native.NonRecordingSpanBase, api.NonRecordingSpan):  # type: ignore[misc]
    """An unsampled span: carries its context, does nothing."""


class Tracer(_native.TracerBase, OfficialTracer):  # type: ignore[misc]
    def __init__(self, provider: TracerProvider, scope: Any, config: Any) -> None:
        self.attach(provider, scope, config)

    def attach(self, provider: TracerProvider, scope: Any, config: Any) -> None:
        arguments: dict[str, Any] = {
            "sampler": provider.sampler,
            "resource": provider.resource,
            "span_processor": provider._active_span_processor,
            "id_generator": provider.id_generator,
            "instrumentation_info": None,  # deprecated; spans make it when somebody asks
            "span_limits": provider._span_limits,
            "instrumentation_scope": scope,
        }
        known = inspect.signature(OfficialTracer.__init__).parameters
        if "_tracer_config" in known:
            arguments["_tracer_config"] = config
        if "meter_provider" in known:
            arguments["meter_provider"] = getattr(provider, "_meter_provider", None)
        OfficialTracer.__init__(self, **{name: value for name, value in arguments.items() if name in known})
        self._bind(
            provider._core,
            scope,
            scope.name,
            scope.version,
            scope.schema_url,
            getattr(scope, "attributes", None) or None,
        )
        self._set_enabled(getattr(config, "is_enabled", True))

    def _set_tracer_config(self, tracer_config: Any) -> None:
        super()._set_tracer_config(tracer_config)
        self._set_enabled(tracer_config.is_enabled)


class _Processors(OfficialMultiSpanProcessor):  # type: ignore[misc]
    """The SDK's list of processors; tells the native half whenever it changes, also through the private tuple."""

    def __init__(self, provider: TracerProvider, processors: tuple[Any, ...] = ()) -> None:
        self._changed = provider._processors_changed
        self._list: tuple[Any, ...] = ()
        super().__init__()
        self._span_processors = processors

    @property
    def _span_processors(self) -> tuple[Any, ...]:
        return self._list

    @_span_processors.setter
    def _span_processors(self, processors: Iterable[Any]) -> None:
        self._list = tuple(processors)
        self._changed()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return _lifecycle.flush_all(self._list, timeout_millis)


class TracerProvider(OfficialTracerProvider):  # type: ignore[misc]
    _open_spans: Optional[dict[int, Any]] = None  # of metered tracers

    def __init__(
        self,
        sampler: Optional[Any] = None,
        resource: Optional[Resource] = None,
        shutdown_on_exit: bool = True,
        active_span_processor: Optional[Any] = None,
        id_generator: Optional[Any] = None,
        span_limits: Optional[Any] = None,
        **options: Any,
    ) -> None:
        # The SDK asks its detectors in a thread pool again in a forked child. That pool must have registered for forks before the SDK does, or
        # the child waits for the pool's lock for ever.

        self._core = _native.ProviderCore()
        self._shut_down = False
        self._pipelines: tuple[Any, ...] = ()
        self._given_limits = span_limits
        super().__init__(
            sampler=environment.sampler() if sampler is None else sampler,
            resource=resource,
            shutdown_on_exit=False,
            active_span_processor=active_span_processor or _Processors(self),
            id_generator=id_generator,
            span_limits=privacy.limits(span_limits),
            **options,
        )
        self._disabled = bool(settings.get_now("sdk_disabled"))
        self._configure_core()
        if active_span_processor is not None:
            self._processors_changed()
        self._follow_settings()
        if shutdown_on_exit:
            _lifecycle.register(self)

    @classmethod
    def adopt(cls, provider: Any) -> TracerProvider:
        """Makes a provider of the official SDK native in place: its identity, resource, sampler and processors stay."""
        handler = getattr(provider, "_atexit_handler", None)
        processor = provider._active_span_processor
        tracers = dict(getattr(provider, "_tracers", None) or {})
        provider.__class__ = cls
        adopted: TracerProvider = provider
        adopted._core = _native.ProviderCore()
        adopted._shut_down = False
        adopted._pipelines = ()
        adopted._given_limits = provider._span_limits
        if hasattr(adopted, "_tracers"):
            adopted._tracers = {}
        if type(processor) is OfficialMultiSpanProcessor:
            adopted._active_span_processor = _Processors(adopted, processor._span_processors)
        adopted._configure_core()
        adopted._processors_changed()
        adopted._follow_settings()
        if handler is not None:
            import atexit

            atexit.unregister(handler)
            adopted._atexit_handler = None
            _lifecycle.register(adopted)
        for scope, tracer in tracers.items():
            # the application holds these objects: their instances get the native methods
            native = adopted.get_tracer(
                scope.name, scope.version, scope.schema_url, getattr(scope, "attributes", None) or None
            )
            tracer.start_span = native.start_span
            tracer.start_as_current_span = native.start_as_current_span
        return adopted

    def hand_over(self, other: Any) -> None:
        """Gives way to another provider: the tracers that were taken from this one make its spans from now on."""
        for scope, tracer in list(self.__dict__.get("_native_tracers", {}).items()):
            attributes = getattr(scope, "attributes", None) or None
            if isinstance(other, TracerProvider) and not other._disabled:
                tracer.attach(other, scope, other._tracer_config(scope))
                other.__dict__.setdefault("_native_tracers", {}).setdefault(scope, tracer)
            else:
                theirs = other.get_tracer(scope.name, scope.version, scope.schema_url, attributes)
                tracer.start_span, tracer.start_as_current_span = theirs.start_span, theirs.start_as_current_span

    # ---- the native half

    def _follow_settings(self) -> None:
        """Settings that come after the provider, as Django's may, count all the same."""
        mine = weakref.ref(self)

        def changed() -> None:
            provider = mine()
            if provider is None:
                return
            wanted = privacy.limits(provider._given_limits)
            if wanted is not None and wanted is not provider._given_limits:
                provider._span_limits = wanted
                provider._configure_core()
            provider._processors_changed()

        privacy.on_change(changed)

    def _configure_core(self) -> None:
        native = native_sampler(self.sampler)
        if native is None:
            self._core.set_sampler(self.sampler)
        else:
            self._core.set_sampler(None, *native)
        if type(self.id_generator) is RandomIdGenerator:
            self._core.set_id_generator(None, True)
        else:
            is_random = getattr(self.id_generator, "is_trace_id_random", None)
            self._core.set_id_generator(self.id_generator, bool(is_random()) if is_random is not None else False)
        limits = self._span_limits
        self._core.set_limits(
            limits.max_span_attributes,
            limits.max_events,
            limits.max_links,
            limits.max_event_attributes,
            limits.max_link_attributes,
            limits.max_span_attribute_length,
            limits.max_attribute_length,
        )
        self._resource_changed()
        logger.debug(
            "provider: sampler %s, resource %s", self.sampler.get_description(), dict(self._resource.attributes)
        )

    def _resource_changed(self) -> None:
        self._core.set_resource(self._resource)
        for pipeline in self._pipelines:
            pipeline.set_resource(*described(self._resource))

    def _processors_changed(self) -> None:
        """Sorts the processors into Python callables and native pipelines. Python runs first, whatever the order of registration (R14.05)."""
        group = getattr(self, "_active_span_processor", None)
        processors = group._span_processors if isinstance(group, _Processors) else () if group is None else (group,)
        pipelines: list[Any] = []
        python: list[Any] = []
        for processor in processors:
            native = type(processor) in (BatchSpanProcessor, SimpleSpanProcessor) and processor.pipeline is not None
            (pipelines if native else python).append(processor)
        self._pipelines = tuple(processor.pipeline for processor in pipelines)
        # A Python processor that only hands to an exporter comes after those that may change the span.
        python.sort(key=lambda processor: isinstance(processor, (BatchSpanProcessor, SimpleSpanProcessor)))
        exporting = [p for p in python if isinstance(p, (BatchSpanProcessor, SimpleSpanProcessor))]
        changing = python[: len(python) - len(exporting)]
        rules = privacy.functions()
        self._core.set_processors(
            [processor.on_start for processor in python if _overrides(processor, "on_start")],
            [processor._on_ending for processor in python if _overrides(processor, "_on_ending")],
            [processor.on_end for processor in changing if _overrides(processor, "on_end")]
            + ([privacy.on_end(rules)] if rules else [])
            + [processor.on_end for processor in exporting if _overrides(processor, "on_end")]
            + ([] if self._open_spans is None else [metered.on_end(self._open_spans)]),
            self._pipelines,
        )
        if hasattr(self, "_resource"):
            self._resource_changed()

    def _update_resource(self, resource: Resource) -> None:
        super()._update_resource(resource)
        self._resource_changed()

    # ---- the public API

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: Optional[str] = None,
        schema_url: Optional[str] = None,
        attributes: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        if self._disabled:
            return api.NoOpTracer()
        if not instrumenting_module_name:
            instrumenting_module_name = ""
            logger.error("get_tracer called with missing module name.")
        scope = _make_scope(instrumenting_module_name, instrumenting_library_version or "", schema_url, attributes)
        with self._native_lock():
            known = self.__dict__.setdefault("_native_tracers", {})
            tracer = known.get(scope)
            if tracer is None:
                tracer = known[scope] = self._tracer_class()(self, scope, self._tracer_config(scope))
                if self._open_spans is not None:
                    tracer._open = self._open_spans
                if isinstance(getattr(self, "_tracers", None), dict):
                    self._tracers[scope] = tracer
            return tracer

    def _tracer_class(self) -> Any:
        """Tracer, or with the SDK's internal metrics switched on one that counts its spans."""
        if not metered.wanted() or "meter_provider" not in inspect.signature(OfficialTracer.__init__).parameters:
            return Tracer
        if self._open_spans is None:
            self._open_spans = {}
            self._processors_changed()
        return metered.metered(Tracer, OfficialTracer)

    def _tracer_config(self, scope: Any) -> Any:
        apply = getattr(self, "_apply_tracer_configurator", None)
        return apply(scope) if apply is not None else None

    def _native_lock(self) -> Any:
        return self.__dict__.setdefault("_native_tracers_lock", threading.RLock())

    def add_span_processor(self, span_processor: Any) -> None:
        self._active_span_processor.add_span_processor(span_processor)
        if not isinstance(self._active_span_processor, _Processors):
            self._processors_changed()

    def shutdown(self) -> None:
        """Drains within the shutdown timeout; later spans are no-ops; later calls do nothing."""
        _lifecycle.shutdown([self], settings.get("shutdown_timeout"))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        flushed = bool(self._active_span_processor.force_flush(timeout_millis))
        _native_side.drain_logs()
        return flushed


class InternalTracerProvider(TracerProvider):
    """One that no application sees (self-test, copies of foreign spans); a fork does not concern it."""

    def _handle_fork(self) -> None:
        return None


def _make_scope(name: str, version: str, schema_url: Optional[str], attributes: Optional[Mapping[str, Any]]) -> Any:
    if "attributes" in inspect.signature(InstrumentationScope.__init__).parameters:
        return InstrumentationScope(name, version, schema_url, attributes)
    return InstrumentationScope(name, version, schema_url)


def _overrides(processor: Any, method: str) -> bool:
    own = getattr(type(processor), method, None)
    if own is None or method in getattr(processor, "__dict__", {}):
        return callable(getattr(processor, method, None))  # a wrapper that delegates, an attribute of the object
    if (
        method == "on_start"
        and isinstance(processor, (BatchSpanProcessor, SimpleSpanProcessor))
        and own is BatchSpanProcessor.on_start  # does nothing
    ):
        return False
    return own is not getattr(OfficialSpanProcessor, method, None)


_STATIC = {sampling.StaticSampler} | {
    cls for name in ("_AlwaysOn", "_AlwaysOff") if (cls := getattr(sampling, name, None)) is not None
}
_PARENT_BASED = {sampling.ParentBased, sampling.ParentBasedTraceIdRatio} | {
    cls
    for name in ("_ParentBasedAlwaysOn", "_ParentBasedAlwaysOff")
    if (cls := getattr(sampling, name, None)) is not None
}


def _native_rate(sampler: Any) -> Optional[float]:
    """The ratio that a root sampler of the SDK stands for; None for anything else, subclasses included."""
    kind = type(sampler)
    if kind in _STATIC:
        decision = sampler._decision
        if decision is sampling.Decision.RECORD_ONLY:
            return None
        return 1.0 if decision is sampling.Decision.RECORD_AND_SAMPLE else 0.0
    if kind is sampling.TraceIdRatioBased:
        return float(sampler.rate)
    return None


def native_sampler(sampler: Any) -> Optional[tuple[Any, ...]]:
    """(parent based, root, remote sampled, remote not, local sampled, local not) for the SDK's own samplers, and the bucket behind that for a
    rate limit in the root's place; None: call it as Python."""
    limiter: tuple[Any, ...] = ()
    root = sampler._root if type(sampler) in _PARENT_BASED else sampler
    if type(root) is RateLimitingSampler:
        limiter = (root._limiter,)
    rate = 1.0 if limiter else _native_rate(root)
    if rate is None:
        return None
    if root is sampler:
        return (False, rate, 1.0, 0.0, 1.0, 0.0, *limiter)
    delegates = [
        _native_rate(delegate)
        for delegate in (
            sampler._remote_parent_sampled,
            sampler._remote_parent_not_sampled,
            sampler._local_parent_sampled,
            sampler._local_parent_not_sampled,
        )
    ]
    if None in delegates:
        return None
    return (True, rate, *delegates, *limiter)


def _hook_tracer(scope_name: str) -> Any:
    from nuages import _install

    return _install.hook_tracer(scope_name)


def _configure_native() -> None:
    flags = tuple(api.TraceFlags(value) for value in range(4))
    _native.configure(
        span_class=Span,
        nonrecording_class=NonRecordingSpan,
        span_abc=api.Span,
        span_context_class=api.SpanContext,
        trace_flags=flags,
        default_trace_state=api.TraceState.get_default(),
        trace_state_from_header=api.TraceState.from_header,
        context_class=Context,
        context_globals=vars(api_context),
        trace_globals=vars(api),
        span_key=_SPAN_KEY,
        suppress_key=getattr(api_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
        status_class=api.Status,
        status_codes=(api.StatusCode.UNSET, api.StatusCode.OK, api.StatusCode.ERROR),
        kinds=tuple(api.SpanKind(value) for value in range(5)),
        clean_value=clean_value,
        exception_attributes=_native_side.exception_attributes,
        describe_exception=_native_side.describe_exception,
        warn=_native_side.warn,
        processor_failed=_native_side.processor_failed,
        decorate=_native_side.decorate,
        hook_tracer=_hook_tracer,
        drain_logs=_native_side.drain_logs,
    )


_configure_native()
