"""Every hook once, the same text on every version of Django, Celery, DRF and the drivers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import django
import pytest
from conftest import HERE, fill
from opentelemetry import trace

MIDDLEWARE = ("  CommonMiddleware.process_request", "  Counting.process_request", "  plain")


def below_plain(spans):
    """The tree without the root and the middleware around the view."""
    lines = spans.tree()
    assert lines.count("    urls.resolve") == 1
    return [line.strip() for line in lines if line.startswith("    ") and line != "    urls.resolve"]


class TestRequest:
    def test_tree_of_a_page(self, spans, get):
        assert get("/shelves/top/")[0] == 200
        lines = spans.tree()
        assert lines[:4] == ["GET /shelves/{name}/", *MIDDLEWARE]
        assert lines[4:-2] == [
            "    urls.resolve",
            "    store.urls.shelf",
            "      SELECT FROM store_book",
            *["      SELECT FROM store_author WHERE id = ?"] * 6,
            "      store/shelf.html",
            "        store/base.html",
            "          block lines",
            "            store/lines.html",
        ]
        assert lines[-2:] == ["  Counting.process_response", "  CommonMiddleware.process_response"]
        root = spans.named("GET /shelves/{name}/")
        assert root.kind.name == "SERVER"
        assert root.attributes["http.route"] == "shelves/<str:name>/" or "shelves" in root.attributes["http.route"]

    def test_n_plus_one(self, spans, get):
        get("/shelves/top/")
        root = spans.named("GET /shelves/{name}/")
        assert root.attributes["db.query_count"] == 7
        assert root.attributes["db.potential_n_plus_one"] is True
        [event] = [event for event in root.events if event.name == "nuages.n_plus_one"]
        text = str(dict(event.attributes))
        assert "urls.py" in text
        assert 'select_related("author")' in text

    def test_view_that_fails(self, spans, get):
        assert get("/fails/")[0] == 500
        root = spans.named("GET /fails/")
        assert root.status.status_code.name == "ERROR"
        assert [event.attributes["exception.type"] for event in root.events] == ["ZeroDivisionError"]

    def test_streaming(self, spans, get):
        assert get("/stream/") == (200, "Book 0Book 1Book 2Book 3Book 4Book 5")
        assert [line.strip() for line in spans.tree() if "SELECT" in line] == ["SELECT FROM store_book"]

    def test_context_comes_in(self, spans, get):
        get("/buy/", HTTP_TRACEPARENT=f"00-{'ab' * 16}-{'cd' * 8}-01")
        root = spans.named("GET /buy/")
        assert f"{root.context.trace_id:032x}" == "ab" * 16
        assert f"{root.parent.span_id:016x}" == "cd" * 8

    def test_asynchronous_view(self, spans):
        from django.core.asgi import get_asgi_application

        sent = []

        async def run():
            application = get_asgi_application()
            scope = {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "path": "/later/",
                "query_string": b"",
                "headers": [(b"host", b"testserver")],
            }
            waiting = asyncio.Event()

            async def receive():
                if not sent and not waiting.is_set():
                    waiting.set()
                    return {"type": "http.request", "body": b""}
                await asyncio.sleep(3600)  # the client stays

            async def send(message):
                sent.append(message)

            await application(scope, receive, send)

        asyncio.run(run())
        assert [message.get("status", message.get("body")) for message in sent] == [200, b"later"]
        names = [line.strip() for line in spans.tree()]
        assert names[0] == "GET /later/"
        assert "store.urls.later" in names


class TestOrm:
    def test_statements_and_transactions(self, spans):
        from django.db import transaction
        from opentelemetry import trace
        from store.models import Author, Book

        with trace.get_tracer("test").start_as_current_span("outer"):
            with transaction.atomic():
                Author.objects.bulk_create([Author(name="a"), Author(name="b")])
                try:
                    with transaction.atomic():
                        Book.objects.filter(id=1).update(stock=1)
                        raise LookupError
                except LookupError:
                    pass
            Author.objects.filter(name__in=["a", "b"]).delete()
        lines = spans.tree()
        assert lines[:3] == ["outer", "  transaction.atomic", "    BEGIN"]
        inner = lines.index("      UPDATE store_book SET stock = ? WHERE id = ?")
        assert lines[inner - 2].startswith("    transaction.atomic")
        assert lines[inner - 1].startswith("      SAVEPOINT")
        assert lines[inner + 1].startswith("      ROLLBACK TO SAVEPOINT")
        assert any(line.strip().startswith("INSERT INTO store_author (...) ") for line in lines)
        assert "    COMMIT" in lines

    def test_parameters_stay_here(self, spans):
        from opentelemetry import trace
        from store.models import Book

        with trace.get_tracer("test").start_as_current_span("outer"):
            list(Book.objects.filter(title="very secret"))
        assert "very secret" not in " ".join(str(dict(span.attributes)) for span in spans)

    @pytest.mark.skipif("COMPAT_POSTGRES" not in os.environ, reason="no PostgreSQL server here")
    def test_postgresql(self, spans):
        from django.db import connections, transaction
        from opentelemetry import trace
        from store.models import Author, Book

        fill("postgres")
        try:
            with trace.get_tracer("test").start_as_current_span("outer"):
                with transaction.atomic(using="postgres"):
                    Book.objects.using("postgres").filter(stock=0).update(stock=1)
                names = [author.name for author in Author.objects.using("postgres").iterator()]
        finally:
            with connections["postgres"].schema_editor() as editor:
                editor.delete_model(Book)
                editor.delete_model(Author)
        assert len(names) == 6
        update = spans.named("UPDATE store_book SET stock = ? WHERE stock = ?")
        assert update.attributes["db.system"] == "postgresql"
        assert update.attributes["nuages.db.affected_rows"] == 6
        assert any(line.strip() == "SELECT FROM store_author" for line in spans.tree())


class TestAround:
    """Sessions, files and forms."""

    def test_session(self, spans):
        from django.contrib.sessions.backends.signed_cookies import SessionStore

        with trace.get_tracer("test").start_as_current_span("outer"):
            session = SessionStore()
            session["a"] = 1
            session.save()
            assert SessionStore(session.session_key)["a"] == 1
        assert spans.tree() == ["outer", "  session.save", "  session.load"]

    def test_storage(self, spans, tmp_path):
        from django.core.files.base import ContentFile
        from django.core.files.storage import FileSystemStorage

        with trace.get_tracer("test").start_as_current_span("outer"):
            storage = FileSystemStorage(str(tmp_path))
            storage.delete(storage.save("a.txt", ContentFile(b"x")))
        assert spans.tree() == ["outer", "  storage.save", "  storage.delete"]

    def test_form(self, spans):
        from django import forms

        class Search(forms.Form):
            text = forms.CharField()

        with trace.get_tracer("test").start_as_current_span("outer"):
            assert Search({"text": "x"}).is_valid()
        assert spans.tree() == ["outer", "  form.full_clean"]


class TestRest:
    def test_list_and_create(self, spans, get):
        assert get("/api/books/")[0] == 200
        lines = below_plain(spans)
        assert lines[0] == "BookViewSet.list"
        assert [line for line in lines if line.startswith("SELECT")] == ["SELECT FROM store_book"]
        assert "serializer.data" in lines
        body = json.dumps({"title": "New", "author": 1}).encode()
        assert get("/api/books/", method="POST", body=body)[0] == 201
        names = [line.strip() for line in spans.tree()]
        for name in ("POST /api/books/", "BookViewSet.create", "serializer.is_valid", "serializer.save"):
            assert name in names
        from store.models import Book

        Book.objects.filter(title="New").delete()


class TestOthers:
    def test_cache(self, spans):
        from django.core.cache import cache
        from opentelemetry import trace

        with trace.get_tracer("test").start_as_current_span("outer"):
            cache.set("a", 1)
            cache.get("a")
            cache.get_many(["a", "b"])
        assert spans.tree() == ["outer", "  cache.set", "  cache.get", "  cache.get_many"]

    def test_command(self, spans):
        from django.core.management import call_command

        call_command("restock")
        assert spans.tree() == ["manage.py restock", "  UPDATE store_book SET stock = ?"]

    def test_authentication(self, spans):
        from django.contrib import auth
        from opentelemetry import trace

        with trace.get_tracer("test").start_as_current_span("outer"):
            auth.authenticate(None, username=None, password="wrong")
        assert "  auth.authenticate" in spans.tree()

    def test_no_hook_failed(self):
        from nuages import _native

        assert _native.hook_failures() == 0

    def test_uninstall(self):
        from django.core.handlers.wsgi import WSGIHandler
        from django.db.backends.utils import CursorWrapper
        from nuages import hooks

        hooked = vars(CursorWrapper)["execute"]
        hooks.uninstall_all()
        assert vars(CursorWrapper)["execute"] is hooked.nuages_original
        plain = vars(WSGIHandler)["__call__"]
        hooks.install_all()
        assert vars(WSGIHandler)["__call__"] is not plain


class TestCelery:
    @pytest.fixture
    def eager(self):
        from compat_celery import app

        app.conf.task_always_eager = True
        yield
        app.conf.task_always_eager = False

    def test_request_that_sends(self, spans, get):
        assert get("/buy/")[0] == 202
        assert below_plain(spans) == ["store.urls.buy", "celery.apply_async: restock"]
        assert spans.named("celery.apply_async: restock").attributes["messaging.system"] == "memory"

    def test_eager_and_n_plus_one(self, spans, eager):
        from opentelemetry import trace
        from store.tasks import titles

        with trace.get_tracer("test").start_as_current_span("outer"):
            titles.delay()
        message, run = spans.named("celery.apply_async: titles"), spans.named("store.tasks.titles")
        assert run.parent is None
        assert [link.context.span_id for link in run.links] == [message.context.span_id]
        assert run.attributes["celery.state"] == "SUCCESS"
        assert run.attributes["db.query_count"] == 7
        assert run.attributes["db.potential_n_plus_one"] is True

    def test_child_relation(self, spans, eager):
        from nuages import settings
        from opentelemetry import trace
        from store.tasks import restock

        settings.override(celery_relation="child")
        try:
            with trace.get_tracer("test").start_as_current_span("outer"):
                restock.delay(1)
        finally:
            settings.override(celery_relation=None)
        assert spans.tree() == [
            "outer",
            "  celery.apply_async: restock",
            "    store.tasks.restock",
            "      UPDATE store_book SET stock = ? WHERE id = ?",
        ]

    def test_failure_and_retry(self, spans, eager):
        from store.tasks import explode, flaky

        explode.delay()
        assert spans.named("store.tasks.explode").status.status_code.name == "ERROR"
        flaky.delay()
        states = {span.attributes["celery.state"] for span in spans if span.name == "store.tasks.flaky"}
        assert states == {"RETRY", "SUCCESS"}

    def test_worker(self, spans, tmp_path, monkeypatch):
        """A prefork worker of this version of Celery; a chain, so that a task sends one too."""
        for name in ("broker", "broker/control"):
            (tmp_path / name).mkdir()
        output = tmp_path / "spans"
        environment = {
            **os.environ,
            "COMPAT_BROKER": str(tmp_path / "broker"),
            "COMPAT_DATABASE": str(tmp_path / "db.sqlite3"),
            "PYTHONPATH": str(HERE),
        }
        subprocess.run([sys.executable, "-c", SEND], env=environment, check=True, cwd=str(HERE))
        command = [sys.executable, "-m", "celery", "-A", "compat_celery", "worker", "--pool=prefork", "--concurrency=1"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
        environment["COMPAT_SPANS"] = str(output)
        worker = subprocess.Popen([*command, *quiet], env=environment, cwd=str(HERE))
        try:
            deadline = time.monotonic() + 60
            found = []
            while len([span for span in found if span[1] == "CONSUMER"]) < 2:
                assert time.monotonic() < deadline, found
                assert worker.poll() is None, f"the worker ended with {worker.returncode}"
                time.sleep(0.05)
                found = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                assert worker.wait(30) == 0
            finally:
                worker.kill()  # does nothing to one that has ended
        runs = [span for span in found if span[1] == "CONSUMER"]
        assert {run[0] for run in runs} == {"store.tasks.restock"}
        for _, _, attributes, links in runs:
            assert attributes["celery.state"] == "SUCCESS"
            assert attributes["celery.queue_time_ms"] >= 0
            assert len(links) == 1


SEND = """
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
import django, os
os.environ["DJANGO_SETTINGS_MODULE"] = "compat_settings"
django.setup()
from django.db import connection
from store.models import Author, Book
with connection.schema_editor() as editor:
    editor.create_model(Author); editor.create_model(Book)
from celery import chain
from store.tasks import restock
with trace.get_tracer("test").start_as_current_span("outer"):
    chain(restock.si(1), restock.si(2)).apply_async()
"""


class TestDjangoTasks:
    """Django's own tasks: of Django 6 on, or of the package django-tasks."""

    @pytest.fixture(autouse=True)
    def module(self):
        if django.VERSION < (6,):
            pytest.importorskip("django_tasks")
        from store import django_tasks_demo

        return django_tasks_demo

    def test_in_place(self, spans, module):
        from opentelemetry import trace

        with trace.get_tracer("test").start_as_current_span("outer"):
            result = module.restock.enqueue(1)
        assert str(result.status) == "SUCCESSFUL"
        assert spans.tree() == [
            "outer",
            "  tasks.enqueue: restock",
            "    store.django_tasks_demo.restock",
            "      UPDATE store_book SET stock = ? WHERE id = ?",
        ]
        message, run = spans.named("tasks.enqueue: restock"), spans.named("store.django_tasks_demo.restock")
        assert (message.kind.name, run.kind.name) == ("PRODUCER", "CONSUMER")
        assert message.attributes["messaging.message.id"] == run.attributes["messaging.message.id"] == result.id
        assert run.attributes["messaging.destination"] == "default"
        assert run.attributes["django.task.state"] == "SUCCESSFUL"

    def test_failure(self, spans, module):
        assert str(module.explode.enqueue().status) == "FAILED"
        run = spans.named("store.django_tasks_demo.explode")
        assert run.status.status_code.name == "ERROR"
        assert run.events[0].attributes["exception.type"] == "ValueError"

    def test_interrupt_and_context(self, spans, module):
        with pytest.raises(KeyboardInterrupt):
            module.leave.enqueue()
        assert module.attempts.enqueue().return_value == 1
        assert spans.named("store.django_tasks_demo.leave").status.status_code.name == "ERROR"

    def test_asynchronous(self, spans, module):
        async def run():
            return await module.attempts.aenqueue()

        assert str(asyncio.run(run()).status) == "SUCCESSFUL"
        assert spans.tree() == ["tasks.enqueue: attempts", "  store.django_tasks_demo.attempts"]

    def test_database_worker(self, spans, module):
        pytest.importorskip("django_tasks_db")
        from django.core.management import call_command

        call_command("migrate", "django_tasks_database", verbosity=0)
        result = module.restock.using(backend="database").enqueue(1)
        call_command("db_worker", "--backend=database", "--batch", "--no-startup-delay", "--interval=0", verbosity=0)
        roots = [span.name for span in spans if span.parent is None]
        assert roots[-2:] == ["tasks.enqueue: restock", "store.django_tasks_demo.restock"], "polling made spans"
        assert "UPDATE store_book SET stock = ? WHERE id = ?" in [span.name for span in spans]
        message, run = spans.named("tasks.enqueue: restock"), spans.named("store.django_tasks_demo.restock")
        assert run.attributes["messaging.message.id"] == message.attributes["messaging.message.id"] == result.id
        assert run.attributes["django.task.queue_time_ms"] > 0
        result.refresh()
        assert str(result.status) == "SUCCESSFUL"

    def test_called_directly(self, spans, module):
        from opentelemetry import trace

        with trace.get_tracer("test").start_as_current_span("outer"):
            assert module.restock.call(1) == 1
        assert spans.tree() == ["outer", "  UPDATE store_book SET stock = ? WHERE id = ?"]
