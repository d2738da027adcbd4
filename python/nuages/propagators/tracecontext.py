"""W3C trace context with native parsing and formatting; anything unusual is left to the API's own code, which this class extends."""

from __future__ import annotations

from typing import Any, Optional

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import default_getter, default_setter
from opentelemetry.trace.propagation import tracecontext as official

from nuages import _native

_MAX_TRACEPARENT = 512


class TraceContextTextMapPropagator(official.TraceContextTextMapPropagator):  # type: ignore[misc]
    def extract(self, carrier: Any, context: Optional[Context] = None, getter: Any = default_getter) -> Context:
        header = getter.get(carrier, "traceparent")
        if not header:
            return Context() if context is None else context
        text = header[0]
        if not isinstance(text, str) or len(text) > _MAX_TRACEPARENT:
            return super().extract(carrier, context, getter)
        parent = _native.read_traceparent(text, getter.get(carrier, "tracestate"))
        if parent is None:
            return Context() if context is None else context
        return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context() if context is None else context)

    def inject(self, carrier: Any, context: Optional[Context] = None, setter: Any = default_setter) -> None:
        headers = _native.trace_headers(context)
        if headers is None:  # no span of ours
            super().inject(carrier, context, setter)
            return
        setter.set(carrier, "traceparent", headers[0])
        if headers[1]:
            setter.set(carrier, "tracestate", headers[1])


def install() -> None:
    """The propagators that exist already, and those that will be made, become native."""
    from opentelemetry import propagate

    original = official.TraceContextTextMapPropagator
    if original is TraceContextTextMapPropagator:
        return
    current = propagate.get_global_textmap()
    known = getattr(current, "_propagators", None)
    if isinstance(known, (list, tuple)) and any(type(one) is original for one in known):
        made = [TraceContextTextMapPropagator() if type(one) is original else one for one in known]
        current._propagators = made
    elif type(current) is original:
        propagate.set_global_textmap(TraceContextTextMapPropagator())
