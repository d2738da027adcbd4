"""Unsampled traces that are kept after all, traces beyond 10,000 spans, and the run-time off switch, in what a receiver gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SETUP = """
import time, nuages
nuages.install({options})
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}})
import django
django.setup()
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from django.test import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased({rate})))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="{endpoint}")))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("test")
def ask(count):
    with connection.cursor() as cursor:
        for number in range(count):
            cursor.execute("SELECT %s", [number])
def fine(request):
    ask(2)
    flags.append(trace.get_current_span().get_span_context().trace_flags & 1)
    return HttpResponse("ok")
def fails(request):
    ask(1)
    raise LookupError("broken")
def loops(request):
    ask(6)
    return HttpResponse("ok")
def slow(request):
    time.sleep(0.3)
    return HttpResponse("ok")
flags = []
urlpatterns = [path("fine/", fine), path("fails/", fails), path("loops/", loops), path("slow/", slow), path("health/", fails)]
client = Client(raise_request_exception=False)
"""


def program(otlp_server: Any, code: str, options: str = "", rate: float = 0) -> str:
    return SETUP.format(endpoint=otlp_server.endpoint, options=options, rate=rate) + code


def attributes_of(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def servers(otlp_server: Any) -> dict[str, dict[str, Any]]:
    return {span.name: attributes_of(span) for span in otlp_server.spans() if span.kind == 2}


REQUESTS = """
for name in ("fine", "fails", "loops", "slow", "health"):
    client.get(f"/{name}/")
assert flags == [0], "what is propagated stays unsampled"
provider.force_flush()
"""


def test_errors_slow_and_n_plus_one_are_kept(run_python: Any, otlp_server: Any) -> None:
    options = 'keep="errors,slow,n_plus_one", keep_slower_than=0.25, excluded_urls="health"'
    run_python(program(otlp_server, REQUESTS, options))
    kept = {name: found["nuages.sampling.kept"] for name, found in servers(otlp_server).items()}
    assert kept == {"GET /fails/": "error", "GET /loops/": "n_plus_one", "GET /slow/": "slow"}
    roots = {span.trace_id: span.name for span in otlp_server.spans() if span.kind == 2}
    queries = [roots[span.trace_id] for span in otlp_server.spans() if span.name.startswith("SELECT")]
    assert sorted(queries) == ["GET /fails/"] + ["GET /loops/"] * 6, "with everything below them"


def test_nothing_is_kept_unless_asked_for(run_python: Any, otlp_server: Any) -> None:
    run_python(program(otlp_server, REQUESTS + "client.get('/fine/', HTTP_TRACEPARENT=f'00-{7:032x}-{8:016x}-01')"))
    assert len(otlp_server.wait_for(1)) >= 1
    assert list(servers(otlp_server)) == ["GET /fine/"], "the sampled parent's"


def test_sampled_traces_are_as_ever(run_python: Any, otlp_server: Any) -> None:
    run_python(program(otlp_server, REQUESTS.replace("[0]", "[1]"), 'keep="errors"', rate=1.0))
    assert sorted(servers(otlp_server)) == ["GET /fails/", "GET /fine/", "GET /health/", "GET /loops/", "GET /slow/"]
    assert not any("nuages.sampling.kept" in found for found in servers(otlp_server).values())


def test_more_than_ten_thousand_spans_are_folded_exactly(run_python: Any, otlp_server: Any) -> None:
    code = """
with tracer.start_as_current_span("root"):
    ask(9_990)
    for _ in range(60):
        with tracer.start_as_current_span("step"):
            ask(3)
provider.force_flush()
"""
    run_python(program(otlp_server, code, rate=1.0), OTEL_BSP_MAX_QUEUE_SIZE="20000", NUAGES_QUEUE_BYTES="33554432")
    spans = otlp_server.wait_for(10_000)
    [root] = [attributes_of(span) for span in spans if span.name == "root"]
    assert root["db.query_count"] == 9_990 + 180
    folded = {span.name: attributes_of(span) for span in spans if "nuages.folded.count" in attributes_of(span)}
    plain = {
        name: sum(span.name.startswith(name) for span in spans if span.name not in folded or not span.attributes)
        for name in ("step", "SELECT")
    }
    whole = {
        name: sum("nuages.folded.count" not in attributes_of(span) for span in spans if span.name.startswith(name))
        for name in plain
    }
    [select] = [found for name, found in folded.items() if name.startswith("SELECT")]
    assert whole["SELECT"] + select["nuages.folded.count"] == 9_990 + 180
    assert whole["step"] + folded["step"]["nuages.folded.count"] == 60
    assert select["nuages.folded.duration_ns"] >= select["nuages.folded.longest_ns"] > 0
    assert root["nuages.folded_spans"] == select["nuages.folded.count"] + folded["step"]["nuages.folded.count"]
    assert len(spans) == 10_000 + len(folded)


def test_pause_and_resume(run_python: Any, otlp_server: Any) -> None:
    code = """
client.get("/fine/")
with tracer.start_as_current_span("open when it was switched off"):
    nuages.pause()
    client.get("/loops/")
    with tracer.start_as_current_span("meanwhile") as span:
        assert not span.is_recording()
nuages.resume()
client.get("/slow/")
provider.force_flush()
"""
    run_python(program(otlp_server, code, rate=1.0))
    names = otlp_server.names()
    assert "GET /fine/" in names and "GET /slow/" in names
    assert not {"GET /loops/", "meanwhile", "open when it was switched off"} & set(names)


def test_a_file_switches_off_and_on(run_python: Any, otlp_server: Any, tmp_path: Path) -> None:
    code = """
import pathlib
switch = pathlib.Path("off")
def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
def recording():
    span = tracer.start_span("probe")
    span.end()
    return span.is_recording() or span.get_span_context().is_valid
client.get("/fine/")
switch.touch()
until(lambda: not recording())
client.get("/loops/")
switch.unlink()
until(recording)
client.get("/slow/")
provider.force_flush()
"""
    done = run_python(program(otlp_server, code, f'off_file="{tmp_path}/off"', rate=1.0))
    assert "tracing is off" in done.stderr and "tracing is on again" in done.stderr
    assert {"GET /fine/", "GET /slow/"} <= set(otlp_server.names()) and "GET /loops/" not in otlp_server.names()


def test_bad_settings_are_named(run_python: Any, otlp_server: Any) -> None:
    done = run_python("import logging; logging.basicConfig()\n" + program(otlp_server, ""), NUAGES_KEEP="fast")
    assert "NUAGES_KEEP has the bad value 'fast'" in done.stderr
