"""Serves the test project to the tests: one JSON command per line on stdin, one JSON answer per line on stdout.

{"do": "request", "method": "GET", "path": "/books/", "headers": {...}, "body": "..."} calls the WSGI application as a server would and answers
with status, body, the spans that were finished before the response was closed and those after it. {"do": "scenario", "name": "..."} calls that
function of scenarios.py. Both answers carry every span that ended meanwhile.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import wsgiref.util

HERE = os.path.dirname(os.path.abspath(__file__))


def start(sampler=None):
    """nuages, an in-memory exporter, Django, an empty database with a few rows. Returns the exporter."""
    sys.path.insert(0, HERE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
    import nuages
    from opentelemetry import trace

    nuages.install()
    from opentelemetry.sdk.trace import TracerProvider, sampling
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    rate = os.environ.get("BOOKSHOP_SAMPLE_RATE")
    provider = TracerProvider(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(float(rate))) if rate else None)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    fill()
    exporter.clear()
    return exporter


def fill():
    from catalog.models import Author, Book, Tag
    from django.contrib.auth.models import User

    User.objects.create_user("ann", email="ann@example.com")
    tag = Tag.objects.create(name="new")
    for number in range(1, 13):
        book = Book.objects.create(title=f"Book {number}", author=Author.objects.create(name=f"Author {number}"))
        book.tags.add(tag)


def describe(span):
    context = span.get_span_context()
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent is not None else "",
        "attributes": dict(span.attributes),
        "events": [{"name": event.name, "attributes": dict(event.attributes)} for event in span.events],
        "links": [
            {
                "trace_id": f"{link.context.trace_id:032x}",
                "span_id": f"{link.context.span_id:016x}",
                "attributes": dict(link.attributes),
            }
            for link in span.links
        ],
        "status": span.status.status_code.name,
        "status_message": span.status.description or "",
        "start": span.start_time,
        "end": span.end_time,
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else "",
    }


def environ_of(command):
    path, _, query = command["path"].partition("?")
    body = command.get("body", "").encode()
    environ = {
        "REQUEST_METHOD": command.get("method", "GET"),
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": command.get("script", ""),
        "HTTP_HOST": "testserver",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": command.get("content_type", "application/json"),
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in command.get("headers", {}).items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    wsgiref.util.setup_testing_defaults(environ)
    return environ


def request(application, exporter, command):
    answer = {}

    def start_response(status, headers, exc_info=None):
        answer["status"] = int(status.split()[0])
        answer["headers"] = dict(headers)

    body = application(environ_of(command), start_response)
    try:
        answer["body"] = b"".join(body).decode()
        answer["before_close"] = [describe(span) for span in exporter.get_finished_spans()]
    finally:
        if hasattr(body, "close"):
            body.close()
    return answer


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # anything the application prints goes to stderr
    os.dup2(2, 1)
    exporter = start()
    import scenarios
    from bookshop.wsgi import application
    from opentelemetry import trace

    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        exporter.clear()
        try:
            if command["do"] == "request":
                answer = request(application, exporter, command)
            else:
                answer = {"result": getattr(scenarios, command["name"])(**command.get("arguments", {}))}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        answer["leaked"] = trace.get_current_span().get_span_context().is_valid
        answer["spans"] = [describe(span) for span in exporter.get_finished_spans()]
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
