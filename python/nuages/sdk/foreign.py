"""Spans that are not ours in front of the native exporter: a `ReadableSpan` that the application's own processor or exporter has made, for example
a redacted copy. Each becomes a native span with the same content, through a tracer made for it; costs some 20 us, so nothing on the usual way.
"""

from __future__ import annotations

import threading
from typing import Any, Optional

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from nuages import _native

_ALL = 2**31 - 1


class _As(IdGenerator, Sampler):  # type: ignore[misc]
    """Gives the next span of this thread the identity of another one."""

    def __init__(self) -> None:
        self.local = threading.local()

    def generate_trace_id(self) -> int:
        return int(self.local.context.trace_id)

    def generate_span_id(self) -> int:
        return int(self.local.context.span_id)

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        attributes = args[4] if len(args) > 4 else kwargs.get("attributes")
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, self.local.context.trace_state)

    def get_description(self) -> str:
        return "nuages: the identity of another span"


_as = _As()
_providers: dict[Any, Any] = {}


def native(span: Any) -> Any:
    """The span itself when it is ours, else a native one like it; None when it has no identity."""
    if isinstance(span, _native.RecordingSpanBase):
        return span
    context: Optional[api.SpanContext] = span.get_span_context()
    if context is None or not context.is_valid:
        return None
    _as.local.context = context
    tracer = _tracer(span)
    parent = Context() if span.parent is None else api.set_span_in_context(api.NonRecordingSpan(span.parent), Context())
    copy = tracer.start_span(
        span.name,
        context=parent,
        kind=span.kind,
        attributes=span.attributes,
        links=span.links,
        start_time=span.start_time,
        record_exception=False,
    )
    for event in span.events:
        copy.add_event(event.name, event.attributes, event.timestamp)
    if span.status is not None:
        copy._status = span.status
    copy.end(span.end_time)
    return copy


def _tracer(span: Any) -> Any:
    from nuages.sdk.trace import InternalTracerProvider

    provider = _providers.get(span.resource)
    if provider is None:
        if len(_providers) >= 64:  # resources made anew for each span
            _providers.clear()
        limits = SpanLimits(*[_ALL] * 6)
        provider = _providers[span.resource] = InternalTracerProvider(_as, span.resource, False, None, _as, limits)
        provider._disabled = False
    scope = span.instrumentation_scope
    if scope is None:
        return provider.get_tracer("unknown")
    return provider.get_tracer(scope.name, scope.version, scope.schema_url, getattr(scope, "attributes", None))
