"""What the propagators share."""

from __future__ import annotations

from typing import Any, Optional

from opentelemetry import trace
from opentelemetry.context import Context


def first(values: Any) -> Optional[str]:
    """The first value of a header, or None."""
    return None if values is None else next(iter(values), None)


def to_send(context: Optional[Context]) -> Optional[trace.SpanContext]:
    """The current span's context; None when there is nothing to send."""
    current = trace.get_current_span(context).get_span_context()
    return None if current == trace.INVALID_SPAN_CONTEXT else current


def with_remote_parent(trace_id: int, span_id: int, sampled: bool, context: Context) -> Context:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=trace.TraceState())
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
