"""One process: nuages, spans kept in memory, Django with an empty database of six books."""

from __future__ import annotations

import io
import os
import sys
import wsgiref.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for name in list(os.environ):
    if name.startswith(("OTEL_", "NUAGES_", "DJANGO_")):
        del os.environ[name]
sys.path.insert(0, str(HERE))
os.environ["DJANGO_SETTINGS_MODULE"] = "compat_settings"

import nuages  # noqa: E402

nuages.install()

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

import django  # noqa: E402

django.setup()


def fill(alias="default"):
    from django.db import connections
    from store.models import Author, Book

    with connections[alias].schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    for number in range(6):
        author = Author.objects.using(alias).create(name=f"Author {number}")
        Book.objects.using(alias).create(title=f"Book {number}", author=author)


fill()


class Spans:
    """What has ended since the test began."""

    def __iter__(self):
        return iter(exporter.get_finished_spans())

    def named(self, name):
        [found] = [span for span in self if span.name == name]
        return found

    def tree(self):
        """Names indented by depth, in order of start."""
        spans = sorted(self, key=lambda span: span.start_time)
        known = {span.context.span_id for span in spans}
        lines = []

        def walk(parent, depth):
            for span in spans:
                own = span.parent.span_id if span.parent is not None and span.parent.span_id in known else None
                if own == parent:
                    lines.append("  " * depth + span.name)
                    walk(span.context.span_id, depth + 1)

        walk(None, 0)
        return lines


@pytest.fixture
def spans():
    exporter.clear()
    yield Spans()
    assert trace.get_current_span() is trace.INVALID_SPAN, "a span is still current"


@pytest.fixture(scope="session")
def application():
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


@pytest.fixture
def get(application):
    def request(path, method="GET", body=b"", content_type="application/json", **headers):
        environ = {
            "PATH_INFO": path,
            "REQUEST_METHOD": method,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": content_type,
            **headers,
        }
        wsgiref.util.setup_testing_defaults(environ)
        status = []
        answer = application(environ, lambda line, headers, exc_info=None: status.append(line))
        try:
            text = b"".join(answer).decode()
        finally:
            answer.close()
        return int(status[0].split()[0]), text

    return request
