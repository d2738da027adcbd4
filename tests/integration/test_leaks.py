"""Nothing of ours stays: no Python object of our types, no span, no growing heap, whatever way spans begin and end."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import Driver

PROGRAM = """
import asyncio, ctypes, gc, os, threading, weakref
import nuages
nuages.install()
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks used free keep".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap

class Writing(SpanProcessor):
    def on_start(self, span, parent_context=None):
        span._name = span._name + "."
    def on_end(self, span):
        span._attributes = {**dict(span.attributes), "more": [1, "two"]}
        span._events, span._links, span._status

class Reading(SpanExporter):
    def export(self, spans):
        for span in spans:
            span.name, dict(span.attributes), span.events, span.links, span.status, span.parent
        return SpanExportResult.SUCCESS

class Choosing(sampling.Sampler):
    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        return sampling.SamplingResult(sampling.Decision(trace_id % 3), {"chosen": 1}, trace.TraceState([("k", "v")]))
    def get_description(self):
        return "choosing"

batch = BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["ENDPOINT"], insecure=True), max_queue_size=4096)
watched = weakref.WeakSet()

def providers():
    for options in ({}, {"sampler": Choosing()}, {"sampler": sampling.ParentBased(sampling.TraceIdRatioBased(0.5))},
                    {"span_limits": SpanLimits(max_attributes=2, max_events=1, max_attribute_length=3)}):
        provider = TracerProvider(shutdown_on_exit=False, **options)
        yield provider
        provider = TracerProvider(shutdown_on_exit=False, **options)
        provider.add_span_processor(Writing())
        provider.add_span_processor(SimpleSpanProcessor(Reading()))
        provider.add_span_processor(batch)
        yield provider

def work(tracer):
    remote = propagate.extract({"traceparent": f"00-{5:032x}-{6:016x}-01", "tracestate": "a=b"})
    link = trace.Link(trace.get_current_span(remote).get_span_context(), {"k": "v"})
    with tracer.start_as_current_span("outer", context=remote, links=[link], attributes={"a": "x" * 3000, "b": [1, 2]}) as outer:
        watched.add(outer)
        for number in range(5):
            outer.set_attribute(f"k{number % 3}", {"deep": [number, None, "x", {"d": 1.5}]})
        try:
            with tracer.start_as_current_span("inner") as inner:
                inner.cycle = inner
                inner.add_event("event", {"k": 1})
                raise ValueError("text")
        except ValueError as error:
            outer.record_exception(error)
        propagate.inject({})
    never_ended = tracer.start_span("never ended")
    never_ended.set_attribute("k", "v" * 500)
    tracer.start_as_current_span("never entered")
    manager = tracer.start_as_current_span("never left")
    manager.__enter__()
    trace.context_api.attach(trace.context_api.Context())

    @tracer.start_as_current_span("decorated")
    def decorated():
        return outer.attributes, outer.events, outer.links, outer.to_json(), outer.parent, outer.context
    decorated()

    def produce():
        with tracer.start_as_current_span("generator"):
            yield 1
    next(produce())

def settled():
    assert batch.force_flush()
    trace.context_api.attach(trace.context_api.Context())
    gc.collect()
    gc.collect()
    return libc.mallinfo2().used

# Made once: a provider of the SDK (without ours too) keeps about 900 bytes of each that has been.
tracers = [provider.get_tracer("leaks", "1", attributes={"k": 1}) for provider in providers()]

def once(rounds):
    for _ in range(rounds):
        for tracer in tracers:
            work(tracer)

# A leak grows in every period; caches of the interpreter fill once.
rounds = int(os.environ.get("ROUNDS", "100"))
once(rounds)
periods = []
for _ in range(5):
    before = settled()
    once(rounds)
    periods.append(settled() - before)
print("heap grew by", periods)
assert min(periods) < 14 * 1024, periods  # one small object for each of the 800 calls of work() would be more

# Threads that come and go, tasks, providers that go: their objects go too.
def threads():
    for _ in range(3):
        thread = threading.Thread(target=work, args=(tracers[0],))
        thread.start()
        thread.join()

async def tasks():
    await asyncio.gather(*(asyncio.to_thread(work, tracer) for tracer in tracers))

threads()
asyncio.run(tasks())
for provider in providers():
    work(provider.get_tracer("short-lived"))
del provider
tracers.clear()
settled()
kinds = ("RecordingSpanBase", "NonRecordingSpanBase", "SpanBase", "CurrentSpanManager", "ProviderCore", "TracerBase")
alive = [one for one in gc.get_objects() if any(base.__name__ in kinds for base in type(one).__mro__)]
print("alive", len(alive), [type(one).__name__ for one in alive[:5]], len(watched))
assert not alive and not watched
"""


def test_nothing_stays(run_python: Any, otlp_server: Any) -> None:
    done = run_python(PROGRAM, ENDPOINT=otlp_server.endpoint, PYTHONMALLOC="malloc", MALLOC_ARENA_MAX="1", timeout=120)
    assert "alive 0" in done.stdout


# Leaks on purpose at the interpreter's start: without that in its report the sanitizer has not looked.
PLANTED = 54321
PLANT = f"""
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc({PLANTED})
"""
ONLY_PLANTED = f"SUMMARY: AddressSanitizer: {PLANTED} byte(s) leaked in 1 allocation(s)."
sanitized = pytest.mark.skipif(
    "libclang_rt.asan" not in os.environ.get("LD_PRELOAD", ""), reason="make test-asan-python runs it"
)


def looking_for_leaks(folder: Path) -> dict[str, str]:
    """The environment of a process whose leaks the sanitizer writes into the folder when it ends, with exit code 7."""
    (folder / "sitecustomize.py").write_text(PLANT)
    options = re.sub("detect_leaks=0:?", "", os.environ["ASAN_OPTIONS"])
    report = f"detect_leaks=1:abort_on_error=0:exitcode=7:log_path={folder / 'report'}"
    return {"ASAN_OPTIONS": f"{options}:{report}", "PYTHONPATH": str(folder)}


@sanitized
def test_no_native_object_stays_at_teardown(run_python: Any, otlp_server: Any, tmp_path: Path) -> None:
    """After the interpreter's end nothing that the extension (or anything else) allocated is without an owner."""
    environment = looking_for_leaks(tmp_path)
    done = run_python(PROGRAM, ENDPOINT=otlp_server.endpoint, ROUNDS="3", timeout=240, check=False, **environment)
    assert "alive 0" in done.stdout, done.stderr
    assert done.returncode == 7, f"exit code {done.returncode}\n{done.stderr}"
    (report,) = tmp_path.glob("report.*")
    assert ONLY_PLANTED in report.read_text(), report.read_text()


@sanitized
def test_no_native_object_stays_after_requests(tmp_path: Path) -> None:
    shop = Driver(**looking_for_leaks(tmp_path))
    for path in ("/books/3/", "/books/", "/pages/books/blue-one/", "/api/books/1/", "/old/first-one/page-3/"):
        assert shop.request(path)["status"] == 200
    assert shop.request("/nowhere/1/")["status"] == 404
    assert shop.close() == 7
    (report,) = tmp_path.glob("report.*")
    assert ONLY_PLANTED in report.read_text(), report.read_text()
