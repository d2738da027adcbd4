"""Bad input to the span API: no exception, no wait, limits applied, at most one log line a minute, everything counted."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import nuages
import pytest

nuages.install()

from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider, sampling  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: E402


class Traced:
    def __init__(self, *processors: Any, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, **options)
        for processor in processors:
            provider.add_span_processor(processor)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("bad input")

    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    def one(self) -> Any:
        (span,) = self.spans()
        return span


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


ODD_VALUES = [
    object(), Raising(), {1, 2}, 1 + 2j, 10**40, -(10**40), "\ud800", "a\udfffb", [Raising()], {"k": Raising()}, [[[[1]]]],
    b"\xff\xfe", {b"\xff": 1}, math.nan, math.inf, [1, "a", None, 2.5], {1: 2}, type, len, memoryview(b"x"), range(10**3),
]  # fmt: skip


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: type(value).__name__)
def test_any_value_is_taken_or_dropped(value: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s", attributes={"start": value}) as span:
        span.set_attribute("set", value)
        span.set_attributes({"sets": value, "good": 1})
        span.add_event("event", {"event": value})
        span.record_exception(ValueError(1), {"more": value})
    attributes = traced.one().attributes
    assert attributes["good"] == 1
    assert len(traced.one().events) == 2


def test_a_list_that_contains_itself() -> None:
    traced = Traced()
    endless: list[Any] = []
    endless.append(endless)
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    with traced.tracer.start_as_current_span("s") as span:
        span.set_attribute("list", endless)
        span.set_attribute("mapping", mapping)
        span.set_attribute("good", 1)
    assert traced.one().attributes["good"] == 1


@pytest.mark.parametrize("key", ["", None, 5, b"key", object(), ("a",), Raising()], ids=lambda key: type(key).__name__)
def test_a_bad_key_is_counted_as_dropped(key: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s") as span:
        span.set_attribute(key, 1)
        span.set_attribute("good", 1)
    assert dict(traced.one().attributes) == {"good": 1}
    assert traced.one().dropped_attributes == 1


@pytest.mark.parametrize(
    "attributes", [5, "text", [1, 2], object(), Raising(), iter(())], ids=lambda one: type(one).__name__
)
def test_attributes_that_are_no_mapping(attributes: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s", attributes=attributes) as span:
        span.set_attributes(attributes)
        span.add_event("event", attributes)
    assert not traced.one().attributes
    assert [event.name for event in traced.one().events] == ["event"]


@pytest.mark.parametrize(
    "name", [None, 5, b"bytes", "\ud800", "", object(), "x" * 10**6], ids=lambda one: type(one).__name__
)
def test_any_name(name: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span(name) as span:
        span.update_name(name)
        span.add_event(name)
    assert isinstance(traced.one().name, str)


def test_huge_strings_and_100_000_attributes_stay_within_the_limits() -> None:
    traced = Traced(span_limits=SpanLimits(max_attributes=100, max_attribute_length=50, max_events=10))
    with traced.tracer.start_as_current_span("s", attributes={f"k{n}": n for n in range(1000)}) as span:
        for number in range(100_000):
            span.set_attribute(f"k{number}", "x" * 60)
        for _ in range(1000):
            span.add_event("e", {f"k{n}": n for n in range(200)})
        span.set_attribute("huge", "é" * 10**7)
    done = traced.one()
    assert len(done.attributes) == 100 and done.attributes["huge"] == "é" * 50
    assert done.dropped_attributes + 100 == 1000 + 100_000 + 1
    assert len(done.events) == 10 and done.dropped_events == 990
    assert done.events[0].dropped_attributes == 100


def test_without_a_length_limit_a_span_stays_below_its_hard_limit() -> None:
    traced = Traced(span_limits=SpanLimits(max_attributes=SpanLimits.UNSET))
    with traced.tracer.start_as_current_span("s") as span:
        for number in range(12):
            span.set_attribute(f"k{number}", "x" * 10**7)
    done = traced.one()
    assert sum(map(len, done.attributes.values())) <= 64 << 20
    assert done.dropped_attributes + len(done.attributes) == 12


@pytest.mark.parametrize("given", [-1, -(10**30), 2**64, 10**40, math.nan, math.inf, -0.5, "now", object()])
def test_what_is_no_time_becomes_now(given: Any) -> None:
    traced = Traced()
    before = time.time_ns()
    span = traced.tracer.start_span("s", start_time=given)
    span.add_event("event", timestamp=given)
    span.end(given)
    done = traced.one()
    assert before - 10**9 < done.start_time <= done.events[0].timestamp <= done.end_time < time.time_ns() + 10**9


@pytest.mark.parametrize("given", [2**63, 1, 1.5, 10**18 * 9])
def test_any_time(given: Any) -> None:
    traced = Traced()
    span = traced.tracer.start_span("s", start_time=given)
    span.add_event("event", timestamp=given)
    span.record_exception(ValueError(1), timestamp=given)
    span.end(given)
    done = traced.one()
    for shown in (done.start_time, done.end_time, *(event.timestamp for event in done.events)):
        assert 0 <= shown < 2**64
    done.to_json()


def test_end_twice_and_use_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    traced = Traced()
    span = traced.tracer.start_span("s")
    span.end(5)
    with caplog.at_level(logging.WARNING, "nuages"):
        for _ in range(100):
            span.end(6)
            span.set_attribute("late", 1)
            span.set_attributes({"late": 1})
            span.add_event("late")
            span.record_exception(ValueError("late"))
            span.set_status(sampling.Decision.DROP)
            span.update_name("late")
            with span:
                pass
    done = traced.one()
    assert (done.name, done.end_time, dict(done.attributes), done.events) == ("s", 5, {}, ())
    assert len(caplog.records) <= 6  # one for each method, whatever the number of calls


def test_a_status_that_is_none() -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s") as span:
        for status in (None, 5, "ERROR", object()):
            span.set_status(status)
    assert traced.one().status.is_unset


def test_str_that_uses_the_span_it_is_set_on() -> None:
    traced = Traced()
    span = traced.tracer.start_span("s")

    class Reentrant:
        def __str__(self) -> str:
            span.set_attribute("inner", 1)
            with traced.tracer.start_as_current_span("nested"):
                pass
            span.end(7)
            return "text"

    span.set_attribute("outer", Reentrant())
    span.end()
    assert [done.name for done in traced.spans()] == ["nested", "s"]
    assert dict(traced.spans()[1].attributes) == {"inner": 1}


def test_mappings_that_change_while_they_are_read() -> None:
    traced = Traced()
    changing: dict[str, Any] = {}

    class Changing:
        def __str__(self) -> str:
            changing.clear()
            return "text"

    changing.update({f"k{n}": Changing() for n in range(50)})
    with traced.tracer.start_as_current_span("s") as span:
        span.set_attributes(changing)
    assert len(traced.one().attributes) == 50


def test_processors_that_raise_do_not_reach_the_application(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("start")

        def _on_ending(self, span: Any) -> None:
            raise RuntimeError("ending")

        def on_end(self, span: Any) -> None:
            raise RuntimeError("end")

    traced = Traced(Bad())
    with caplog.at_level(logging.ERROR, "nuages"):
        for _ in range(50):
            with traced.tracer.start_as_current_span("s"):
                pass
    assert len(traced.spans()) == 50
    assert len(caplog.records) == 3  # each method once


class BadSampler(sampling.Sampler):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get_description(self) -> str:
        return "bad"


@pytest.mark.parametrize("answer", [RuntimeError("sampler"), None, 5, "text"], ids=repr)
def test_a_sampler_that_raises_or_answers_nonsense(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    traced = Traced(sampler=BadSampler(answer))
    with caplog.at_level(logging.ERROR, "nuages"):
        for _ in range(20):
            with traced.tracer.start_as_current_span("outer", attributes={"k": 1}):
                with traced.tracer.start_as_current_span("inner"):
                    pass
    assert len(traced.spans()) == 40  # a broken sampler loses nothing
    assert traced.spans()[1].attributes["k"] == 1
    assert len(caplog.records) <= 1


@pytest.mark.parametrize("answer", [RuntimeError("ids"), None, 0, -1, 2**200, "text"], ids=repr)
def test_an_id_generator_that_raises_or_answers_nonsense(answer: Any) -> None:
    class Bad(IdGenerator):
        def generate_trace_id(self) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        generate_span_id = generate_trace_id

    traced = Traced(id_generator=Bad())
    with traced.tracer.start_as_current_span("s"):
        pass
    assert traced.one().context.is_valid


@pytest.mark.parametrize("links", [5, [5], [None], "text", [object()]], ids=repr)
def test_links_that_are_none(links: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s", links=links) as span:
        span.add_link(links)
    assert traced.one().links == ()


@pytest.mark.parametrize("context", [5, "text", object(), {}], ids=repr)
def test_a_context_that_is_none(context: Any) -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("s", context=context):
        pass
    assert traced.one().parent is None


def test_an_exception_without_text_and_one_whose_str_raises() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    traced = Traced()
    for number, error in enumerate((Broken(), ValueError(), "no exception", None)):
        with traced.tracer.start_as_current_span(f"s{number}") as span:
            span.record_exception(error)  # type: ignore[arg-type]
    with pytest.raises(Broken):
        with traced.tracer.start_as_current_span("raised"):
            raise Broken
    assert len(traced.spans()) == 5
