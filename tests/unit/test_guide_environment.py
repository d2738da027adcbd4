"""The environment variables and settings of the guide, one test for each requirement: R2.01 to R2.09, R2.13 to R2.15, R16.10 and R20.02.

The modules under test are the example application's own `tracing.py` and `tracing_production.py`, unchanged, run by Nuages with a real receiver.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "example" / "django-order-service"
BASE = {
    "PYTHONPATH": str(EXAMPLE),
    "DJANGO_SETTINGS_MODULE": "myproject.settings",
    "DB_ENGINE": "sqlite3",
    "CELERY_BROKER_URL": "filesystem://",
    "HOSTNAME": "",
}
PROGRAM = """
import logging, os
for name in [name for name, value in os.environ.items() if not value]:
    del os.environ[name]
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
import nuages.auto
from myproject.MODULE import initialize_tracing
for _ in range(3):
    initialize_tracing()
from opentelemetry import trace
provider = trace.get_tracer_provider()
for number in range(SPANS):
    with trace.get_tracer("guide").start_as_current_span("work"):
        pass
provider.force_flush(FLUSH)
exporter = provider._active_span_processor._span_processors[0].span_exporter
print("EXPORTER", exporter._url, exporter._insecure, dict(exporter._headers), provider.sampler.get_description())
os._exit(0)
"""


@pytest.fixture
def guide(run_python: Any, otlp_server: Any) -> Any:
    """guide(module, **environment): stdout and stderr of the program above; spans go to the receiver unless the environment names another."""

    def run(module: str = "tracing", spans: int = 1, **environment: str) -> Any:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint, "SCOUT_API_KEY": "key", **environment}
        reachable = environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == otlp_server.endpoint
        code = (
            PROGRAM.replace("MODULE", module)
            .replace("SPANS", str(spans))
            .replace("FLUSH", "20_000" if reachable else "1")
        )
        return run_python(code, **{**BASE, **environment})

    return run


def resources(server: Any) -> list[dict[str, str]]:
    return [
        {one.key: one.value.string_value for one in group.resource.attributes}
        for received in server.received
        for group in received.request.resource_spans
    ]


def exporter(done: Any) -> str:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("EXPORTER ")]
    return line.removeprefix("EXPORTER ")


def test_service_name(guide: Any, otlp_server: Any) -> None:
    """R2.01: OTEL_SERVICE_NAME, default django-order-service; web, worker and ASGI processes are services of their own."""
    for name in ("", "django-celery-worker", "django-channels"):
        guide(OTEL_SERVICE_NAME=name)
    names = [one["service.name"] for one in resources(otlp_server)]
    assert names == ["django-order-service", "django-celery-worker", "django-channels"]


def test_service_version(guide: Any, otlp_server: Any) -> None:
    """R2.02: APP_VERSION, default 1.0.0."""
    for version in ("", "2.3.4"):
        guide(APP_VERSION=version)
    assert [one["service.version"] for one in resources(otlp_server)] == ["1.0.0", "2.3.4"]


@pytest.mark.parametrize(("module", "default"), [("tracing", "development"), ("tracing_production", "production")])
def test_environment(guide: Any, otlp_server: Any, module: str, default: str) -> None:
    """R2.03: ENVIRONMENT; each module keeps its own default, and the value is printed at start-up."""
    for value in ("", "staging"):
        done = guide(module, ENVIRONMENT=value, OTEL_TRACE_SAMPLE_RATE="1")
        assert f"Deployment environment: {value or default}\n".replace("\\\n", "\n") in done.stdout
    assert [one["deployment.environment"] for one in resources(otlp_server)] == [default, "staging"]


def test_where_it_runs(guide: Any, otlp_server: Any) -> None:
    """R2.04: cloud and Kubernetes attributes on every exported resource in production."""
    guide("tracing_production", OTEL_TRACE_SAMPLE_RATE="1")
    named = {
        "CLOUD_PROVIDER": "gcp",
        "AWS_REGION": "eu-west-1",
        "K8S_CLUSTER": "blue",
        "K8S_NAMESPACE": "shop",
    }
    guide("tracing_production", OTEL_TRACE_SAMPLE_RATE="1", **named, **{"HOSTNAME": "web-1"})
    keys = ["cloud.provider", "cloud.region", "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name"]
    assert [[one[key] for key in keys] for one in resources(otlp_server)] == [
        ["aws", "us-east-1", "production", "default", "unknown"],
        ["gcp", "eu-west-1", "blue", "shop", "web-1"],
    ]


@pytest.mark.parametrize(
    ("module", "endpoint", "url"),
    [
        ("tracing", "", "http://localhost:4317 True"),
        ("tracing_production", "", "https://scout.base14.io:4317 False"),
        ("tracing", "https://127.0.0.1:1", "https://127.0.0.1:1 False"),
        ("tracing_production", "http://127.0.0.1:1", "http://127.0.0.1:1 True"),
    ],
)
def test_endpoint(guide: Any, module: str, endpoint: str, url: str) -> None:
    """R2.05: OTEL_EXPORTER_OTLP_ENDPOINT: scheme, host and port are honoured; that spans arrive there is what every other test here shows."""
    assert exporter(guide(module, spans=0, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)).startswith(url)


AGAIN = """
import logging, os, sys, warnings
logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
warnings.simplefilter("always")
import nuages.auto
from myproject import MODULE as tracing
from opentelemetry.sdk.trace import TracerProvider
for value in VALUES:
    os.environ["VARIABLE"] = value
    print("VALUE", value, file=sys.stderr, flush=True)
    tracing._provider = tracing._announced_in = None
    made = []
    tracing.trace.set_tracer_provider = made.append
    tracing.initialize_tracing()
    (provider,) = made
    exporter = provider._active_span_processor._span_processors[0].span_exporter
    print("EXPORTER", exporter._url, exporter._insecure, provider.sampler.get_description(), flush=True)
os._exit(0)
"""


def test_insecure(run_python: Any) -> None:
    """R2.06: OTEL_EXPORTER_OTLP_INSECURE in any spelling; anything else is one warning that names it. Without a scheme it decides on TLS."""
    words = ["true", "True", "TRUE", "1", "false", "False", "0", "perhaps"]
    code = AGAIN.replace("MODULE", "tracing").replace("VALUES", repr(words))
    code = code.replace("VARIABLE", "OTEL_EXPORTER_OTLP_INSECURE")
    done = run_python(code, **BASE, OTEL_EXPORTER_OTLP_ENDPOINT="127.0.0.1:1")
    lines = [line for line in done.stdout.splitlines() if line.startswith("EXPORTER")]
    said = done.stderr.split("VALUE ")[1:]
    for word, line, errors in zip(words, lines, said):
        insecure = word.lower() in ("true", "1", "perhaps")
        assert line.startswith(f"EXPORTER {'http' if insecure else 'https'}://127.0.0.1:1 {insecure}")
        assert errors.startswith(word) and errors.count("Warning: OTEL_EXPORTER_OTLP_INSECURE") == (word == "perhaps")
    assert len(lines) == len(said) == len(words)


def test_api_key(guide: Any, otlp_server: Any, run_python: Any) -> None:
    """R2.07: SCOUT_API_KEY is sent as a bearer token; without one there is no header and one warning, also for the guide's own code."""
    done = guide("tracing_production", OTEL_TRACE_SAMPLE_RATE="1", SCOUT_API_KEY="secret-key")
    assert otlp_server.received[-1].metadata["authorization"] == "Bearer secret-key"
    # the key travels unencrypted to this receiver, which is said without showing it
    assert "SCOUT_API_KEY" not in done.stderr and "secret-key" not in done.stderr
    done = guide("tracing_production", OTEL_TRACE_SAMPLE_RATE="1", SCOUT_API_KEY="")
    assert "authorization" not in otlp_server.received[-1].metadata
    assert done.stderr.count("SCOUT_API_KEY") == 1
    for value in ("Bearer ", "Bearer None"):  # what the guide's samples send without a key
        code = f"""
import logging; logging.basicConfig()
import nuages; nuages.install()
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
print(OTLPSpanExporter(headers={{"authorization": {value!r}}}, insecure=False)._headers)
"""
        done = run_python(code)
        assert done.stdout == "()\n" and done.stderr.count("SCOUT_API_KEY") == 1 and len(done.stderr.splitlines()) == 1


def test_sample_rate(run_python: Any, guide: Any) -> None:
    """R2.08: OTEL_TRACE_SAMPLE_RATE; a wrong value is one error and the default, and the application starts."""
    rates = {"": 0.1, "0.25": 0.25, "1": 1.0, "0": 0.0, "ten": 0.1, "1.5": 0.1, "-1": 0.1, "nan": 0.1}
    code = AGAIN.replace("MODULE", "tracing_production").replace("VALUES", repr(list(rates)))
    done = run_python(code.replace("VARIABLE", "OTEL_TRACE_SAMPLE_RATE"), **BASE, SCOUT_API_KEY="key")
    lines = [line for line in done.stdout.splitlines() if line.startswith("EXPORTER")]
    announced = re.findall(r"\(sample rate: (.*)\)", done.stdout)
    said = done.stderr.split("VALUE ")[1:]
    for (value, rate), line, printed, errors in zip(rates.items(), lines, announced, said):
        assert f"root:TraceIdRatioBased{{{rate}}}" in line and float(printed) == rate
        wrong = value in ("ten", "1.5", "-1", "nan")
        assert errors.count(f"ERROR OTEL_TRACE_SAMPLE_RATE is {value!r}") == errors.count("SAMPLE_RATE") == wrong
    assert len(lines) == len(said) == len(rates)
    assert "(sample rate: 0.1)" in guide("tracing_production", spans=0, OTEL_TRACE_SAMPLE_RATE="ten").stdout


@pytest.mark.parametrize(
    ("word", "hooked"), [("true", True), ("True", True), ("1", True), ("false", False), ("False", False), ("0", False)]
)
def test_django_instrument(run_python: Any, word: str, hooked: bool) -> None:
    """R2.09: OTEL_PYTHON_DJANGO_INSTRUMENT=true instruments without a change of code; false leaves Django untouched."""
    run_python(
        f"""
import django.core.handlers.wsgi, django.db.backends.utils
from django.conf import settings
settings.configure()
import sys
hooks = sys.modules.get("nuages.hooks")
assert bool(hooks and "orm" in hooks.installed() and "request" in hooks.installed()) is {hooked}
assert (type(django.core.handlers.wsgi.WSGIHandler.__dict__["__call__"]).__module__ != "builtins") is {hooked}
""",
        OTEL_PYTHON_DJANGO_INSTRUMENT=word,
    )


SETTINGS = """
import logging, sys
logging.basicConfig(level=logging.WARNING)
import nuages.auto
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", OTEL_SERVICE_NAME="of settings", OTEL_EXPORTER_OTLP_ENDPOINT={endpoint!r}, INSTALLED_APPS=[])
django.setup()
from opentelemetry import trace
trace.get_tracer("t").start_span("a").end()
trace.get_tracer_provider().force_flush(20_000)
"""


def test_django_settings(run_python: Any, otlp_server: Any) -> None:
    """R2.13: OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT in the Django settings, when the variables are absent; those win."""
    run_python(SETTINGS.format(endpoint=otlp_server.endpoint))
    environment = {"OTEL_SERVICE_NAME": "of the environment", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint}
    run_python(SETTINGS.format(endpoint="http://127.0.0.1:1"), **environment)
    assert [one["service.name"] for one in resources(otlp_server)] == ["of settings", "of the environment"]


def test_standard_variables(run_python: Any, otlp_server: Any) -> None:
    """R2.14: the variables of the official SDK mean the same; arguments in code win."""
    done = run_python(
        """
import json
import nuages.auto
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from nuages import settings

def values(provider):
    processor = provider._active_span_processor._span_processors[0]
    worker, exporter = processor._batch_processor, processor.span_exporter
    with provider.get_tracer("t").start_as_current_span("span", attributes={"a": "12345678", "b": 1, "c": 2}) as span:
        for number in range(5):
            span.add_event(f"event {number}")
    return {
        "resource": {key: provider.resource.attributes.get(key) for key in ("team", "service.name")},
        "sampler": provider.sampler.get_description().partition(",")[0], "headers": dict(exporter._headers), "timeout": exporter._timeout,
        "batch": [worker._max_queue_size, worker._schedule_delay_millis, worker._max_export_batch_size, worker._export_timeout_millis],
        "attributes": dict(span.attributes), "events": len(span.events),
    }
trace.get_tracer("t").start_span("makes the provider").end()
first = values(trace.get_tracer_provider())
code = TracerProvider(sampler=sampling.ALWAYS_ON, span_limits=SpanLimits(max_span_attributes=3, max_events=4, max_span_attribute_length=6))
code.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(headers="x-key=code", timeout=3), 64, 1000, 16, 2000))
print(json.dumps([first, values(code), settings.get("excluded_urls")]))
trace.get_tracer_provider().force_flush(20_000)
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
        OTEL_RESOURCE_ATTRIBUTES="team=a%20b,service.name=loses",
        OTEL_SERVICE_NAME="wins",
        OTEL_EXPORTER_OTLP_HEADERS="x-key=environment",
        OTEL_EXPORTER_OTLP_TIMEOUT="7",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="1.0",
        OTEL_BSP_MAX_QUEUE_SIZE="128",
        OTEL_BSP_SCHEDULE_DELAY="3000",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32",
        OTEL_BSP_EXPORT_TIMEOUT="4000",
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="5",
        OTEL_SPAN_EVENT_COUNT_LIMIT="2",
        OTEL_PYTHON_DJANGO_EXCLUDED_URLS="health/,ready/",
    )
    environment, code, excluded = json.loads(done.stdout)
    assert environment == {
        "resource": {"team": "a b", "service.name": "wins"},
        "sampler": "ParentBased{root:TraceIdRatioBased{1.0}",
        "headers": {"x-key": "environment"},
        "timeout": 7,
        "batch": [128, 3000, 32, 4000],
        "attributes": {"b": 1, "c": 2},  # the oldest goes, as in the official SDK
        "events": 2,
    }
    assert code["resource"] == environment["resource"] and excluded == ["health/", "ready/"]
    assert (code["sampler"], code["headers"], code["timeout"]) == ("AlwaysOnSampler", {"x-key": "code"}, 3)
    assert (code["batch"], code["events"]) == ([64, 1000, 16, 2000], 4)
    assert code["attributes"] == {"a": "123456", "b": 1, "c": 2}
    assert otlp_server.received[0].metadata["x-key"] == "environment"


def test_printed_lines(guide: Any) -> None:
    """R2.15: each module prints its line once per process, however often it is initialised."""
    assert guide(spans=0).stdout.count("OpenTelemetry tracing initialized successfully\n") == 1
    done = guide(
        "tracing_production", spans=0, OTEL_SERVICE_NAME="shop", APP_VERSION="2.0", OTEL_TRACE_SAMPLE_RATE="0.5"
    )
    assert re.findall("^OpenTelemetry initialized: .*", done.stdout, re.MULTILINE) == [
        "OpenTelemetry initialized: shop v2.0 (sample rate: 0.5)"
    ]


def test_gzip_http_and_console(run_python: Any) -> None:
    """R16.10: gzip, OTLP/HTTP, and spans on the console or in a file for debugging."""
    done = run_python(
        """
import gzip, os, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
got = []
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
        got.append((self.headers["content-encoding"], self.path, request.resource_spans[0].scope_spans[0].spans[0].name))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_address[1]}"
import nuages.auto
from opentelemetry import trace
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
tracer = trace.get_tracer("t")
from nuages._install import ensure_provider
ensure_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=open("spans.json", "w"))))
with tracer.start_as_current_span("by someone@example.com"):
    pass
assert trace.get_tracer_provider().force_flush(20_000)
assert len(got) == 1 and got[0][:2] == ("gzip", "/v1/traces") and "someone" not in got[0][2], got
import json
assert json.loads(open("spans.json").read())["name"] == got[0][2]
""",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_TRACES_EXPORTER="otlp,console",
    )
    printed = json.loads(done.stdout)
    assert printed["kind"] == "SpanKind.INTERNAL" and "someone" not in done.stdout


DISABLED_BY_SETTINGS = """
import os, sys
import nuages.auto
# the guide's order: tracing first, settings later
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
early = trace.get_tracer("early")
DjangoInstrumentor().instrument()
from django.conf import settings
import django
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], INSTALLED_APPS=[], MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    **({"OTEL_SDK_DISABLED": VALUE} if "test" in sys.argv or "pytest" in sys.modules else {})
)
django.setup()
from django.http import HttpResponse
from django.urls import path
sys.modules["urls"] = type(sys)("urls")
sys.modules["urls"].urlpatterns = [path("", lambda request: HttpResponse("hello"))]
from django.test import Client
assert Client().get("/").content == b"hello"
with early.start_as_current_span("a") as span, trace.get_tracer("late").start_as_current_span("b") as late:
    recorded = [span.is_recording(), late.is_recording()]
import nuages.hooks
print(recorded, bool(nuages.hooks.installed()), len(os.listdir("/proc/self/task")) > 1)
"""


@pytest.mark.parametrize(
    ("value", "runner"), [("True", "manage.py test"), ("'true'", "pytest"), ("'1'", "manage.py test")]
)
def test_disabled_by_django_settings(run_python: Any, value: str, runner: str) -> None:
    """R20.02: OTEL_SDK_DISABLED in the Django settings, also when tracing was set up before they were loaded; under pytest too."""
    under = "import sys; sys.argv.append('test')\n" if runner == "manage.py test" else "import pytest\n"
    done = run_python(under + DISABLED_BY_SETTINGS.replace("VALUE", value))
    assert done.stdout == "[False, False] False False\n" and done.stderr == ""


def test_tracing_in_tests_when_somebody_wants_it(run_python: Any, otlp_server: Any) -> None:
    """R20.02: the environment wins over the setting; and outside of tests nothing is switched off."""
    code = DISABLED_BY_SETTINGS.replace("VALUE", "True")
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint}
    assert (
        run_python("import pytest\n" + code, OTEL_SDK_DISABLED="false", **endpoint).stdout == "[True, True] True True\n"
    )
    otlp_server.wait_for(1)
    assert run_python(code, **endpoint).stdout == "[True, True] True True\n"


@pytest.mark.parametrize("runner", ["import sys; sys.argv.append('test')", "import pytest"])
def test_the_example_switches_tracing_off_in_its_tests(run_python: Any, runner: str) -> None:
    """R20.02, in the example's own settings."""
    code = "\nfrom django.conf import settings; print(getattr(settings, 'OTEL_SDK_DISABLED', False))"
    assert run_python(runner + code, **BASE).stdout == "True\n"
    assert run_python(code, **BASE).stdout == "False\n"
