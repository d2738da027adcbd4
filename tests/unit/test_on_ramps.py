"""The ways in that need no code: the official `opentelemetry-instrument`, and what OpenTelemetry's variables name by entry points.

Both with the official OTLP and instrumentation packages installed and as if they were not. Each program is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("opentelemetry-instrument")

# A Django project in one file, asked for one page by its own manage.py command-to-be.
MANAGE = """
import os, sys
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF="manage", ALLOWED_HOSTS=["*"], MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, INSTALLED_APPS=[],
)
import django
django.setup()
from django.db import connection
from django.http import HttpResponse
from django.urls import path

def hello(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("hello")

urlpatterns = [path("hello/", hello)]

if __name__ == "__main__":
    sys.modules["manage"] = sys.modules["__main__"]
    from django.test import Client
    assert Client().get("/hello/").content == b"hello"
    from opentelemetry import trace
    print(type(trace.get_tracer_provider()).__module__, end=" ")
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    print(DjangoInstrumentor.__module__)
"""

# Starts Python as usual, but as if the official exporter and instrumentation packages were not installed: their modules are not found, nor their
# entry points. `python -S boot.py PROGRAM`: site.py, and with it the command's sitecustomize, runs in here.
BOOT = """
import importlib.machinery, importlib.metadata, os, runpy, site, sys
HIDDEN = ("grpc", "google.rpc", "opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.distro") + tuple(
    "opentelemetry.instrumentation." + name for name in ("django", "celery", "redis", "psycopg2", "sqlite3", "pymysql", "wsgi", "asgi", "dbapi"))
find = importlib.machinery.PathFinder.find_spec
def find_visible(name, path=None, target=None):
    return None if any(name == one or name.startswith(one + ".") for one in HIDDEN) else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_visible
discover = importlib.metadata.MetadataPathFinder.find_distributions
def visible(context=importlib.metadata.DistributionFinder.Context()):
    for found in discover(context):
        name = (found.metadata["Name"] or "").replace("_", "-")
        if not name.startswith(("opentelemetry-exporter", "opentelemetry-distro", "opentelemetry-instrumentation-")):
            yield found
importlib.metadata.MetadataPathFinder.find_distributions = visible
site.main()
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def instrument(folder: Path, code: str, hide_official: bool = False, **environment: str) -> Any:
    """`opentelemetry-instrument python manage.py` in a folder of its own."""
    assert COMMAND.exists(), "opentelemetry-instrument is not installed (requirements-check-official.txt)"
    (folder / "manage.py").write_text(code)
    (folder / "boot.py").write_text(BOOT)
    python = [sys.executable, "-S", "boot.py"] if hide_official else [sys.executable]
    done = subprocess.run(
        [str(COMMAND), *python, "manage.py"],
        cwd=folder,
        env={**os.environ, "OTEL_SERVICE_NAME": "shop", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("hide_official", [False, True], ids=["official installed", "official absent"])
@pytest.mark.parametrize("distro", ["", "nuages"])
def test_opentelemetry_instrument(tmp_path: Path, otlp_server: Any, hide_official: bool, distro: str) -> None:
    """With opentelemetry-distro installed too, which distro the command takes first is left to the file system; ours wins in any case."""
    chosen = {"OTEL_PYTHON_DISTRO": distro, "OTEL_PYTHON_CONFIGURATOR": distro} if distro else {}
    done = instrument(
        tmp_path,
        MANAGE,
        hide_official,
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        **chosen,
    )
    assert done.stdout == "nuages.sdk.trace nuages.instrumentation.django\n", done.stderr
    spans = otlp_server.wait_for(5)
    names = {span.name for span in spans}
    assert {"GET /hello/", "CommonMiddleware.process_request", "SELECT"} <= names, names
    assert len([span for span in spans if span.name == "GET /hello/"]) == 1, "one server span, not one of each package"
    resource = otlp_server.received[0].request.resource_spans[0].resource
    values = {one.key: one.value.string_value for one in resource.attributes}
    assert values["service.name"] == "shop" and "nuages.version" in values and "telemetry.auto.version" in values


def test_another_distro_can_be_chosen(tmp_path: Path, otlp_server: Any) -> None:
    done = instrument(
        tmp_path,
        "import opentelemetry.trace as t; print(type(t.get_tracer_provider()).__module__)",
        OTEL_PYTHON_DISTRO="distro",
        OTEL_PYTHON_CONFIGURATOR="configurator",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_server.endpoint,
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert done.stdout == "opentelemetry.sdk.trace\n", done.stderr


GUIDE = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(resource=Resource.create({}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True)))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
RedisInstrumentor().instrument()
"""
# way -> (lines before the project's, what goes into INSTALLED_APPS, environment, command in front)
WAYS: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "INSTALLED_APPS": ("", "nuages", {}, ()),
    "nuages run": ("", "", {}, ("nuages", "run")),
    "NUAGES_AUTO": ("", "", {"NUAGES_AUTO": "1"}, ()),
    "OTEL_PYTHON_DJANGO_INSTRUMENT": ("", "", {"OTEL_PYTHON_DJANGO_INSTRUMENT": "true"}, ()),
    "import nuages.auto": ("import nuages.auto\n", "", {}, ()),
    "install() and the guide's code": ("import nuages; nuages.install()\n" + GUIDE, "", {}, ()),
    "NUAGES_AUTO and the guide's code": (GUIDE, "", {"NUAGES_AUTO": "1"}, ()),
    "the guide's code and INSTALLED_APPS": (GUIDE, "nuages", {}, ()),
    "opentelemetry-instrument and INSTALLED_APPS": ("", "nuages", {}, ("opentelemetry-instrument",)),
}


@pytest.mark.parametrize("hide_official", [False, True], ids=["official installed", "official absent"])
@pytest.mark.parametrize("way", WAYS)
def test_every_on_ramp(tmp_path: Path, otlp_server: Any, way: str, hide_official: bool) -> None:
    """The same spans by every way, each once."""
    if way == "the guide's code and INSTALLED_APPS" and hide_official:
        pytest.skip("without nuages the guide's imports need the official packages")
    first, application, environment, front = WAYS[way]
    code = MANAGE.replace("INSTALLED_APPS=[]", f"INSTALLED_APPS={[application] if application else []}")
    if application and first:  # the official instrumentor needs the settings
        first, code = "", code.replace("import django\n", first + "import django\n")
    (tmp_path / "manage.py").write_text(first + code)
    (tmp_path / "boot.py").write_text(BOOT)
    command = [str(Path(sys.executable).with_name(front[0])), *front[1:]] if front else []
    done = subprocess.run(
        [*command, sys.executable, *(["-S", "boot.py"] if hide_official else []), "manage.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout == "nuages.sdk.trace nuages.instrumentation.django\n", done.stderr
    names = [span.name for span in otlp_server.wait_for(5)]
    once = [
        "CommonMiddleware.process_request",
        "CommonMiddleware.process_response",
        "GET /hello/",
        "SELECT",
        "__main__.hello",
    ]
    assert {name: names.count(name) for name in once} == dict.fromkeys(once, 1), names


# ---- names in variables

PLUGIN = """
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.resources import Resource, ResourceDetector

class Mine(SpanExporter):
    def export(self, spans):
        for span in spans:
            print(span.name, format(span.context.trace_id, "x"), dict(span.attributes), span.resource.attributes.get("planet"))
        return SpanExportResult.SUCCESS
    def shutdown(self):
        pass

class Counting(IdGenerator):
    last = 0
    def generate_trace_id(self):
        Counting.last += 1
        return Counting.last
    generate_span_id = generate_trace_id

class Picky(Sampler):
    def __init__(self, argument):
        self.word = argument
    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        wanted = Decision.RECORD_AND_SAMPLE if self.word in name else Decision.DROP
        return SamplingResult(wanted, {**(attributes or {}), "picked": self.word})
    def get_description(self):
        return "Picky"

class Pigeon(TextMapPropagator):
    def extract(self, carrier, context=None, getter=default_getter):
        return context
    def inject(self, carrier, context=None, setter=default_setter):
        setter.set(carrier, "pigeon", "coo")
    fields = {"pigeon"}

class Planet(ResourceDetector):
    def detect(self):
        return Resource({"planet": "earth"})

class NoExporter:
    pass
"""
ENTRY_POINTS = """
[opentelemetry_traces_exporter]
mine = plugin_of_mine:Mine
wrong = plugin_of_mine:NoExporter
[opentelemetry_id_generator]
counting = plugin_of_mine:Counting
[opentelemetry_traces_sampler]
picky = plugin_of_mine:Picky
[opentelemetry_propagator]
pigeon = plugin_of_mine:Pigeon
[opentelemetry_resource_detector]
planet = plugin_of_mine:Planet
"""
PROGRAM = """
import logging
logging.basicConfig(level=logging.ERROR, format="%(message)s")
IMPORTS
from opentelemetry import propagate, trace
tracer = trace.get_tracer("t")
for name in ("keep one", "drop one", "keep two"):
    with tracer.start_as_current_span(name):
        propagate.inject(carrier := {}, propagate.Context())
print(sorted(carrier))
trace.get_tracer_provider().force_flush()
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder that looks like site-packages with one distribution in it."""
    folder = tmp_path / "site"
    information = folder / "plugin_of_mine-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "plugin_of_mine.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-mine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


NAMED = {
    "OTEL_TRACES_EXPORTER": "mine",
    "OTEL_PYTHON_ID_GENERATOR": "counting",
    "OTEL_TRACES_SAMPLER": "picky",
    "OTEL_TRACES_SAMPLER_ARG": "keep",
    "OTEL_PROPAGATORS": "pigeon",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "planet",
}


@pytest.mark.parametrize("hide_official", [False, True], ids=["official installed", "official absent"])
@pytest.mark.parametrize("way", ["import nuages.auto", "NUAGES_AUTO", "opentelemetry-instrument", "tracer provider"])
def test_what_variables_name_by_entry_points(
    run_python: Any, tmp_path: Path, plugin: Path, way: str, hide_official: bool
) -> None:
    environment = {**NAMED, "PYTHONPATH": str(plugin)}
    if way == "opentelemetry-instrument":
        code = PROGRAM.replace("IMPORTS", "")
        done = instrument(tmp_path, code, hide_official, **environment, OTEL_METRICS_EXPORTER="none")
    else:
        code = PROGRAM.replace("IMPORTS", "import nuages.auto" if way == "import nuages.auto" else "")
        environment |= {"NUAGES_AUTO": "1"} if way == "NUAGES_AUTO" else {}
        environment |= {"OTEL_PYTHON_TRACER_PROVIDER": "nuages"} if way == "tracer provider" else {}
        done = run_python(code, hide_official=hide_official, **environment)
    assert done.stdout.splitlines() == [
        "['pigeon']",
        "keep one 1 {'picked': 'keep'} earth",
        "keep two 5 {'picked': 'keep'} earth",
    ], done.stderr
    # which the command says of every second configurator, whatever is chosen
    assert not [line for line in done.stderr.splitlines() if not line.startswith("Configuration of ")]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_TRACES_EXPORTER", "nobody", "no installed package"),
        ("OTEL_TRACES_EXPORTER", "wrong", "no SpanExporter"),
        ("OTEL_PYTHON_ID_GENERATOR", "nobody", "no installed package"),
        ("OTEL_TRACES_SAMPLER", "nobody", "no installed package"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_error_and_the_default(
    run_python: Any, plugin: Path, otlp_server: Any, variable: str, value: str, words: str
) -> None:
    environment = {variable: value, "PYTHONPATH": str(plugin), "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint}
    done = run_python(PROGRAM.replace("IMPORTS", "import nuages.auto"), **environment)
    (line,) = done.stderr.splitlines()
    assert variable in line and repr(value) in line and words in line
    otlp_server.wait_for(3)


def test_several_exporters_and_none(run_python: Any, otlp_server: Any, plugin: Path) -> None:
    environment = {"PYTHONPATH": str(plugin), "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint}
    code = PROGRAM.replace("IMPORTS", "import nuages.auto")
    done = run_python(code, OTEL_TRACES_EXPORTER="console, otlp,mine", **environment)
    assert done.stdout.count('"name": "keep one"') == 1 and done.stdout.count("keep one ") == 1
    otlp_server.wait_for(3)
    code = code.replace("trace.get_tracer_provider().force_flush()", "print(trace.get_tracer_provider())")
    assert "Proxy" in run_python(code, OTEL_TRACES_EXPORTER="none", **environment).stdout
    assert len(otlp_server.spans()) == 3
