"""force_flush and shutdown end in their time and say what is true, over native and Python exporters, alone and in groups."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from conftest import Traced
from nuages import settings
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SHORT = 200  # ms that a call may take
GENEROUS = 20.0  # s; what ignored its time would take longer, or for ever


class Scripted(SpanExporter):
    """Answers with `result`; waits for `hold` first, raises `error` instead."""

    def __init__(self, result: Any = SpanExportResult.SUCCESS, hold: Any = None, error: Any = None) -> None:
        self.result, self.hold, self.error = result, hold, error
        self.names: list[str] = []
        self.shutdowns = 0

    def export(self, spans: Any) -> Any:
        if self.hold is not None:
            self.hold.wait()
        if self.error is not None:
            raise self.error
        self.names += [span.name for span in spans]
        return self.result

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where connections are accepted by the kernel and never answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def one_second() -> Iterator[None]:
    settings.override(shutdown_timeout=1)
    yield
    settings.override(shutdown_timeout=None)


def provider_with(processor: Any) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("a").end()
    return provider


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
def test_native_delivered(otlp_server: Any, kind: Any) -> None:
    provider = provider_with(kind(OTLPSpanExporter(endpoint=otlp_server.endpoint)))
    assert provider.force_flush(20_000) is True
    assert otlp_server.names() == ["a"]
    provider.shutdown()
    assert not provider.get_tracer("t").start_span("late").is_recording()


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
@pytest.mark.parametrize("exporter", [OTLPSpanExporter, HttpSpanExporter])
def test_native_never_answered(silent: str, one_second: None, kind: Any, exporter: Any) -> None:
    path = "/v1/traces" if exporter is HttpSpanExporter else ""
    provider = provider_with(kind(exporter(endpoint=silent + path, timeout=60)))
    began = time.monotonic()
    assert provider.force_flush(SHORT) is False
    provider.shutdown()
    provider.shutdown()
    assert time.monotonic() - began < GENEROUS


def test_native_refused(one_second: None, caplog: Any) -> None:
    provider = provider_with(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://127.0.0.1:1")))
    assert provider.force_flush(SHORT) is False
    provider.shutdown()
    assert "not all spans could be exported" in caplog.text


def test_shutdown_delivers_what_is_queued(otlp_server: Any) -> None:
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_server.endpoint), schedule_delay_millis=3_600_000)
    provider = provider_with(processor)
    provider.shutdown()
    assert otlp_server.names() == ["a"]
    assert processor._shutdown and processor._batch_processor._shutdown


def test_a_processor_can_be_shut_down_by_itself(otlp_server: Any, caplog: Any) -> None:
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_server.endpoint), schedule_delay_millis=3_600_000)
    provider = provider_with(processor)
    processor.shutdown()
    processor.shutdown()
    assert otlp_server.names() == ["a"]
    provider.shutdown()
    assert "already shutdown" not in caplog.text, "the exporter is told once"


def test_python_exporter_delivered() -> None:
    exporter = Scripted()
    provider = provider_with(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    assert provider.force_flush(20_000) is True and exporter.names == ["a"]
    provider.shutdown()
    provider.shutdown()
    assert exporter.shutdowns == 1


@pytest.mark.parametrize("answer", [{"result": SpanExportResult.FAILURE}, {"error": RuntimeError("no")}])
def test_python_exporter_that_fails(answer: Any) -> None:
    provider = provider_with(BatchSpanProcessor(Scripted(**answer), schedule_delay_millis=3_600_000))
    assert provider.force_flush(20_000) is False
    assert provider.force_flush(20_000) is True, "nothing is left"
    provider.shutdown()


def test_python_exporter_that_hangs(one_second: None) -> None:
    hold = threading.Event()
    provider = provider_with(BatchSpanProcessor(Scripted(hold=hold), schedule_delay_millis=3_600_000))
    began = time.monotonic()
    assert provider.force_flush(SHORT) is False
    provider.shutdown()
    assert time.monotonic() - began < GENEROUS
    hold.set()


def test_the_time_is_shared_by_all_processors() -> None:
    hold = threading.Event()
    provider = provider_with(BatchSpanProcessor(Scripted(hold=hold), schedule_delay_millis=3_600_000))
    second = Scripted()
    provider.add_span_processor(BatchSpanProcessor(second, schedule_delay_millis=3_600_000))
    provider.get_tracer("t").start_span("b").end()
    assert provider.force_flush(SHORT) is False
    hold.set()
    assert provider.force_flush(20_000) is True and second.names == ["b"]
    provider.shutdown()


# ---- groups and the exporters of the SDK


class Answering(SpanProcessor):
    def __init__(self, answer: Any, log: list[str], name: str) -> None:
        self.answer, self.log, self.name = answer, log, name

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.log.append(f"start {self.name}")

    def on_end(self, span: Any) -> None:
        self.log.append(f"end {self.name}")

    def shutdown(self) -> None:
        self.log.append(f"shutdown {self.name}")

    def force_flush(self, timeout_millis: int = 30_000) -> Any:
        self.log.append(f"flush {self.name}")
        return self.answer


@pytest.mark.parametrize("group", [None, SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor])
@pytest.mark.parametrize("answers", [(True, True), (True, False), (None, None)])
def test_groups(group: Any, answers: tuple[Any, Any]) -> None:
    log: list[str] = []
    provider = TracerProvider(shutdown_on_exit=False, active_span_processor=group() if group else None)
    for name, answer in zip("ab", answers):
        provider.add_span_processor(Answering(answer, log, name))
    provider.get_tracer("t").start_span("s").end()
    events = ["start a", "start b", "end a", "end b"]
    concurrent = group is ConcurrentMultiSpanProcessor
    assert (sorted(log) if concurrent else log) == (sorted(events) if concurrent else events)
    # a processor that answers nothing has not failed
    assert provider.force_flush(20_000) is (False not in answers)
    del log[:]
    provider.shutdown()
    assert sorted(log) == ["shutdown a", "shutdown b"]


def test_console_exporter() -> None:
    out = StringIO()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out)))
    provider.add_span_processor(
        SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=lambda span: f"{span.name}\n"))
    )
    with provider.get_tracer("t").start_as_current_span("mail to jane@example.com") as span:
        span.add_event("e", {"k": 1})
    text, _, rest = out.getvalue().partition("\n}\n")
    printed = json.loads(text + "}")
    assert printed["events"][0]["attributes"] == {"k": 1} and printed["context"]["trace_id"].startswith("0x")
    assert printed["name"] == rest.strip() and "jane" not in out.getvalue(), "masked like every way out"


def test_in_memory_exporter(traced: Traced) -> None:
    traced.tracer.start_span("a").end()
    first = traced.spans()
    assert [span.name for span in first] == ["a"]
    traced.exporter.clear()
    assert traced.spans() == () and first[0].name == "a"
    traced.exporter.shutdown()
    traced.tracer.start_span("b").end()
    assert traced.spans() == ()


def test_span_exporter_is_the_applications_own_object() -> None:
    for kind in (BatchSpanProcessor, SimpleSpanProcessor):
        exporter: Any
        for exporter in (InMemorySpanExporter(), OTLPSpanExporter(endpoint="http://127.0.0.1:1")):
            processor = kind(exporter)
            assert processor.span_exporter is exporter
            processor.shutdown()


# ---- the resource


def test_resource_detection(run_python: Any, otlp_server: Any) -> None:
    """OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and the detectors that are asked for reach the receiver."""
    run_python(
        "import nuages.auto; from opentelemetry import trace; trace.get_tracer('t').start_span('a').end()",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
        OTEL_RESOURCE_ATTRIBUTES="service.name=loses,team=a%2Cb",
        OTEL_SERVICE_NAME="wins",
        OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="process,os,host",
    )
    otlp_server.wait_for(1)
    (group,) = otlp_server.received[0].request.resource_spans
    values = {one.key: one.value for one in group.resource.attributes}
    assert values["service.name"].string_value == "wins" and values["team"].string_value == "a,b"
    assert values["os.type"].string_value == "linux" and values["host.name"].string_value == socket.gethostname()
    assert values["process.pid"].int_value > 0 and values["telemetry.sdk.language"].string_value == "python"


@pytest.mark.parametrize("group", [SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor])
@pytest.mark.parametrize("nested", [False, True], ids=["as the provider's processor", "added to it"])
def test_native_processors_in_a_group(otlp_server: Any, group: Any, nested: bool) -> None:
    """A group is Python code, so its members get their spans through it; what arrives is the same, with the provider's resource."""
    members = group()
    resource = Resource({"service.name": "grouped"})
    options = {} if nested else {"active_span_processor": members}
    provider = TracerProvider(shutdown_on_exit=False, resource=resource, **options)
    if nested:
        provider.add_span_processor(members)
    members.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_server.endpoint)))
    memory = InMemorySpanExporter()
    members.add_span_processor(SimpleSpanProcessor(memory))
    with provider.get_tracer("t", "1").start_as_current_span("to jane@example.com") as span:
        span.set_attribute("k", 1)
    assert provider.force_flush(20_000) is True
    (sent,) = otlp_server.spans()
    (kept,) = memory.get_finished_spans()
    assert sent.name == kept.name and "jane" not in sent.name and sent.attributes[0].value.int_value == 1
    (arrived,) = otlp_server.received[0].request.resource_spans
    values = {one.key: one.value.string_value for one in arrived.resource.attributes}
    assert values["service.name"] == "grouped" and arrived.scope_spans[0].scope.name == "t"
    provider.shutdown()
    assert not provider.get_tracer("t").start_span("late").is_recording()
