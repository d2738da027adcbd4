"""Spans: parentage, attributes, status, exceptions, events, links, limits; what the API promises and the SDK's classes are."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import context as api_context
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

REMOTE = SpanContext(
    trace_id=0x0102030405060708090A0B0C0D0E0F10,
    span_id=0x1122334455667788,
    is_remote=True,
    trace_flags=TraceFlags(TraceFlags.SAMPLED),
    trace_state=TraceState([("vendor", "x")]),
)


def remote_context() -> Any:
    return trace.set_span_in_context(trace.NonRecordingSpan(REMOTE))


# ---- identity and classes


def test_span_is_of_the_official_classes(traced: Any) -> None:
    with traced.tracer.start_as_current_span("a") as span:
        assert isinstance(span, trace.Span)
        assert isinstance(span, sdk.Span)
        assert isinstance(span, sdk.ReadableSpan)
        assert isinstance(span.get_span_context(), SpanContext)
        assert span.get_span_context() is span.get_span_context()
        assert trace.get_current_span() is span
    assert isinstance(traced.tracer, trace.Tracer)
    assert isinstance(traced.tracer, sdk.Tracer)
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_span_cannot_be_made_by_hand() -> None:
    from nuages.sdk.trace import Span

    with pytest.raises(TypeError):
        Span("a", REMOTE)


def test_ids_are_random_and_flags_say_so(traced: Any) -> None:
    contexts = [traced.tracer.start_span("a").get_span_context() for _ in range(500)]
    assert len({context.trace_id for context in contexts}) == 500
    assert len({context.span_id for context in contexts}) == 500
    assert all(context.trace_flags == 3 and context.is_valid and not context.is_remote for context in contexts)


def test_json_matches_the_objects(traced: Any) -> None:
    import json

    with traced.tracer.start_as_current_span("a", attributes={"k": 1}) as span:
        span.add_event("e", {"x": "y"}, timestamp=5)
    shown = json.loads(traced["a"].to_json())
    assert shown["name"] == "a"
    assert shown["attributes"] == {"k": 1}
    assert shown["events"][0]["attributes"] == {"x": "y"}
    assert shown["context"]["span_id"] == f"0x{traced['a'].context.span_id:016x}"


# ---- parentage


def test_nested_spans(traced: Any) -> None:
    with traced.tracer.start_as_current_span("outer") as outer:
        with traced.tracer.start_as_current_span("inner") as inner:
            assert inner.parent == outer.get_span_context()
        loose = traced.tracer.start_span("loose")
        assert trace.get_current_span() is outer
        loose.end()
    assert traced["outer"].parent is None
    assert traced["loose"].parent.span_id == outer.get_span_context().span_id
    assert {span.context.trace_id for span in traced.spans()} == {outer.get_span_context().trace_id}


def test_explicit_context_wins_over_the_current_one(traced: Any) -> None:
    with traced.tracer.start_as_current_span("other"):
        with traced.tracer.start_as_current_span("a", context=remote_context()) as span:
            assert span.parent == REMOTE
            assert span.get_span_context().trace_id == REMOTE.trace_id
            assert span.get_span_context().trace_state["vendor"] == "x"
        root = traced.tracer.start_span("root", context=api_context.Context())
        assert root.parent is None


def test_a_foreign_current_span_is_the_parent(traced: Any) -> None:
    token = api_context.attach(remote_context())
    try:
        with traced.tracer.start_as_current_span("a") as span:
            assert span.parent.span_id == REMOTE.span_id
            assert span.parent.is_remote
    finally:
        api_context.detach(token)


def test_use_span_of_the_api_works_on_native_spans(traced: Any) -> None:
    span = traced.tracer.start_span("a")
    with pytest.raises(ValueError), trace.use_span(span, end_on_exit=True):
        assert trace.get_current_span() is span
        raise ValueError("x")
    assert traced["a"].status.status_code is StatusCode.ERROR
    assert [event.name for event in traced["a"].events] == ["exception"]


def test_other_values_in_the_context_survive(traced: Any) -> None:
    token = api_context.attach(api_context.set_value("mine", 7))
    try:
        with traced.tracer.start_as_current_span("a"):
            assert api_context.get_value("mine") == 7
    finally:
        api_context.detach(token)


def test_exit_leaves_somebody_elses_context_alone(traced: Any) -> None:
    manager = traced.tracer.start_as_current_span("a")
    manager.__enter__()
    token = api_context.attach(api_context.set_value("mine", 7))
    manager.__exit__(None, None, None)
    assert api_context.get_value("mine") == 7
    api_context.detach(token)
    assert len(traced.spans()) == 1
    api_context.attach(api_context.Context())


def test_threads_start_their_own_traces(traced: Any) -> None:
    with traced.tracer.start_as_current_span("main"):
        thread = threading.Thread(target=lambda: traced.tracer.start_span("in thread").end())
        thread.start()
        thread.join()
    assert traced["in thread"].parent is None


def test_concurrent_tasks_do_not_mix(traced: Any) -> None:
    async def one(number: int) -> None:
        with traced.tracer.start_as_current_span(f"request {number}"):
            await asyncio.sleep(0)
            with traced.tracer.start_as_current_span(f"query {number}"):
                await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(all_of_them())
    for number in range(20):
        assert traced[f"query {number}"].parent.span_id == traced[f"request {number}"].context.span_id
        assert traced[f"request {number}"].parent is None


def test_another_runtime_context_is_honoured(traced: Any, monkeypatch: Any) -> None:
    from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

    monkeypatch.setattr(api_context, "_RUNTIME_CONTEXT", ContextVarsRuntimeContext())
    with traced.tracer.start_as_current_span("a") as span:
        assert trace.get_current_span() is span
    assert trace.get_current_span() is trace.INVALID_SPAN


# ---- decorators


def test_decorated_function_makes_a_span_for_each_call(traced: Any) -> None:
    @traced.tracer.start_as_current_span("work", attributes={"k": 1})
    def work(value: int) -> int:
        """Doubles."""
        return value * 2

    assert [work(1), work(2)] == [2, 4]
    assert work.__name__ == "work" and work.__doc__ == "Doubles."
    assert [span.attributes["k"] for span in traced.spans()] == [1, 1]


def test_decorated_coroutine_ends_after_its_body(traced: Any) -> None:
    @traced.tracer.start_as_current_span("work")
    async def work() -> Any:
        await asyncio.sleep(0)
        span = trace.get_current_span()
        assert span.is_recording()
        return span

    assert asyncio.iscoroutinefunction(work)
    span = asyncio.run(work())
    assert not span.is_recording()
    assert len(traced.spans()) == 1


# ---- attributes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (True, True),
        (7, 7),
        (-(2**63), -(2**63)),
        (1.5, 1.5),
        (b"\x00\xff", b"\x00\xff"),
        ([1, 2], (1, 2)),
        (["a", "b"], ("a", "b")),
        ((True, False), (True, False)),
        ([], ()),
        ({"a": {"b": [1, "x"]}}, {"a": {"b": (1, "x")}}),
        ([1, "a", None], (1, "a", None)),
        ("Wörld ☃ 日本", "Wörld ☃ 日本"),
    ],
)
def test_attribute_values_keep_their_type(traced: Any, value: Any, expected: Any) -> None:
    span = traced.tracer.start_span("a", attributes={"start": value})
    span.set_attribute("k", value)
    span.end()
    for key in ("start", "k"):
        stored = traced["a"].attributes[key]
        assert stored == expected
        assert type(stored) is type(expected)


def test_odd_values_are_treated_as_the_installed_sdk_does(traced: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        span = traced.tracer.start_span("a")
        span.set_attribute("decimal", Decimal("1.20"))
        span.set_attribute("none", None)
        span.set_attribute("big", 2**80)
        span.set_attribute("", "no key")
        span.set_attribute(None, "no key")  # type: ignore[arg-type]
        span.end()
    assert dict(traced["a"].attributes) == {"decimal": "1.20", "none": None, "big": str(2**80)}
    assert "Decimal" in caplog.text


def test_lone_surrogates_do_no_harm(traced: Any) -> None:
    traced.tracer.start_span("\udc80name", attributes={"k": "\udcff"}).end()
    assert traced.spans()[0].attributes["k"] == "?"


def test_setting_again_replaces(traced: Any) -> None:
    span = traced.tracer.start_span("a", attributes={"k": 1})
    span.set_attributes({"k": 2, "other": True})
    span.end()
    assert dict(traced["a"].attributes) == {"k": 2, "other": True}


def test_attributes_mapping_behaves_like_a_dict(traced: Any) -> None:
    span = traced.tracer.start_span("a", attributes={"k": 1, "l": "x"})
    assert span.attributes == {"k": 1, "l": "x"}
    assert "k" in span.attributes and "z" not in span.attributes
    assert span.attributes.get("z", 5) == 5
    assert list(span.attributes) == ["k", "l"] and len(span.attributes) == 2
    with pytest.raises(KeyError):
        span.attributes["z"]
    span.end()


# ---- status, name, end


def test_status_precedence(traced: Any) -> None:
    span = traced.tracer.start_span("a")
    span.set_status(StatusCode.ERROR, "bad")
    assert span.status.status_code is StatusCode.ERROR and span.status.description == "bad"
    span.set_status(StatusCode.UNSET)
    assert span.status.status_code is StatusCode.ERROR
    span.set_status(Status(StatusCode.OK))
    assert span.status.status_code is StatusCode.OK and span.status.description is None
    span.set_status(Status(StatusCode.ERROR, "late"))
    assert span.status.status_code is StatusCode.OK
    span.end()


def test_calls_after_the_end_are_ignored(traced: Any) -> None:
    span = traced.tracer.start_span("a")
    span.end(end_time=span.start_time + 10)
    span.set_attribute("k", 1)
    span.set_attributes({"k": 1})
    span.add_event("e")
    span.set_status(StatusCode.ERROR)
    span.update_name("b")
    span.record_exception(ValueError("x"))
    span.end()
    (only,) = traced.spans()
    assert (only.name, dict(only.attributes), only.events) == ("a", {}, ())
    assert only.end_time - only.start_time == 10
    assert not span.is_recording()


def test_explicit_times_are_kept(traced: Any) -> None:
    span = traced.tracer.start_span("a", start_time=1_000)
    span.add_event("e", timestamp=1_500)
    span.end(end_time=2_000)
    assert (traced["a"].start_time, traced["a"].events[0].timestamp, traced["a"].end_time) == (1_000, 1_500, 2_000)


def test_kind_and_scope_and_resource(traced: Any) -> None:
    for kind in SpanKind:
        traced.tracer.start_span(kind.name, kind=kind).end()
    for kind in SpanKind:
        assert traced[kind.name].kind is kind
    assert traced["SERVER"].instrumentation_scope.name == "tests"
    assert traced["SERVER"].instrumentation_scope.version == "1.0"
    assert traced["SERVER"].resource is traced.provider.resource


# ---- exceptions


def test_escaping_exception_is_recorded_and_raised_unchanged(traced: Any) -> None:
    error = KeyError("gone")
    with pytest.raises(KeyError) as caught, traced.tracer.start_as_current_span("a"):
        raise error
    assert caught.value is error
    span = traced["a"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "KeyError: 'gone'"
    (event,) = span.events
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.message"] == "'gone'"
    assert "test_escaping_exception" in event.attributes["exception.stacktrace"]
    assert event.attributes["exception.escaped"] == "False"


def test_the_same_exception_is_recorded_once(traced: Any) -> None:
    with pytest.raises(ValueError), traced.tracer.start_as_current_span("a") as span:
        try:
            raise ValueError("x")
        except ValueError as error:
            span.record_exception(error, {"extra": 1})
            raise
    assert len(traced["a"].events) == 1
    assert traced["a"].events[0].attributes["extra"] == 1


def test_two_exceptions_are_two_events(traced: Any) -> None:
    span = traced.tracer.start_span("a")
    span.record_exception(ValueError("1"))
    span.record_exception(ValueError("1"))
    span.end()
    assert len(traced["a"].events) == 2


def test_switches_for_exceptions(traced: Any) -> None:
    with pytest.raises(ValueError), traced.tracer.start_as_current_span("a", record_exception=False):
        raise ValueError("x")
    with pytest.raises(ValueError), traced.tracer.start_as_current_span("b", set_status_on_exception=False):
        raise ValueError("x")
    assert traced["a"].events == () and traced["a"].status.status_code is StatusCode.ERROR
    assert len(traced["b"].events) == 1 and traced["b"].status.status_code is StatusCode.UNSET


def test_end_on_exit_can_be_switched_off(traced: Any) -> None:
    with traced.tracer.start_as_current_span("a", end_on_exit=False) as span:
        pass
    assert span.is_recording() and traced.spans() == ()
    span.end()
    assert len(traced.spans()) == 1


def test_base_exceptions_are_no_errors_of_the_work(traced: Any) -> None:
    with pytest.raises(GeneratorExit), traced.tracer.start_as_current_span("a"):
        raise GeneratorExit
    assert traced["a"].events == () and traced["a"].status.status_code is StatusCode.UNSET


def test_span_as_context_manager_records_what_escapes(traced: Any) -> None:
    with pytest.raises(ValueError), traced.tracer.start_span("a"):
        raise ValueError("x")
    assert traced["a"].events[0].attributes["exception.escaped"] == "True"
    assert traced["a"].status.description == "ValueError: x"


def test_exception_with_a_broken_str(traced: Any) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(Broken), traced.tracer.start_as_current_span("a"):
        raise Broken
    assert traced["a"].status.status_code is StatusCode.ERROR


# ---- links, events, limits


def test_links(traced: Any) -> None:
    span = traced.tracer.start_span("a", links=[Link(REMOTE, {"k": 1}), Link(trace.INVALID_SPAN_CONTEXT)])
    span.add_link(REMOTE, {"late": True})
    span.end()
    first, second = traced["a"].links
    assert first.context == REMOTE and dict(first.attributes) == {"k": 1}
    assert dict(second.attributes) == {"late": True}


def test_limits_are_enforced_and_counted(make_traced: Any) -> None:
    limits = SpanLimits(max_attributes=2, max_events=2, max_links=1, max_attribute_length=3)
    traced = make_traced(span_limits=limits)
    span = traced.tracer.start_span("a", links=[Link(REMOTE), Link(REMOTE)])
    for number in range(4):
        span.set_attribute(f"k{number}", "Ünïcode")
        span.add_event(f"e{number}", {"a": "abcdef", "b": 1, "c": 2})
    span.end()
    done = traced["a"]
    assert dict(done.attributes) == {"k2": "Ünï", "k3": "Ünï"}  # the oldest go, as in the SDK
    assert done.dropped_attributes == 2
    assert [event.name for event in done.events] == ["e2", "e3"]
    assert done.dropped_events == 2
    assert len(done.links) == 1 and done.dropped_links == 1
    assert len(done.events[0].attributes) == 2 and done.events[0].dropped_attributes == 1


# ---- not recording


def test_unsampled_spans_are_harmless(make_traced: Any) -> None:
    traced = make_traced(sampler=ALWAYS_OFF)
    with traced.tracer.start_as_current_span("a", attributes={"k": 1}) as span:
        assert isinstance(span, trace.NonRecordingSpan)
        assert not span.is_recording()
        assert span.get_span_context().is_valid and not span.get_span_context().trace_flags.sampled
        span.set_attribute("k", 1)
        span.set_attributes({})
        span.add_event("e", {})
        span.set_status(StatusCode.ERROR, "x")
        span.record_exception(ValueError("x"))
        span.update_name("b")
        assert trace.get_current_span() is span
        with traced.tracer.start_as_current_span("b") as child:
            assert child.get_span_context().trace_id == span.get_span_context().trace_id
        span.end()
    assert traced.spans() == ()


def test_a_provider_made_after_the_environment_changed_is_disabled(monkeypatch):
    """OTEL_SDK_DISABLED set by the program itself, after nuages was imported."""
    assert not isinstance(sdk.TracerProvider(shutdown_on_exit=False).get_tracer("x"), trace.NoOpTracer)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert isinstance(sdk.TracerProvider(shutdown_on_exit=False).get_tracer("x"), trace.NoOpTracer)


def test_spans_are_counted_through_the_meter_provider_when_asked(monkeypatch):
    """OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED: otel.sdk.span.started and .live, as the SDK has them."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    if "meter_provider" not in inspect.signature(sdk.TracerProvider.__mro__[1].__init__).parameters:
        pytest.skip("this opentelemetry-sdk does not count its spans")
    provider = sdk.TracerProvider(shutdown_on_exit=False, meter_provider=MeterProvider([reader]))

    def counts() -> dict[str, int]:
        metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        return {
            metric.name: sum(point.value for point in metric.data.data_points)
            for metric in metrics
            if "sdk.span" in metric.name
        }

    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("order"):
        tracer.start_span("line")
        assert counts() == {"otel.sdk.span.started": 2, "otel.sdk.span.live": 2}
    assert counts() == {"otel.sdk.span.started": 2, "otel.sdk.span.live": 1}
