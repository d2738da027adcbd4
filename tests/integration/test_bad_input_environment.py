"""A bad environment: a clock that jumps, limits on memory and files, a receiver that accepts and never answers. The application goes on."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long offset;
void jump(long seconds) { offset += seconds; }
int clock_gettime(clockid_t clock, struct timespec *out) {
  int result = syscall(SYS_clock_gettime, clock, out);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) out->tv_sec += offset;
  return result;
}
"""

HEAD = """
import ctypes, os, resource, sys, time
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
"""


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_wall_clock_that_jumps_does_not_stretch_or_turn_a_span(run_python: Any, tmp_path: Path, seconds: int) -> None:
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)
    run_python(
        HEAD
        + f"""
exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
before = time.time()
with provider.get_tracer("t").start_as_current_span("outer") as span:
    ctypes.CDLL(None).jump({seconds})
    assert abs(time.time() - before) > 3000, "the test's clock did not jump"
    span.add_event("after")
    with provider.get_tracer("t").start_as_current_span("inner"):
        pass
inner, outer = exporter.get_finished_spans()
assert 0 <= outer.end_time - outer.start_time < 600e9
assert outer.start_time <= outer.events[0].timestamp <= outer.end_time
assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time
""",
        LD_PRELOAD=str(library),
    )


def test_no_more_file_descriptors(run_python: Any, otlp_server: Any) -> None:
    done = run_python(
        HEAD
        + """
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["ENDPOINT"], insecure=True)))
tracer = provider.get_tracer("t")
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, limit[1]))
for number in range(100):
    with tracer.start_as_current_span("without files"):
        pass
provider.force_flush(500)  # whatever it answers, it answers
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
with tracer.start_as_current_span("with files"):
    pass
print("alive")
""",
        ENDPOINT=otlp_server.endpoint,
    )
    assert done.stdout.strip() == "alive"
    assert "Traceback" not in done.stderr
    assert "with files" in otlp_server.names()


def test_no_more_memory(run_python: Any) -> None:
    done = run_python(
        HEAD
        + """
from opentelemetry.sdk.trace import SpanLimits
provider = TracerProvider(span_limits=SpanLimits(max_attributes=SpanLimits.UNSET), shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://127.0.0.1:1", insecure=True)))
tracer = provider.get_tracer("t")
with tracer.start_as_current_span("warm"):
    pass
text = "x" * (4 << 20)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (48 << 20), resource.RLIM_INFINITY))
spans = []
for number in range(40):  # 40 spans of 16 MB: far more than there is
    span = tracer.start_span(f"s{number}")
    for index in range(4):
        span.set_attribute(f"k{index}", text)
    spans.append(span)
for span in spans:
    span.end()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("alive", sum(span.dropped_attributes for span in spans) > 0)
os._exit(0)
"""
    )
    assert done.stdout.split() == ["alive", "True"]


def test_a_receiver_that_accepts_and_never_answers(run_python: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        done = run_python(
            HEAD
            + """
provider = TracerProvider()
processor = BatchSpanProcessor(
    OTLPSpanExporter(endpoint=os.environ["ENDPOINT"], insecure=True), max_queue_size=64, max_export_batch_size=16
)
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
for number in range(1000):
    with tracer.start_as_current_span("s"):
        pass
assert provider.force_flush(200) is False
counters = processor.pipeline.counters()
assert sum(value for name, value in counters.items() if "dropped" in name) >= 1000 - 64 - 3 * 16, counters
print("alive")
""",
            ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
            NUAGES_SHUTDOWN_TIMEOUT="1",
            timeout=30,
        )
    assert done.stdout.strip() == "alive"
    assert done.stderr.count("dropped") <= 2, done.stderr
