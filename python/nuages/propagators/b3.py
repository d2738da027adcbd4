"""B3, Zipkin's headers: one `b3` header (OTEL_PROPAGATORS=b3) or several `x-b3-*` (b3multi). Both read either form.

Source: github.com/openzipkin/b3-propagation; where it leaves a choice, as opentelemetry-propagator-b3 has it: a deferred decision counts as
sampled, the debug flag too, a trace id of 16 digits is extended with zeros.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter

from nuages.propagators import support

_SINGLE = "b3"
_TRACE_ID, _SPAN_ID, _SAMPLED, _FLAGS = "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"
_ACCEPT = frozenset({"1", "true", "True", "d"})
_TRACE_ID_FORM = re.compile(r"[0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?")
_SPAN_ID_FORM = re.compile(r"[0-9a-fA-F]{16}")


class B3MultiFormat(TextMapPropagator):  # type: ignore[misc]
    def extract(self, carrier: Any, context: Optional[Context] = None, getter: Any = default_getter) -> Context:
        context = Context() if context is None else context
        single = support.first(getter.get(carrier, _SINGLE))
        flags: Optional[str] = None
        if single:
            # trace-span[-sampled[-parent]]; a lone field is the decision only, which makes no parent
            parts = single.split("-", 4)
            if not 2 <= len(parts) <= 4:
                return context
            trace_id, span_id = parts[0], parts[1]
            sampled: Optional[str] = parts[2] if len(parts) > 2 else "1"
        else:
            trace_id = support.first(getter.get(carrier, _TRACE_ID)) or ""
            span_id = support.first(getter.get(carrier, _SPAN_ID)) or ""
            sampled = support.first(getter.get(carrier, _SAMPLED))
            flags = support.first(getter.get(carrier, _FLAGS))
        if not _TRACE_ID_FORM.fullmatch(trace_id) or not _SPAN_ID_FORM.fullmatch(span_id):
            return context
        accepted = sampled in _ACCEPT or flags == "1"
        return support.with_remote_parent(int(trace_id, 16), int(span_id, 16), accepted, context)

    def inject(self, carrier: Any, context: Optional[Context] = None, setter: Any = default_setter) -> None:
        current = support.to_send(context)
        if current is not None:
            setter.set(carrier, _TRACE_ID, trace.format_trace_id(current.trace_id))
            setter.set(carrier, _SPAN_ID, trace.format_span_id(current.span_id))
            setter.set(carrier, _SAMPLED, "1" if current.trace_flags & 1 else "0")

    @property
    def fields(self) -> set[str]:
        return {_TRACE_ID, _SPAN_ID, _SAMPLED}


class B3SingleFormat(B3MultiFormat):
    def inject(self, carrier: Any, context: Optional[Context] = None, setter: Any = default_setter) -> None:
        current = support.to_send(context)
        if current is not None:
            ids = f"{trace.format_trace_id(current.trace_id)}-{trace.format_span_id(current.span_id)}"
            setter.set(carrier, _SINGLE, f"{ids}-{'1' if current.trace_flags & 1 else '0'}")

    @property
    def fields(self) -> set[str]:
        return {_SINGLE}
