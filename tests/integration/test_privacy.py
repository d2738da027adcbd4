"""Masking profiles and the user's own rules, in the bytes that a receiver gets (R14)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

SETUP = """
import logging, nuages
logging.basicConfig(format="%(message)s")
{before}
nuages.install({options})
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
memory = InMemorySpanExporter()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="{endpoint}")))
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("scope of jane@example.com")
"""


def program(otlp_server: Any, code: str, options: str = "", before: str = "") -> str:
    return SETUP.format(endpoint=otlp_server.endpoint, options=options, before=before) + code


def value_of(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in any_value.array_value.values]
    return None if kind is None else getattr(any_value, kind)


def attributes_of(message: Any) -> dict[str, Any]:
    return {item.key: value_of(item.value) for item in message.attributes}


def bytes_sent(otlp_server: Any) -> bytes:
    return b"".join(received.request.SerializeToString() for received in otlp_server.received)


EVERYWHERE = """
from opentelemetry.trace import Link, SpanContext, TraceFlags, TraceState
other = SpanContext(1, 2, True, TraceFlags(1), TraceState([("v", "jane@example.com")]))
context = trace.set_span_in_context(trace.NonRecordingSpan(other))
with tracer.start_as_current_span("for jane@example.com", context=context, links=[Link(other, {"k jane@example.com": "555-123-4567"})]) as span:
    span.set_attribute("jane@example.com", 1)
    span.set_attribute("mixed", ["jane@example.com", "x"])
    span.set_attribute("bytes", [b"jane@example.com"])
    span.add_event("saw jane@example.com", {"jane@example.com": "123-45-6789"})
    span.update_name("still jane@example.com")
    try:
        raise ValueError("no such user jane@example.com")
    except ValueError as error:
        span.record_exception(error)
        span.set_status(trace.Status(trace.StatusCode.ERROR, "jane@example.com"))
assert "jane@example" not in repr([
    (s.name, dict(s.attributes), [(e.name, dict(e.attributes)) for e in s.events], s.context.trace_state.to_header(),
     s.status.description, [(l.context.trace_state.to_header(), dict(l.attributes)) for l in s.links])
    for s in memory.get_finished_spans()])
"""


@pytest.mark.parametrize("profile", ["on", "guide", "gdpr", "hipaa"])
def test_nothing_planted_leaves_by_any_part_of_a_span(run_python: Any, otlp_server: Any, profile: str) -> None:
    run_python(program(otlp_server, EVERYWHERE, f'masking="{profile}"'))
    otlp_server.wait_for(1)
    sent = bytes_sent(otlp_server)
    assert b"still ***@***.**" in sent
    for planted in (b"jane", b"555-123", b"123-45"):
        assert planted not in sent


PEOPLE = """
with tracer.start_as_current_span("GET", attributes={
    "user.id": 7, "enduser.id": "jane", "session.id": "s", "client.address": "203.0.113.7", "net.peer.ip": "203.0.113.7",
    "http.url": "https://u:p@shop.example/find?name=Jane+Doe&token=abc", "note": "card 4111 1111 1111 1111 from 203.0.113.7",
    "http.request.header.authorization": "Basic abc", "http.user_agent": "curl"}):
    pass
"""


def test_profiles(run_python: Any, otlp_server: Any) -> None:
    run_python(program(otlp_server, PEOPLE))
    assert attributes_of(otlp_server.wait_for(1)[0]) == {
        "user.id": 7,
        "enduser.id": "jane",
        "session.id": "s",
        "client.address": "203.0.113.7",
        "net.peer.ip": "203.0.113.7",
        "http.url": "https://***@shop.example/find?name=Jane+Doe&token=***",
        "note": "card 4111 1111 1111 1111 from 203.0.113.7",
        "http.request.header.authorization": "***",
        "http.user_agent": "curl",
    }


def test_private_profiles(run_python: Any, otlp_server: Any) -> None:
    run_python(program(otlp_server, PEOPLE, 'masking="gdpr"'))
    assert attributes_of(otlp_server.wait_for(1)[0]) == {
        "http.url": "https://***@shop.example/find?name=***&token=***",
        "note": "card **** from *.*.*.*",
        "http.request.header.authorization": "***",
        "http.user_agent": "curl",
    }


LIMITS = """
limits = provider._span_limits
print(limits.max_span_attributes, limits.max_events, limits.max_links, limits.max_span_attribute_length)
"""


def test_private_limits(run_python: Any, otlp_server: Any) -> None:
    code = program(otlp_server, LIMITS, 'masking="hipaa"')
    assert run_python(code).stdout.split() == ["32", "32", "32", "256"]
    assert run_python(code, OTEL_ATTRIBUTE_COUNT_LIMIT="50").stdout.split() == ["50", "32", "32", "256"]
    assert run_python(program(otlp_server, LIMITS)).stdout.split() == ["128", "128", "128", "None"]


def test_a_profile_of_late_django_settings_counts(run_python: Any, otlp_server: Any) -> None:
    code = """
from django.conf import settings
settings.configure(NUAGES={"MASKING": "gdpr", "MASK_KEYS": ["customer.*"]})
settings.DEBUG
with tracer.start_as_current_span("late") as span:
    span.set_attributes({"user.id": 7, "customer.name": "Jane", **{f"k{n}": "x" * 300 for n in range(40)}})
"""
    run_python(program(otlp_server, code))
    (span,) = otlp_server.wait_for(1)
    found = attributes_of(span)
    assert "user.id" not in found and len(found) <= 32 and {len(value) for value in found.values()} <= {3, 256}
    assert span.dropped_attributes_count == 10


@pytest.mark.parametrize("way", ["code", "environment"])
def test_own_rules(run_python: Any, otlp_server: Any, way: str) -> None:
    code = """
with tracer.start_as_current_span("patient MRN-123456") as span:
    span.set_attribute("customer.name", "Jane")
    span.set_attribute("customer.age", 41)
    span.set_attribute("phone", "(555) 123-4567")
"""
    if way == "code":
        options = r'mask_patterns=[r"MRN-\d+", (r"\(\d{3}\) \d{3}-\d{4}", "(phone)")], mask_keys=["customer.*"]'
        run_python(program(otlp_server, code, options))
        phone = "(phone)"
    else:
        patterns = "MRN-\\d+\n\\(\\d{3}\\) \\d{3}-\\d{4}"
        run_python(
            program(otlp_server, code), NUAGES_MASK_PATTERNS=patterns, NUAGES_MASK_KEYS="customer.*, something.else"
        )
        phone = "***"
    (span,) = otlp_server.wait_for(1)
    assert span.name == "patient ***"
    assert attributes_of(span) == {"customer.name": "***", "customer.age": "***", "phone": phone}


def test_functions_are_last_and_fail_closed(run_python: Any, otlp_server: Any) -> None:
    rule = r"""
def mask(key, value):
    if key == "boom":
        raise ValueError("jane")
    if key == "gone":
        return None
    return value.replace("jane", "J.") if isinstance(value, str) else value
"""
    code = """
from opentelemetry.sdk.trace import SpanProcessor
class Late(SpanProcessor):
    def on_end(self, span):
        span.attributes["late"] = "jane"
provider.add_span_processor(Late())
with tracer.start_as_current_span("jane") as span:
    span.set_attributes({"boom": "jane", "gone": "jane", "kept": 5, "twice": "abab cdcd abcd"})
    span.add_event("e", {"who": "jane"})
    span.set_status(trace.Status(trace.StatusCode.ERROR, "jane"))
"""
    options = r'mask_functions=[mask], mask_patterns=[(r"(ab|cd)\1", "<twice>")]'
    done = run_python(program(otlp_server, code, options, rule))
    (span,) = otlp_server.wait_for(1)
    assert b"jane" not in span.SerializeToString()
    assert attributes_of(span) == {"boom": "***", "kept": 5, "twice": "<twice> <twice> abcd", "late": "J."}
    assert "cannot run natively" in done.stderr and "look-around" not in done.stderr
    assert "the mask function mask failed with ValueError" in done.stderr


def test_bad_rules_are_named(run_python: Any, otlp_server: Any) -> None:
    done = run_python(
        program(otlp_server, 'tracer.start_span("jane").end()'),
        NUAGES_MASK_PATTERNS="(unclosed",
        NUAGES_MASK_FUNCTIONS="shop.nowhere",
    )
    otlp_server.wait_for(1)
    assert "NUAGES_MASK_PATTERNS has the bad value" in done.stderr and "unterminated subpattern" in done.stderr
    assert "mask function 'shop.nowhere' cannot be imported" in done.stderr


# ---- the guide's own code (R14.04, R14.09), pasted as it stands; its text is not part of this repository

GUIDE = os.environ.get("NUAGES_TEST_GUIDE", "")
needs_guide = pytest.mark.skipif(not GUIDE, reason="NUAGES_TEST_GUIDE names no copy of the guide's text")
# The text has lost its indentation: how deep each line of the two samples stands.
PROCESSOR = (
    "0 0 0 4 4 4 4 4 8 8 8 12 4 8 8 12 16 20 4 8 8 12 8 8 8 8 8 8 8 4 8 4 8",
    "import re",
    "return True",
)
MIDDLEWARE = ("0 0 4 4 8 4 8 8 8 8 12 16 16 16 16 16 8", "from opentelemetry import trace", "return response")


def sample(first_of_class: str, layout: tuple[str, str, str]) -> str:
    depths, first, last = layout
    lines = Path(GUIDE).read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(first_of_class))
    begin = max(number for number in range(at) if lines[number] == first)
    end = next(number for number in range(at, len(lines)) if lines[number] == last)
    wanted = [int(depth) for depth in depths.split()]
    assert len(wanted) == end - begin + 1, "the guide's sample has changed"
    return "\n".join(" " * depth + line for depth, line in zip(wanted, lines[begin : end + 1])) + "\n"


@needs_guide
@pytest.mark.parametrize("masking", ["on", "off"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_the_guides_processor_unedited(run_python: Any, otlp_server: Any, masking: str, order: str) -> None:
    code = sample("class PIIMaskingSpanProcessor", PROCESSOR)
    use = """
if ORDER == "before":
    provider._active_span_processor._span_processors = (PIIMaskingSpanProcessor(), *provider._active_span_processor._span_processors)
else:
    provider.add_span_processor(PIIMaskingSpanProcessor())
with tracer.start_as_current_span("jane@example.com") as span:
    span.set_attributes({"mail": "jane@example.com", "phone": "5551234567", "ssn": "123-45-6789", "count": 3})
"""
    run_python(program(otlp_server, code + use.replace("ORDER", repr(order)), f'masking="{masking}"'))
    (span,) = otlp_server.wait_for(1)
    assert span.name == "***@***.**"
    assert attributes_of(span) == {
        "mail": "***@***.**",
        "phone": "***-***-****",
        "ssn": "***-**-****",
        "count": 3,
    }


@needs_guide
def test_the_guides_middleware_unedited(run_python: Any, otlp_server: Any) -> None:
    code = sample("class QuerySanitizationMiddleware", MIDDLEWARE)
    use = """
import sys, types
shop = types.ModuleType("shop"); shop.QuerySanitizationMiddleware = QuerySanitizationMiddleware; sys.modules["shop"] = shop
import django
from django.conf import settings
settings.configure(ROOT_URLCONF="shop", MIDDLEWARE=["shop.QuerySanitizationMiddleware"], ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import connection
from django.http import HttpResponse
from django.urls import path
def view(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 WHERE 'jane' = 'o''brien'")
    trace.get_current_span().set_attribute("db.statement", "SELECT 1 WHERE email = 'user@example.com' AND x = 'o''brien'")
    return HttpResponse("ok")
shop.urlpatterns = [path("", view)]
from django.test import Client
response = Client().get("/")
assert response.status_code == 200 and response.content == b"ok"
"""
    run_python(program(otlp_server, code + use))
    otlp_server.wait_for(2)
    statements = [
        attributes_of(span)["db.statement"] for span in otlp_server.spans() if "db.statement" in attributes_of(span)
    ]
    assert "SELECT ? WHERE email = ? AND x = ?" in statements and "SELECT ? WHERE ? = ?" in statements
    assert not re.search(rb"user@example|o''brien|jane'", bytes_sent(otlp_server))
