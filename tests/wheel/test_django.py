"""Django through the installed wheel: every on-ramp, the tree of a request, the N+1 finding."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import attributes

TREE = [
    "GET /books/{shelf}/",
    "  CommonMiddleware.process_request",
    "  urls.resolve",
    "  shop_urls.books",
    "    SELECT FROM shop_app_book",
    *["    SELECT FROM shop_app_author WHERE id = ?"] * 10,
    "    books.html",
    "  CommonMiddleware.process_response",
]

ON_RAMPS = {
    "INSTALLED_APPS": (
        "import shop_settings; shop_settings.INSTALLED_APPS.append('nuages')\nimport serve; serve.main()",
        {},
    ),
    "import nuages.auto": ("import nuages.auto\nimport serve; serve.main()", {}),
    "NUAGES_AUTO": ("import serve; serve.main()", {"NUAGES_AUTO": "1"}),
    "OTEL_PYTHON_DJANGO_INSTRUMENT": ("import serve; serve.main()", {"OTEL_PYTHON_DJANGO_INSTRUMENT": "true"}),
    "the guide's own code": (
        """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "guide"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
import serve; serve.main()
""",
        {"NUAGES_AUTO": "1"},
    ),
}


def request_lines(receiver):
    lines = receiver.tree()
    start = next(number for number, line in enumerate(lines) if line.startswith("GET "))
    return lines[start:]


@pytest.mark.parametrize("name", ON_RAMPS)
def test_every_on_ramp_traces_a_request(program, receiver, name):
    code, environment = ON_RAMPS[name]
    done = program(code, **environment)
    assert done.stdout.startswith("200 OK Book 0 by Author 0,")
    assert request_lines(receiver) == TREE
    assert receiver.resource()["service.name"] == ("guide" if "guide" in name else "shop_settings")


def test_nuages_run(program, receiver):
    program("import serve; serve.main()", command=(str(Path(sys.executable).parent / "nuages"), "run"), NUAGES_AUTO="")
    assert request_lines(receiver) == TREE


def test_the_n_plus_one_query_is_found_with_its_line_and_the_fix(program, receiver):
    program("import nuages.auto\nimport serve; serve.main()")
    server = next(span for span in receiver.spans() if span.name.startswith("GET "))
    values = attributes(server)
    assert values["db.query_count"] == 11 and values["db.potential_n_plus_one"] is True
    assert values["db.max_query_repetitions"] == 10
    texts = [str(attributes(event)) for event in server.events]
    assert any("shop_urls.py" in text and "select_related" in text for text in texts), texts


def test_an_async_view_and_no_error_on_stderr(program, receiver):
    done = program("import nuages.auto\nimport serve; serve.main(['/later/'])")
    assert done.stdout == "200 OK 10\n" and done.stderr == ""
    names = [line.strip() for line in request_lines(receiver)]
    assert (
        names[0] == "GET /later/" and "shop_urls.later" in names and any(name.startswith("SELECT ") for name in names)
    )


def test_nothing_happens_without_an_on_ramp(program, receiver):
    done = program(
        "import serve, sys; serve.main(); assert not [name for name in sys.modules if name.startswith('nuages')]"
    )
    assert done.stdout.startswith("200 OK") and receiver.spans() == []
