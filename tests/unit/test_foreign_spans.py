"""Spans that are not ours in front of the native exporters: what arrives is what the official encoder makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

STATE = TraceState([("vendor", "value")])


def readable(
    name: str = "made by hand", service: str = "shop", parent: Any = None, sampled: bool = True
) -> ReadableSpan:
    context = SpanContext(
        0x5AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, TraceFlags(int(sampled)), STATE
    )
    linked = SpanContext(0x11, 0x22, True, TraceFlags(1))
    return ReadableSpan(
        name,
        context,
        parent,
        Resource({"service.name": service}),
        {"text": "ü", "number": 7, "float": 0.5, "flag": True, "list": ["a", "b"], **{f"k{n}": n for n in range(300)}},
        [Event("first", {"n": 1}, 1_700_000_000_000_000_001), Event("second", {}, 1_700_000_000_000_000_002)],
        [Link(linked, {"why": "because"})],
        SpanKind.CLIENT,
        None,
        Status(StatusCode.ERROR, "broken"),
        1_700_000_000_000_000_000,
        1_700_000_001_000_000_000,
        InstrumentationScope("a library", "1.2", "https://schema"),
    )


PARENTS = {
    "root": None,
    "local parent": SpanContext(0x5AF7651916CD43DD8448EB211C80319C, 0x99, False, TraceFlags(1), STATE),
    "remote parent": SpanContext(0x5AF7651916CD43DD8448EB211C80319C, 0x99, True, TraceFlags(1), STATE),
}


def plain(group: Any) -> Any:
    """Without what is ours alone: the version in the resource, and fields of links that the official encoder leaves out."""
    for one in list(group.resource.attributes):
        if one.key == "nuages.version":
            group.resource.attributes.remove(one)
    for scope in group.scope_spans:
        for span in scope.spans:
            for link in span.links:
                link.flags = 0
    return group


@pytest.mark.parametrize("parent", PARENTS)
def test_a_readable_span_arrives_whole(otlp_server: Any, parent: str) -> None:
    span = readable(parent=PARENTS[parent])
    exporter = OTLPSpanExporter(endpoint=otlp_server.endpoint)
    assert exporter.export([span]) is SpanExportResult.SUCCESS
    (sent,) = otlp_server.received[0].request.resource_spans
    (expected,) = encode_spans([span]).resource_spans
    assert plain(sent) == plain(expected)
    exporter.shutdown()


def test_each_resource_keeps_its_spans(otlp_server: Any, make_traced: Any) -> None:
    traced = make_traced(resource=Resource({"service.name": "ours"}))
    traced.tracer.start_span("ours").end()
    exporter = OTLPSpanExporter(endpoint=otlp_server.endpoint)
    spans = [readable("a", "one"), *traced.spans(), readable("b", "two"), readable("c", "one")]
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    arrived = [
        ({one.key: one.value.string_value for one in group.resource.attributes}["service.name"], span.name)
        for received in otlp_server.received
        for group in received.request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]
    assert sorted(arrived) == [("one", "a"), ("one", "c"), ("ours", "ours"), ("two", "b")]
    exporter.shutdown()


class Redacting(SpanExporter):
    """As programs write it: a copy with less in it goes to the exporter inside."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner

    def export(self, spans: Any) -> Any:
        return self.inner.export(
            [
                ReadableSpan(
                    name=span.name,
                    context=span.context,
                    parent=span.parent,
                    resource=span.resource,
                    attributes={key: value for key, value in span.attributes.items() if key != "secret"},
                    events=span.events,
                    links=span.links,
                    kind=span.kind,
                    status=span.status,
                    start_time=span.start_time,
                    end_time=span.end_time,
                    instrumentation_scope=span.instrumentation_scope,
                )
                for span in spans
            ]
        )

    def shutdown(self) -> None:
        self.inner.shutdown()


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
def test_an_exporter_that_makes_copies(otlp_server: Any, make_traced: Any, kind: Any) -> None:
    traced = make_traced(kind(Redacting(OTLPSpanExporter(endpoint=otlp_server.endpoint))))
    with traced.tracer.start_as_current_span("outer") as outer:
        with traced.tracer.start_as_current_span("inner", attributes={"secret": "s", "open": 1}):
            pass
    assert traced.provider.force_flush(20_000)
    spans = {span.name: span for span in otlp_server.wait_for(2)}
    assert [one.key for one in spans["inner"].attributes] == ["open"]
    assert spans["inner"].parent_span_id == outer.context.span_id.to_bytes(8, "big")


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
def test_a_processor_that_hands_over_copies(otlp_server: Any, kind: Any) -> None:
    """Spans of several resources through one processor; unsampled ones and those without identity stay where they are."""
    processor = kind(OTLPSpanExporter(endpoint=otlp_server.endpoint))
    for span in (readable("a", "one"), readable("b", "two"), readable("c", "one"), readable("no", sampled=False)):
        processor.on_end(span)
    processor.on_end(ReadableSpan("no identity"))
    assert processor.force_flush(20_000)
    services = {
        span.name: {one.key: one.value.string_value for one in group.resource.attributes}["service.name"]
        for received in otlp_server.received
        for group in received.request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    }
    assert services == {"a": "one", "b": "two", "c": "one"}
    processor.shutdown()
