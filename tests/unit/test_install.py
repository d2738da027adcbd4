"""The on-ramps, each in an interpreter of its own: names imported early or late, providers set early or late, what is not installed."""

from __future__ import annotations

from typing import Any

import pytest

GUIDE_IMPORTS = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, SpanProcessor, ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased, ParentBased
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.celery import CeleryInstrumentor
"""

IN_MEMORY = """
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
"""


@pytest.mark.parametrize("hide_official", [False, True], ids=["official installed", "official absent"])
def test_a_program_like_the_guide(run_python: Any, otlp_server: Any, hide_official: bool) -> None:
    run_python(
        "import nuages.auto\n"
        + GUIDE_IMPORTS
        + f"""
resource = Resource.create({{"service.name": "orders", "service.version": "1.0.0"}})
provider = TracerProvider(resource=resource, sampler=ParentBased(root=TraceIdRatioBased(1.0)))
exporter = OTLPSpanExporter(endpoint="{otlp_server.endpoint}", headers={{"authorization": "Bearer key"}}, insecure=False)
provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048, max_export_batch_size=512, schedule_delay_millis=5000, export_timeout_millis=30000))
trace.set_tracer_provider(provider)
for _ in range(2):
    DjangoInstrumentor().instrument(excluded_urls="health/,metrics/")
    Psycopg2Instrumentor().instrument(enable_commenter=True, commenter_options={{}})
    RedisInstrumentor().instrument()
    CeleryInstrumentor().instrument()
assert trace.get_tracer_provider() is provider
with trace.get_tracer("orders").start_as_current_span("work"):
    pass
import threading
assert threading.active_count() == 1, "no Python thread"
import sys
assert not [name for name in sys.modules if name == "grpc" or name.startswith("grpc.")], "no grpc in the process"
""",
        hide_official=hide_official,
    )
    (span,) = otlp_server.wait_for(1)
    assert span.name == "work"
    assert otlp_server.received[0].metadata["authorization"] == "Bearer key"


def test_names_imported_before_install_make_native_objects(run_python: Any) -> None:
    run_python(
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
class Mine(TracerProvider):
    pass
class MyExporter(OTLPSpanExporter):
    pass
import nuages
nuages.install()
nuages.install()
import nuages.sdk.trace, nuages.sdk.export, nuages.sdk.otlp_grpc
provider = TracerProvider()
assert type(provider) is nuages.sdk.trace.TracerProvider and isinstance(provider, TracerProvider)
exporter = OTLPSpanExporter(endpoint="http://127.0.0.1:1")
assert type(exporter) is nuages.sdk.otlp_grpc.OTLPSpanExporter
processor = BatchSpanProcessor(exporter)
assert type(processor) is nuages.sdk.export.BatchSpanProcessor and processor.pipeline is not None
provider.add_span_processor(processor)
assert type(Mine()) is Mine and type(MyExporter()) is MyExporter
"""
    )


@pytest.mark.parametrize(
    "first_lines",
    [
        "import nuages; nuages.install()",
        "from opentelemetry.instrumentation.django import DjangoInstrumentor; DjangoInstrumentor().instrument()",
    ],
)
def test_libraries_imported_after_install_are_hooked(run_python: Any, first_lines: str) -> None:
    run_python(
        f"""
import nuages
nuages.install()
{first_lines}
from nuages import hooks
assert hooks.installed() == ()
from django.conf import settings
settings.configure()
assert {{"request", "middleware", "view", "orm", "transaction", "template"}} <= set(hooks.installed()), hooks.installed()
import rest_framework.serializers
assert "serializer" in hooks.installed(), hooks.installed()
from celery import Celery
Celery("shop")
assert "celery" in hooks.installed(), hooks.installed()
"""
    )


def test_tracers_taken_before_the_provider_become_native(run_python: Any) -> None:
    run_python(
        """
import asyncio
from opentelemetry import trace
tracer = trace.get_tracer("early", "1")
import nuages
nuages.install()
late = trace.get_tracer("late")

@tracer.start_as_current_span("decorated early")
def work():
    return trace.get_current_span()

@late.start_as_current_span("decorated late")
async def awork():
    return trace.get_current_span()

with tracer.start_as_current_span("nowhere") as span:
    assert not span.is_recording()
assert not work().get_span_context().is_valid
"""
        + IN_MEMORY
        + """
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
from nuages.sdk.trace import Span
with tracer.start_as_current_span("a") as span:
    assert isinstance(span, Span)
assert tracer.start_as_current_span.__self__ is provider.get_tracer("early", "1"), "native from the second call on"
work()
asyncio.run(awork())
late.start_span("b").end()
names = [span.name for span in memory.get_finished_spans()]
assert names == ["a", "decorated early", "decorated late", "b"], names
assert memory.get_finished_spans()[0].instrumentation_scope.name == "early"
"""
    )


def test_a_provider_set_before_install_is_adopted(run_python: Any) -> None:
    run_python(
        IN_MEMORY
        + """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.resources import Resource
provider = TracerProvider(resource=Resource({"service.name": "mine"}))
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("before")
import nuages
nuages.install()
from nuages.sdk.trace import Span, TracerProvider as Native
assert trace.get_tracer_provider() is provider and isinstance(provider, Native)
for one in (tracer, trace.get_tracer("after")):
    with one.start_as_current_span("a") as span:
        assert isinstance(span, Span)
        assert span.resource.attributes["service.name"] == "mine"
assert len(memory.get_finished_spans()) == 2
"""
    )


def test_an_official_batch_processor_is_replaced_when_its_provider_is_adopted(
    run_python: Any, otlp_server: Any
) -> None:
    run_python(
        f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="{otlp_server.endpoint}", headers={{"x-key": "k"}})))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("t")
tracer.start_span("official").end()
import nuages
nuages.install()
assert provider._active_span_processor._span_processors[0].pipeline is not None
tracer.start_span("native").end()
provider.force_flush()
"""
    )
    otlp_server.wait_for(2)
    assert otlp_server.names() == ["native", "official"]
    assert all(one.metadata.get("x-key") == "k" for one in otlp_server.received)


HTTP_RECEIVER = """
import gzip, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
got = []
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        names = [span.name for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
        agent = "native" if "Nuages" in self.headers["user-agent"] else "official"
        got.extend((name, agent, self.path, self.headers.get("x-key"), self.headers.get("x-more")) for name in names)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/mine/v1/traces"
"""


@pytest.mark.parametrize("processor", ["BatchSpanProcessor", "SimpleSpanProcessor"])
@pytest.mark.parametrize(
    ("session", "agent", "more"),
    [("None", "native", "None"), ("plain", "native", "'m'"), ("special", "official", "'m'")],
)
def test_an_official_http_exporter_is_replaced_when_its_provider_is_adopted(
    run_python: Any, processor: str, session: str, agent: str, more: str
) -> None:
    """Where the requests.Session holds nothing that only requests can do; else it stays, and gets masked copies."""
    run_python(
        HTTP_RECEIVER
        + f"""
import requests
plain, special = requests.Session(), requests.Session()
plain.headers["x-more"] = special.headers["x-more"] = "m"
special.auth = ("user", "password")
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
provider = TracerProvider()
exporter = OTLPSpanExporter(endpoint=url, headers={{"x-key": "k"}}, timeout=7, compression=Compression.Gzip, session={session})
provider.add_span_processor({processor}(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("t")
tracer.start_span("before").end()
import nuages
nuages.install()
tracer.start_span("after by someone@example.com").end()
(processor,) = provider._active_span_processor._span_processors
assert provider.force_flush(20_000)
import time
deadline = time.monotonic() + 20
while len(got) < 2 and time.monotonic() < deadline:  # what was queued is flushed by a thread of its own
    time.sleep(0.01)
masked = "after by someone@example.com" not in str(got)
assert masked and got[0][0] == "before" or got[1][0] == "before", got
(after,) = [one for one in got if one[0].startswith("after")]
assert after[1:] == ("{agent}", "/mine/v1/traces", "k", {more}), after
assert (processor.pipeline is not None) == ("{agent}" == "native")
if processor.pipeline is not None:
    assert (processor.span_exporter._timeout, processor.span_exporter._compression) == (7, "gzip")
"""
    )


def test_an_official_grpc_exporter_with_credentials_stays(run_python: Any) -> None:
    run_python(
        """
import grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
for options in (
    {"endpoint": "https://127.0.0.1:1", "credentials": grpc.ssl_channel_credentials()},
    {"endpoint": "http://127.0.0.1:1", "channel_options": (("grpc.max_send_message_length", 5),)},
    {"endpoint": "http://127.0.0.1:1", "retryable_error_codes": [grpc.StatusCode.NOT_FOUND]},
    {"endpoint": "http://127.0.0.1:1", "compression": grpc.Compression.Gzip},
):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**options)))
trace.set_tracer_provider(provider)
import nuages
nuages.install()
processors = provider._active_span_processor._span_processors
assert [one.pipeline is not None for one in processors] == [False, False, False, True]
assert processors[3].span_exporter._compression == "gzip"
assert type(processors[0]).__module__ == "nuages.sdk.export" and type(processors[0].span_exporter).__module__.startswith("opentelemetry.")
import os
os._exit(0)
"""
    )


def test_exporter_classes_imported_before_install_make_native_exporters(run_python: Any) -> None:
    run_python(
        """
import grpc, requests
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
class Mine(Http):
    pass
import nuages
nuages.install()
assert [type(one()).__module__ for one in (Grpc, Http)] == ["nuages.sdk.otlp_grpc", "nuages.sdk.otlp_http"]
assert type(Http(session=requests.Session())) is Http and type(Mine()) is Mine
assert type(Grpc(credentials=grpc.ssl_channel_credentials())) is Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
assert OTLPSpanExporter.__module__ == "nuages.sdk.otlp_http"
"""
    )


OFFICIAL_FIRST = """
import sys
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    INSTALLED_APPS=APPS,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
held = DjangoInstrumentor()
held.instrument(excluded_urls="health/", request_hook=lambda span, request: span.set_attribute("hooked", True))
SQLite3Instrumentor().instrument()
import django
django.setup()
from django.db import connection
from django.http import HttpResponse
from django.urls import path
def hello(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("hello")
sys.modules["urls"] = type(sys)("urls")
sys.modules["urls"].urlpatterns = [path("hello/", hello), path("health/", hello)]
from django.test import Client
client = Client()
LATE
for url in ("/hello/", "/health/"):
    assert client.get(url).content == b"hello"
held.instrument()
spans = memory.get_finished_spans()
names = [span.name for span in spans]
assert {name: names.count(name) for name in EXPECTED} == dict.fromkeys(EXPECTED, 1), names
assert all(span.instrumentation_scope.name.startswith("nuages.") for span in spans)
(server,) = [span for span in spans if span.kind is trace.SpanKind.SERVER]
assert server.attributes["hooked"] is True
assert DjangoInstrumentor().is_instrumented_by_opentelemetry and DjangoInstrumentor.__module__.startswith("opentelemetry.")
from opentelemetry.instrumentation.django import DjangoInstrumentor as Now
assert type(DjangoInstrumentor()) is Now and Now.__module__ == "nuages.instrumentation.django"
"""


@pytest.mark.parametrize("late", [False, True], ids=["INSTALLED_APPS", "after the first request"])
def test_official_instrumentation_that_was_there_first_is_replaced(run_python: Any, late: bool) -> None:
    """The application's own tracing code ran before nuages came: each request and query is told once."""
    names = ["CONNECT", "GET /hello/", "SELECT", "__main__.hello"]
    if not late:  # middleware is hooked when a handler loads it
        names += ["CommonMiddleware.process_request", "CommonMiddleware.process_response"]
    # a connection that the official instrumentation has opened goes on telling its queries
    late_code = (
        "client.get('/hello/'); connection.connection = None; memory.clear(); import nuages; nuages.install()"
        if late
        else ""
    )
    code = OFFICIAL_FIRST.replace("APPS=APPS", f"APPS={[] if late else ['nuages']}").replace("LATE", late_code)
    run_python(code.replace("EXPECTED", repr(sorted(names))))


def test_the_second_provider_is_refused_as_by_the_api(run_python: Any) -> None:
    done = run_python(
        """
import logging
logging.basicConfig()
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
first = TracerProvider()
trace.set_tracer_provider(first)
trace.set_tracer_provider(TracerProvider())
assert trace.get_tracer_provider() is first
"""
    )
    assert done.stderr.count("Overriding of current TracerProvider is not allowed") == 1


def test_our_own_provider_gives_way_silently(run_python: Any, otlp_server: Any) -> None:
    done = run_python(
        """
import logging
logging.basicConfig(level=logging.WARNING)
import nuages.auto
from opentelemetry import trace
early = trace.get_tracer("early")
early.start_span("for ours").end()
from nuages import _install
assert trace.get_tracer_provider() is _install._own_provider
"""
        + IN_MEMORY
        + """
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
assert trace.get_tracer_provider() is provider
trace.get_tracer("x").start_span("for theirs").end()
early.start_span("early tracer").end()
assert [span.name for span in memory.get_finished_spans()] == ["for theirs", "early tracer"]
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
    )
    assert done.stderr == ""
    otlp_server.wait_for(1)
    assert otlp_server.names() == ["for ours"]


@pytest.mark.parametrize("variable", ["NUAGES_AUTO", "OTEL_PYTHON_DJANGO_INSTRUMENT"])
@pytest.mark.parametrize("word", ["true", "True", "1"])
def test_the_environment_switch(run_python: Any, variable: str, word: str) -> None:
    run_python(
        """
import sys
assert "nuages._install" not in sys.modules and "opentelemetry.trace" not in sys.modules, "nothing heavy at start"
from opentelemetry.sdk.trace import TracerProvider
assert TracerProvider.__module__ == "nuages.sdk.trace"
from opentelemetry.instrumentation.django import DjangoInstrumentor
assert DjangoInstrumentor.__module__.startswith("nuages.")
""",
        **{variable: word},
    )


@pytest.mark.parametrize("environment", [{}, {"NUAGES_AUTO": "0"}, {"OTEL_PYTHON_DJANGO_INSTRUMENT": "false"}])
def test_nothing_happens_without_the_switch(run_python: Any, environment: dict[str, str]) -> None:
    run_python(
        """
import sys
import opentelemetry.sdk.trace, django
assert not [name for name in sys.modules if name == "nuages._install"]
assert opentelemetry.sdk.trace.TracerProvider.__module__ == "opentelemetry.sdk.trace"
""",
        **environment,
    )


@pytest.mark.parametrize("trigger", ["django", "celery", "opentelemetry.trace"])
def test_the_switch_waits_for_a_library_it_concerns(run_python: Any, trigger: str) -> None:
    run_python(
        f"""
import sys, json, logging
assert "nuages._install" not in sys.modules
import {trigger}
assert "nuages._install" in sys.modules
assert sys.modules["{trigger}"].__spec__.loader.__class__.__name__ == "SourceFileLoader"
""",
        NUAGES_AUTO="1",
    )


def test_nuages_run(run_python: Any, tmp_path: Any) -> None:
    import subprocess
    import sys
    from pathlib import Path

    program = tmp_path / "p.py"
    program.write_text("from opentelemetry.sdk.trace import TracerProvider as T; print(T.__module__)")
    command = str(Path(sys.executable).with_name("nuages"))
    done = subprocess.run([command, "run", sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "nuages.sdk.trace\n", done.stderr
    missing = subprocess.run([command, "run", "no-such-command"], capture_output=True, text=True, timeout=60)
    assert missing.returncode == 127 and "no-such-command" in missing.stderr
    assert subprocess.run([command], capture_output=True, timeout=60).returncode == 2


@pytest.mark.parametrize("word", ["true", "True", "1"])
def test_disabled(run_python: Any, word: str) -> None:
    run_python(
        """
import nuages.auto
"""
        + GUIDE_IMPORTS
        + """
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://127.0.0.1:1")))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
with trace.get_tracer("x").start_as_current_span("a") as span:
    assert not span.is_recording()
    span.set_attribute("k", 1)
import nuages.hooks
assert nuages.hooks.installed() == ()
import os, pathlib
threads = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if name.startswith("nuages")], threads
""",
        OTEL_SDK_DISABLED=word,
    )


def test_django_can_be_left_untouched(run_python: Any) -> None:
    run_python(
        """
import nuages.auto
import django, celery.app
from opentelemetry.instrumentation.django import DjangoInstrumentor
DjangoInstrumentor().instrument()
import nuages.hooks
assert nuages.hooks.installed() == ("celery",), nuages.hooks.installed()
""",
        OTEL_PYTHON_DJANGO_INSTRUMENT="False",
    )


def test_giving_way_does_not_wait_for_a_dead_receiver(run_python: Any, tmp_path: Any) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        run_python(
            """
import nuages.auto, os, faulthandler
from opentelemetry import trace
trace.get_tracer("x").start_span("a").end()
faulthandler.dump_traceback_later(4, exit=True)
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
os._exit(0)
""",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )


def test_hooks_none_leaves_official_instrumentors_alone(run_python: Any, tmp_path: Any) -> None:
    package = tmp_path / "site" / "opentelemetry" / "instrumentation" / "django"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class DjangoInstrumentor:\n    official = True\n")
    run_python(
        """
import nuages.auto
from opentelemetry.instrumentation.django import DjangoInstrumentor
assert DjangoInstrumentor.official
import nuages.hooks
assert nuages.hooks.installed() == ()
from opentelemetry.sdk.trace import TracerProvider
assert TracerProvider.__module__ == "nuages.sdk.trace"
""",
        NUAGES_HOOKS="none",
        PYTHONPATH=str(tmp_path / "site"),
    )


def test_bad_settings_do_not_stop_the_program(run_python: Any) -> None:
    done = run_python(
        """
import logging
logging.basicConfig(level=logging.ERROR)
import nuages.auto
from opentelemetry import trace
trace.get_tracer("x").start_span("a").end()
print("alive")
""",
        NUAGES_MASKING="sometimes",
        NUAGES_SHUTDOWN_TIMEOUT="0",
        OTEL_TRACES_SAMPLER="nonsense",
    )
    assert done.stdout == "alive\n"
    assert "NUAGES_MASKING" in done.stderr and "'sometimes'" in done.stderr


def test_installed_app(run_python: Any, otlp_server: Any) -> None:
    run_python(
        """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["nuages"], OTEL_SERVICE_NAME="from-settings", SECRET_KEY="x", NUAGES={"HOOKS": "all", "OOPS": 1})
django.setup()
from opentelemetry import trace
from nuages.sdk.trace import TracerProvider
provider = trace.get_tracer_provider()
assert isinstance(provider, TracerProvider)
assert provider.resource.attributes["service.name"] == "from-settings"
trace.get_tracer("x").start_span("a").end()
from django.core.checks import run_checks
assert [message.id for message in run_checks() if message.id.startswith("nuages")] == ["nuages.W002"]
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
    )
    otlp_server.wait_for(1)


def test_native_log_lines_reach_logging_and_nothing_is_printed(run_python: Any) -> None:
    done = run_python(
        """
import logging
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append((record.name, record.levelname, record.getMessage()))
logging.getLogger("nuages").addHandler(Keep())
logging.getLogger("nuages").propagate = False
import nuages
nuages.install()
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://127.0.0.1:1"), export_timeout_millis=200))
tracer = provider.get_tracer("x")
tracer.start_span("a").end()
assert provider.force_flush(3000) is False
import time
deadline = time.monotonic() + 20
while not any("127.0.0.1:1" in line[2] for line in lines):
    assert time.monotonic() < deadline, lines
    tracer.start_span("next Python entry").end()
    time.sleep(0.01)
"""
    )
    assert done.stdout == "" and done.stderr == ""


def test_a_django_that_is_too_old_is_refused_with_one_line(run_python: Any) -> None:
    """`make compat` does it with a real Django 2.2, which does not run on this Python."""
    done = run_python(
        """
import django
django.VERSION = (2, 2, 28, "final", 0)
import nuages.auto
from nuages import hooks, default_app_config
from django.core.handlers.wsgi import WSGIHandler
import nuages.auto, django.core.cache
assert hooks.install_all() == hooks.installed() == ()
assert type(vars(WSGIHandler)["__call__"]).__name__ == "function"
assert default_app_config == "nuages.apps.NuagesConfig"
"""
    )
    assert done.stderr.count("\n") == 1
    assert "Django 2.2.28 is not supported" in done.stderr


def test_a_new_django_sees_no_old_name(run_python: Any) -> None:
    run_python("import nuages\nassert not hasattr(nuages, 'default_app_config')")


def test_a_fork_before_any_thread_pool(run_python: Any) -> None:
    """The official SDK asks its detectors in a thread pool in each forked child: the pool's own handlers must come before that."""
    run_python(
        """
import gc, os, signal
gc.disable()  # what install() tried is still there
import nuages
nuages.install()
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
def hung(*_):
    os.kill(child, signal.SIGKILL)
signal.signal(signal.SIGALRM, hung)
signal.alarm(20)
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
