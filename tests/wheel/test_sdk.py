"""The SDK half of the installed wheel: the drop-in classes, context, user code, fork, exit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import attributes

SETUP = """
import nuages; nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider(resource=Resource.create({"service.name": "smoke"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("smoke", "1.0")
"""


def test_the_package_is_the_installed_one():
    import nuages
    from nuages import _native

    assert Path(nuages.__file__).is_relative_to(sys.prefix), "the checkout is being tested, not the wheel"
    assert Path(_native.__file__).is_relative_to(sys.prefix)


def test_the_drop_in_classes_export_what_the_program_recorded(program, receiver):
    program(
        SETUP
        + """
assert type(tracer).__module__.startswith("nuages."), type(tracer)
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
with tracer.start_as_current_span("outer", kind=SpanKind.SERVER, attributes={"n": 7}) as outer:
    outer.add_event("seen", {"pages": 3})
    with tracer.start_as_current_span("inner", links=[Link(outer.get_span_context())]) as inner:
        inner.set_attributes({"text": "héllo", "flag": True, "ratio": 0.5, "list": ["a", "b"]})
        inner.set_status(Status(StatusCode.ERROR, "went wrong"))
    try:
        with tracer.start_as_current_span("failing"):
            raise ValueError("no such book")
    except ValueError:
        pass
assert isinstance(outer, trace.Span) and outer.name == "outer" and outer.attributes["n"] == 7
assert provider.force_flush() is True
"""
    )
    outer, inner, failing = receiver.named("outer"), receiver.named("inner"), receiver.named("failing")
    assert receiver.resource()["service.name"] == "smoke"
    assert (outer.kind, attributes(outer)) == (2, {"n": 7})
    assert [(event.name, attributes(event)) for event in outer.events] == [("seen", {"pages": 3})]
    assert inner.parent_span_id == failing.parent_span_id == outer.span_id
    assert attributes(inner) == {"text": "héllo", "flag": True, "ratio": 0.5, "list": ["a", "b"]}
    assert (inner.status.code, inner.status.message) == (2, "went wrong")
    assert inner.links[0].span_id == outer.span_id
    event = attributes(failing.events[0])
    assert (
        event["exception.type"] == "ValueError" and 'raise ValueError("no such book")' in event["exception.stacktrace"]
    )


TLS = SETUP + "tracer.start_span('secret').end()\nprint(provider.force_flush(3000))\n"


def test_tls_trusts_what_pythons_ssl_module_trusts(program, tls_receiver, certificate):
    """The wheel's libcurl knows no authorities of its own."""
    trusted = f"""
import ssl
paths = ssl.get_default_verify_paths()
ssl.get_default_verify_paths = lambda: paths._replace(cafile={certificate!r})
"""
    assert program(trusted + TLS, OTEL_EXPORTER_OTLP_ENDPOINT=tls_receiver.endpoint).stdout == "True\n"
    assert tls_receiver.named("secret")


def test_tls_with_an_unknown_certificate_sends_nothing_and_says_why(program, tls_receiver):
    done = program(TLS, OTEL_EXPORTER_OTLP_ENDPOINT=tls_receiver.endpoint, NUAGES_SHUTDOWN_TIMEOUT="1")
    assert tls_receiver.requests == [] and "OTEL_EXPORTER_OTLP_CERTIFICATE" in done.stderr


def test_names_imported_before_the_installation_are_native(program, receiver):
    program(
        """
        from opentelemetry import trace
        tracer = trace.get_tracer("early")
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        import nuages; nuages.install()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        provider = TracerProvider()
        assert type(provider).__module__ == "nuages.sdk.trace"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        with tracer.start_as_current_span("early"):
            pass
        """
    )
    assert receiver.named("early")


def test_context_follows_tasks_and_threads(program, receiver):
    program(
        SETUP
        + """
import asyncio, contextvars, threading
@tracer.start_as_current_span("decorated")
async def work(name):
    await asyncio.sleep(0)
    with tracer.start_as_current_span(name):
        await asyncio.sleep(0)
async def main():
    with tracer.start_as_current_span("root"):
        await asyncio.gather(*(work(f"task {number}") for number in range(5)))
asyncio.run(main())
with tracer.start_as_current_span("thread root"):
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: tracer.start_span("in thread").end(),))
    thread.start(); thread.join()
assert trace.get_current_span() is trace.INVALID_SPAN
"""
    )
    root = receiver.named("root")
    decorated = [span for span in receiver.spans() if span.name == "decorated"]
    assert {span.parent_span_id for span in decorated} == {root.span_id} and len(decorated) == 5
    tasks = [span for span in receiver.spans() if span.name.startswith("task ")]
    assert {span.parent_span_id for span in tasks} == {span.span_id for span in decorated}
    assert receiver.named("in thread").parent_span_id == receiver.named("thread root").span_id


def test_user_processors_samplers_and_exporters_in_python(program, receiver):
    program(
        SETUP
        + """
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
class OnlyWanted(Sampler):
    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        return SamplingResult(Decision.RECORD_AND_SAMPLE if name == "wanted" else Decision.DROP, {"why": "asked"})
    def get_description(self):
        return "OnlyWanted"
class Mark(SpanProcessor):
    def on_start(self, span, parent_context=None):
        span.set_attribute("marked", True)
    def on_end(self, span):
        ended.append(span.name)
ended, memory = [], InMemorySpanExporter()
other = TracerProvider(sampler=OnlyWanted())
for processor in (Mark(), SimpleSpanProcessor(memory)):
    other.add_span_processor(processor)
for name in ("wanted", "unwanted"):
    with other.get_tracer("t").start_as_current_span(name):
        pass
(span,) = memory.get_finished_spans()
assert ended == ["wanted"] and dict(span.attributes) == {"why": "asked", "marked": True}, (ended, span.attributes)
"""
    )


def test_a_fork_gives_each_process_its_own_spans_once(program, receiver):
    program(
        SETUP
        + """
import os
tracer.start_span("queued before").end()
open_span = tracer.start_span("open across the fork")
pid = os.fork()
tracer.start_span("child" if pid == 0 else "parent").end()
open_span.end()
if pid == 0:
    provider.force_flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    )
    assert sorted(span.name for span in receiver.spans()) == [
        "child",
        "open across the fork",
        "parent",
        "queued before",
    ]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise RuntimeError('the application failed')", 1)],
)
def test_the_exit_sends_what_is_queued(program, receiver, ending, status):
    program(SETUP + f"\nfor number in range(100):\n    tracer.start_span('last').end()\n{ending}\n", status=status)
    assert [span.name for span in receiver.spans()] == ["last"] * 100


def test_multiprocessing_children_flush(program, receiver):
    program(
        SETUP
        + """
import multiprocessing
def work():
    tracer.start_span("in child").end()
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        child = multiprocessing.get_context(method).Process(target=work)
        child.start(); child.join()
        assert child.exitcode == 0
"""
    )
    assert [span.name for span in receiver.spans()] == ["in child"] * 2


def test_threads_that_record_while_the_interpreter_ends_do_no_harm(program, receiver):
    done = program(
        SETUP
        + """
import threading
started = threading.Barrier(5)
def spin():
    first = True
    while True:
        with tracer.start_as_current_span("spin"):
            pass
        if first:
            first = False
            started.wait()
for _ in range(4):
    threading.Thread(target=spin, daemon=True).start()
started.wait()
"""
    )
    assert "Fatal" not in done.stderr and "terminate" not in done.stderr, done.stderr


def test_warnings_as_errors_find_nothing(program, receiver):
    done = program(
        SETUP
        + """
import os
with tracer.start_as_current_span("strict"):
    pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
""",
        options=("-W", "error"),
    )
    assert receiver.named("strict") and done.stderr == ""


def test_a_subinterpreter_works_or_steps_aside(program, receiver):
    done = program(
        SETUP
        + """
import sys
tracer.start_span("main interpreter").end()
code = '''
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
with TracerProvider().get_tracer("sub").start_as_current_span("sub") as span:
    assert span.is_recording()
'''
if sys.version_info >= (3, 14):
    from concurrent import interpreters
    interpreters.create().exec(code)
else:
    import _testcapi
    assert _testcapi.run_in_subinterp(code) == 0
with tracer.start_as_current_span("main again"):
    pass
""",
    )
    assert sorted(span.name for span in receiver.spans()) == ["main again", "main interpreter"], done.stderr
