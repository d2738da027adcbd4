"""Does the installed OpenTelemetry have what the native core stands on? Asked once, before anything is installed.

The core keeps its spans in OpenTelemetry's own context and derives from the SDK's classes, which takes private names. A release that moved one of
them must cost the application its native core, not its start or its parentage: whatever fails here is a reason for the official SDK
(`nuages._fallback`) and one log line. First the shapes that C++ relies on without asking again, then two real spans through a provider of their
own, as processors, context and JSON see them. Costs about a millisecond.
"""

from __future__ import annotations

import importlib
from typing import Any, Optional


class Moved(Exception):
    """Something is not where, or not what, it was."""


def _expect(condition: Any, what: str) -> None:
    if not condition:
        raise Moved(what)


# What install() and the native side reach for, besides what the import of nuages.sdk itself asks for.
_NAMES = {
    "opentelemetry.trace": (
        "_TRACER_PROVIDER",
        "_set_tracer_provider",
        "set_tracer_provider",
        "ProxyTracer._tracer",
        "ProxyTracer.start_span",
        "ProxyTracer.start_as_current_span",
        "TraceState.from_header",
        "TraceState.get_default",
    ),
    "opentelemetry.context": ("_RUNTIME_CONTEXT", "attach", "detach", "get_current"),
    "opentelemetry.trace.propagation": ("_SPAN_KEY",),
    "opentelemetry.sdk.trace": (
        "Event",
        "ReadableSpan",
        "Span",
        "SpanLimits",
        "SynchronousMultiSpanProcessor",
        "Tracer",
    ),
    "opentelemetry.sdk.trace.export": ("SimpleSpanProcessor", "BatchSpanProcessor._validate_arguments"),
}


def problem() -> Optional[str]:
    """Why the core cannot work with the installed OpenTelemetry; None when it can."""
    try:
        _check_names()
        _check_shapes()
        _check_spans()
    except Exception as error:
        what = str(error) if isinstance(error, Moved) else f"{type(error).__name__}: {error}"
        return f"it does not fit the installed opentelemetry-sdk {_version()} ({what})"
    return None


def _version() -> str:
    try:
        import importlib.metadata

        return importlib.metadata.version("opentelemetry-sdk")
    except Exception:
        return "(of unknown version)"


def _check_names() -> None:
    for module, names in _NAMES.items():
        for name in names:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                _expect(hasattr(found, part), f"{module} has no {name}")
                found = getattr(found, part)


def _check_shapes() -> None:
    """C++ makes these objects and reads them by position, so a wrong shape would not raise but crash or lie."""
    from opentelemetry import trace as api
    from opentelemetry.context.context import Context
    from opentelemetry.trace.propagation import _SPAN_KEY

    _expect(issubclass(Context, dict) and Context.__setitem__ is not dict.__setitem__, "Context is no read-only dict")
    _expect(isinstance(_SPAN_KEY, str), "the key of the current span is no str")
    flags: Any = api.TraceFlags(api.TraceFlags.SAMPLED)
    _expect(flags.sampled and isinstance(flags, int), "TraceFlags is no int")
    context = api.SpanContext(5, 6, True, flags)
    _expect(isinstance(context, tuple), "SpanContext is no tuple")
    _expect(
        tuple(context) == (5, 6, True, 1, api.TraceState.get_default(), True), "the fields of SpanContext are not known"
    )
    _expect([kind.value for kind in api.SpanKind] == [0, 1, 2, 3, 4], "SpanKind has other values")
    _expect([(one.name, one.value) for one in api.StatusCode] == [("UNSET", 0), ("OK", 1), ("ERROR", 2)], "StatusCode")


def _check_spans() -> None:
    from opentelemetry import context as api_context
    from opentelemetry import trace as api
    from opentelemetry.sdk import trace as sdk
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import sampling

    from nuages.sdk.trace import InternalTracerProvider

    ended: list[Any] = []

    class Keep(sdk.SpanProcessor):  # type: ignore[misc]
        def on_end(self, span: Any) -> None:
            ended.append(span)

    limits = sdk.SpanLimits(*[64] * 8)  # all of them: the environment may hold wrong ones
    provider = InternalTracerProvider(
        sampling.ALWAYS_ON, Resource({"service.name": "self-test"}), False, span_limits=limits
    )
    provider._disabled = False
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("nuages.self_test", "1")
    before = api.get_current_span()
    with tracer.start_as_current_span("outer", context=api_context.Context(), attributes={"k": 1}) as outer:
        _expect(api.get_current_span() is outer, "a span made current is not the current one")
        with api.use_span(api.NonRecordingSpan(api.SpanContext(5, 6, True, api.TraceFlags(1)))):
            inner = tracer.start_span("inner", links=[api.Link(outer.get_span_context())])
        inner.add_event("event", {"k": True})
        inner.set_status(api.StatusCode.ERROR, "why")
        inner.end()
    _expect(api.get_current_span() is before, "the current span is not restored")
    _expect([span.name for span in ended] == ["inner", "outer"], "processors do not get the spans")
    _expect(isinstance(inner, (sdk.ReadableSpan)) and isinstance(inner, api.Span), "the classes of a span")
    _expect((inner.context.trace_id, inner.parent.span_id) == (5, 6), "a span's parent is not the current one")
    _expect(outer.parent is None and dict(outer.attributes) == {"k": 1}, "parent or attributes of a root")
    _expect(inner.links[0].context == outer.context and inner.events[0].name == "event", "links or events")
    _expect(inner.status.status_code is api.StatusCode.ERROR, "the status of a span")
    _expect('"service.name": "self-test"' in inner.to_json(), "a span as JSON")
