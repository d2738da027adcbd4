"""A tracer that counts its spans through the application's MeterProvider (`otel.sdk.span.started`, `otel.sdk.span.live`), as the SDK does under
OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED. It costs Python code on every span, so nothing here is used without that variable; spans of hooks are
not counted here (`NUAGES_SELF_METRICS` counts natively).
"""

from __future__ import annotations

import os
from typing import Any, Optional

from opentelemetry import trace as api
from opentelemetry.sdk.trace import sampling

from nuages import settings

_VARIABLE = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"


def wanted() -> bool:
    return os.environ.get(_VARIABLE, "").strip().lower() in settings.TRUE_WORDS


def metered(tracer_class: Any, official: Any) -> Any:
    """The subclass of our Tracer that counts; `official` has the start_as_current_span that goes through start_span."""

    class MeteredTracer(tracer_class):  # type: ignore[misc]
        _open: dict[int, Any]  # span id -> what to call at its end; shared with the provider

        def start_span(self, name: str, context: Optional[Any] = None, *args: Any, **kwargs: Any) -> Any:
            parent = api.get_current_span(context).get_span_context()
            span = super().start_span(name, context, *args, **kwargs)
            if not span.is_recording():
                decision = sampling.Decision.DROP
            elif span.get_span_context().trace_flags.sampled:
                decision = sampling.Decision.RECORD_AND_SAMPLE
            else:
                decision = sampling.Decision.RECORD_ONLY
            end = self._tracer_metrics.start_span(parent if parent.is_valid else None, decision)
            if decision.is_recording():
                self._open[span.get_span_context().span_id] = end
            return span

        start_as_current_span = official.start_as_current_span

    return MeteredTracer


def on_end(open_spans: dict[int, Any]) -> Any:
    def ended(span: Any) -> None:
        end = open_spans.pop(span.get_span_context().span_id, None)
        if end is not None:
            end()

    return ended
