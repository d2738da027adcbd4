"""Processors: order, errors, private fields, masking whatever the order of registration; batch and simple processors over Python exporters."""

from __future__ import annotations

import logging
import re
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult


class Recorder(SpanProcessor):
    def __init__(self, name: str, log: list[Any]) -> None:
        self.name, self.log = name, log

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.log.append((self.name, "start", span.name, span.is_recording(), parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        self.log.append((self.name, "end", span.name, span.end_time is not None, dict(span.attributes)))


class WordMasker(SpanProcessor):
    """Written like the masking processor that tutorials show: the name at the start, string attributes at the end."""

    word = re.compile("secret")

    def on_start(self, span: ReadableSpan, parent_context: Any = None) -> None:
        if hasattr(span, "_name"):
            span._name = self.word.sub("*", span._name)

    def on_end(self, span: ReadableSpan) -> None:
        if hasattr(span, "attributes"):
            for key, value in span.attributes.items():
                if isinstance(value, str):
                    span.attributes[key] = self.word.sub("*", value)


def test_processors_run_in_order_with_what_they_need(make_traced: Any) -> None:
    log: list[Any] = []
    traced = make_traced(Recorder("first", log), Recorder("second", log))
    context = trace.set_span_in_context(trace.INVALID_SPAN)
    span = traced.tracer.start_span("a", context=context)
    span.set_attribute("k", 1)
    span.end()
    assert log == [
        ("first", "start", "a", True, context),
        ("second", "start", "a", True, context),
        ("first", "end", "a", True, {"k": 1}),
        ("second", "end", "a", True, {"k": 1}),
    ]


def test_a_masking_processor_takes_effect_wherever_it_is_registered(make_traced: Any) -> None:
    for after_export in (False, True):
        traced = make_traced(*([] if after_export else [WordMasker()]))
        if after_export:
            traced.provider.add_span_processor(WordMasker())
        with traced.tracer.start_as_current_span("the secret name") as span:
            span.set_attribute("k", "a secret value")
            span.set_attribute("number", 5)
        (done,) = traced.spans()
        assert done.name == "the * name"
        assert dict(done.attributes) == {"k": "a * value", "number": 5}


def test_private_fields_are_writable(make_traced: Any) -> None:
    class Rewriter(SpanProcessor):
        def on_end(self, span: Any) -> None:
            span._attributes = {"only": 1}
            span._attributes._dict["more"] = 2
            span._events = ()
            span._name = "renamed"
            span._status = trace.Status(trace.StatusCode.ERROR, "replaced")
            del span._attributes["only"]

    traced = make_traced(Rewriter())
    span = traced.tracer.start_span("a", attributes={"gone": 1})
    span.add_event("gone")
    span.set_status(trace.StatusCode.OK)
    span.end()
    (done,) = traced.spans()
    assert (done.name, dict(done.attributes), done.events) == ("renamed", {"more": 2}, ())
    assert done.status.description == "replaced"


def test_a_raising_processor_is_logged_once_and_the_others_run(make_traced: Any, caplog: Any) -> None:
    class Bad(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("start")

        def on_end(self, span: Any) -> None:
            raise RuntimeError("end")

    log: list[Any] = []
    traced = make_traced(Bad(), Recorder("good", log))
    with caplog.at_level(logging.ERROR, logger="nuages"):
        for _ in range(3):
            traced.tracer.start_span("a").end()
    assert len(log) == 6 and len(traced.spans()) == 3
    assert len([record for record in caplog.records if "Bad.on_end" in record.message]) == 1
    assert len([record for record in caplog.records if "Bad.on_start" in record.message]) == 1


def test_spans_made_inside_processors(make_traced: Any) -> None:
    class Nested(SpanProcessor):
        def on_end(self, span: Any) -> None:
            if span.name == "a":
                traced.tracer.start_span("from on_end").end()

    traced = make_traced(Nested())
    traced.tracer.start_span("a").end()
    assert sorted(span.name for span in traced.spans()) == ["a", "from on_end"]


def test_batch_processor_over_a_python_exporter(make_traced: Any) -> None:
    traced = make_traced()
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000)
    traced.provider.add_span_processor(processor)
    assert processor.pipeline is None
    for number in range(5):
        traced.tracer.start_span(str(number)).end()
    assert traced.provider.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["0", "1", "2", "3", "4"]
    traced.provider.shutdown()


def test_python_exporters_get_masked_copies(make_traced: Any) -> None:
    traced = make_traced()
    span = traced.tracer.start_span("mail jane@example.com")
    span.set_attribute("to", ["jane@example.com", "x"])
    span.set_attribute("order", 5551234567)
    span.add_event("sent to jane@example.com", {"ssn": "123-45-6789"})
    span.set_status(trace.StatusCode.ERROR, "no such user jane@example.com")
    span.end()
    (done,) = traced.spans()
    assert done is not span and done.context == span.get_span_context()
    assert done.name == "mail ***@***.**"
    assert done.attributes == {"to": ("***@***.**", "x"), "order": 5551234567}
    assert done.events[0].name == "sent to ***@***.**" and done.events[0].attributes["ssn"] == "***-**-****"
    assert done.status.description == "no such user ***@***.**"
    assert span.name == "mail jane@example.com"
    assert (done.start_time, done.end_time) == (span.start_time, span.end_time)


def test_a_wrapping_processor_decides_what_is_exported(make_traced: Any) -> None:
    class OnlyErrors(SpanProcessor):
        def __init__(self, inner: SpanProcessor) -> None:
            self.inner = inner

        def on_end(self, span: Any) -> None:
            if span.status.status_code is trace.StatusCode.ERROR:
                self.inner.on_end(span)

    exporter = InMemorySpanExporter()
    traced = make_traced(OnlyErrors(SimpleSpanProcessor(exporter)))
    traced.tracer.start_span("fine").end()
    bad = traced.tracer.start_span("bad")
    bad.set_status(trace.StatusCode.ERROR)
    bad.end()
    assert [span.name for span in exporter.get_finished_spans()] == ["bad"]


def test_a_failing_exporter_is_no_concern_of_the_application(make_traced: Any, caplog: Any) -> None:
    class Failing(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            raise RuntimeError("down")

    traced = make_traced(SimpleSpanProcessor(Failing()))
    traced.tracer.start_span("a").end()
    assert "down" in caplog.text


def test_record_only_spans_reach_processors_but_no_exporter(make_traced: Any) -> None:
    class RecordOnly(Sampler):
        def should_sample(
            self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any
        ) -> SamplingResult:
            return SamplingResult(Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "RecordOnly"

    log: list[Any] = []
    traced = make_traced(Recorder("all", log), sampler=RecordOnly())
    span = traced.tracer.start_span("a")
    assert span.is_recording() and not span.get_span_context().trace_flags.sampled
    span.end()
    assert len(log) == 2 and traced.spans() == ()


def test_processors_are_not_called_for_unsampled_spans(make_traced: Any) -> None:
    log: list[Any] = []
    traced = make_traced(Recorder("all", log), sampler=ALWAYS_OFF)
    traced.tracer.start_span("a").end()
    assert log == []


def test_processors_set_through_the_private_tuple(make_traced: Any) -> None:
    traced = make_traced()
    log: list[Any] = []
    traced.provider._active_span_processor._span_processors += (Recorder("late", log),)
    traced.tracer.start_span("a").end()
    assert len(log) == 2 and len(traced.spans()) == 1


def test_shutdown_is_idempotent_and_makes_spans_no_ops(make_traced: Any) -> None:
    calls = []

    class Counting(SpanProcessor):
        def shutdown(self) -> None:
            calls.append(1)

    traced = make_traced(Counting())
    traced.provider.shutdown()
    traced.provider.shutdown()
    assert calls == [1]
    span = traced.tracer.start_span("late")
    assert not span.is_recording()
    span.end()
    assert traced.spans() == ()


def test_concurrent_multi_processor(make_traced: Any) -> None:
    from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider

    log: list[Any] = []
    group = ConcurrentMultiSpanProcessor()
    provider = TracerProvider(active_span_processor=group, shutdown_on_exit=False)
    provider.add_span_processor(Recorder("a", log))
    provider.get_tracer("x").start_span("s").end()
    assert sorted(entry[1] for entry in log) == ["end", "start"]
    provider.shutdown()
