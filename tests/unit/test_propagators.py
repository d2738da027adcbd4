"""Propagators through the API's own mechanism; that they equal the official ones is shown by tests/differential."""

from __future__ import annotations

from typing import Any

import pytest

PROGRAM = """
import nuages
nuages.install()
from opentelemetry import baggage, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider(shutdown_on_exit=False)
with provider.get_tracer("t").start_as_current_span("outer") as span:
    carrier = {}
    propagate.inject(carrier, baggage.set_baggage("user", "a b"))
print(*sorted(carrier))
found = propagate.extract(carrier, propagate.Context())
assert trace.get_current_span(found).get_span_context().span_id == span.get_span_context().span_id
assert trace.get_current_span(found).get_span_context().trace_flags.sampled
print(dict(baggage.get_all(found)))
print(*[type(one).__module__ for one in propagate.get_global_textmap()._propagators])
"""


@pytest.mark.parametrize(
    ("propagators", "headers", "entries", "module"),
    [
        ("", "baggage traceparent", {"user": "a b"}, "nuages.propagators.tracecontext"),
        ("tracecontext", "traceparent", {}, "nuages.propagators.tracecontext"),
        ("b3", "b3", {}, ""),
        ("b3multi", "x-b3-sampled x-b3-spanid x-b3-traceid", {}, ""),
        ("jaeger", "uber-trace-id uberctx-user", {"user": "a b"}, ""),
        ("tracecontext,b3,jaeger", "b3 traceparent uber-trace-id uberctx-user", {"user": "a b"}, "nuages"),
    ],
)
def test_the_variable_chooses(
    run_python: Any, propagators: str, headers: str, entries: dict[str, str], module: str
) -> None:
    environment = {"OTEL_PROPAGATORS": propagators} if propagators else {}
    lines = run_python(PROGRAM, hide_official=True, **environment).stdout.splitlines()
    assert lines[:2] == [headers, str(entries)]
    assert lines[2].startswith(module)


def test_a_tracer_that_is_not_ours_is_propagated_too(run_python: Any) -> None:
    run_python(
        """
        import nuages
        nuages.install()
        from opentelemetry import propagate, trace
        context = trace.SpanContext(5, 6, True, trace.TraceFlags(0xFF), trace.TraceState([("k", "v")]))
        carrier = {}
        propagate.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(context)))
        assert carrier == {"traceparent": f"00-{5:032x}-{6:016x}-ff", "tracestate": "k=v"}, carrier
        assert trace.get_current_span(propagate.extract(carrier)).get_span_context() == context
        propagate.inject(empty := {}, propagate.Context())
        assert empty == {}
        """
    )
