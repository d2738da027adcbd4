"""suppress_instrumentation(): hooks make no spans inside of it, spans by hand are made all the same, and its end is the end of it."""

from __future__ import annotations

from typing import Any

import pytest

PROGRAM = """
import sys
import nuages.auto
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, INSTALLED_APPS=[],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
)
import django
django.setup()
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
from django.core.cache import cache
from django.core.mail import send_mail
from django.core.management import call_command
from django.db import connection, transaction
from django.http import HttpResponse
from django.template import engines
from django.test import AsyncClient, Client
from django.urls import path

async def later(request):
    return HttpResponse("later")

def work(request=None):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
    cache.set("a", 1)
    assert cache.get("a") == 1
    engines["django"].from_string("{{ a }}").render({"a": 1})
    send_mail("s", "b", "a@example.com", ["b@example.com"])
    call_command("check", verbosity=0)
    with trace.get_tracer("mine").start_as_current_span("by hand") as span:
        connection.cursor().execute("SELECT 2")
        assert span.is_recording()
    return HttpResponse("hello")

sys.modules["urls"] = type(sys)("urls")
sys.modules["urls"].urlpatterns = [path("", work), path("later/", later)]

def everything():
    assert Client().get("/").content == b"hello"
    import asyncio
    async def both():
        assert (await AsyncClient().get("/later/")).content == b"later"
    asyncio.run(both())
    work()

def names():
    found = [span.name for span in memory.get_finished_spans()]
    memory.clear()
    return found

SUPPRESS
everything()  # some things happen the first time only: a connection, an import
names()
everything()
usual = names()
assert usual.count("by hand") == 2 and len(usual) > 20, usual
with trace.get_tracer("mine").start_as_current_span("outer"):
    with suppressed():
        everything()
    work()
spans = memory.get_finished_spans()
inside = names()
assert inside[:2] == ["by hand", "by hand"] and "SELECT" in inside[2:], inside
assert {span.parent.span_id for span in spans[:2]} == {spans[-1].context.span_id}, "their parent is what is current"
with suppressed():
    everything()
assert names() == ["by hand", "by hand"], "without a span around it too"
everything()
assert sorted(names()) == sorted(usual)
"""


@pytest.mark.parametrize(
    "suppress",
    [
        "from opentelemetry.instrumentation.utils import suppress_instrumentation as suppressed",
        """
import contextlib
@contextlib.contextmanager
def suppressed():
    token = context.attach(context.set_value("suppress_instrumentation", True))
    yield
    context.detach(token)
""",
        """
import contextlib
@contextlib.contextmanager
def suppressed():
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    yield
    context.detach(token)
""",
    ],
    ids=["the official function", "plain key", "private key"],
)
def test_hooks_make_no_spans(run_python: Any, suppress: str) -> None:
    run_python(PROGRAM.replace("SUPPRESS", suppress), OTEL_TRACES_EXPORTER="none")
