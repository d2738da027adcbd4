"""What a test wants done inside the test project's process; each function returns something JSON can carry."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import pickle
import sys

from scenarios_web import *  # noqa: F403


def _targets():
    import sqlite3

    import MySQLdb.connections
    import MySQLdb.cursors
    import opentelemetry.instrumentation.dbapi as official
    import psycopg
    import psycopg2.extensions
    import psycopg_pool
    import pymysql
    from celery.app.base import Celery
    from celery.app.task import Task
    from channels import consumer, routing
    from django.contrib import auth
    from django.contrib.auth.models import PermissionsMixin
    from django.core.cache import CacheHandler, cache
    from django.core.cache.backends.locmem import LocMemCache
    from django.core.handlers import asgi, base, exception, wsgi
    from django.core.mail import EmailMessage
    from django.core.management.base import BaseCommand
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper
    from django.db.transaction import Atomic
    from django.dispatch import Signal
    from django.template.base import Template
    from jinja2 import Template as JinjaTemplate
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from rest_framework import serializers
    from rest_framework.generics import GenericAPIView
    from rest_framework.views import APIView

    cache.get("a cache of this thread")
    return {
        "WSGIHandler.__call__": (wsgi.WSGIHandler, "__call__"),
        "ASGIHandler.__call__": (asgi.ASGIHandler, "__call__"),
        "ProtocolTypeRouter.__call__": (routing.ProtocolTypeRouter, "__call__"),
        "URLRouter.__call__": (routing.URLRouter, "__call__"),
        "AsyncConsumer.__call__": (consumer.AsyncConsumer, "__call__"),
        "await_many_dispatch": (consumer, "await_many_dispatch"),
        "get_response": (base.BaseHandler, "get_response"),
        "get_response_async": (base.BaseHandler, "get_response_async"),
        "resolve_request": (base.BaseHandler, "resolve_request"),
        "make_view_atomic": (base.BaseHandler, "make_view_atomic"),
        "import_string": (base, "import_string"),
        "response_for_exception": (exception, "response_for_exception"),
        "execute": (CursorWrapper, "execute"),
        "executemany": (CursorWrapper, "executemany"),
        "callproc": (CursorWrapper, "callproc"),
        "_commit": (BaseDatabaseWrapper, "_commit"),
        "_rollback": (BaseDatabaseWrapper, "_rollback"),
        "Atomic.__enter__": (Atomic, "__enter__"),
        "Atomic.__exit__": (Atomic, "__exit__"),
        "Template.render": (Template, "render"),
        "Template._render": (Template, "_render"),
        "jinja2": (JinjaTemplate, "render"),
        "save": (serializers.BaseSerializer, "save"),
        "is_valid": (serializers.BaseSerializer, "is_valid"),
        "data": (serializers.Serializer, "data"),
        "create_connection": (CacheHandler, "create_connection"),
        "cache.get": (LocMemCache, "get"),
        "command": (BaseCommand, "execute"),
        "mail": (EmailMessage, "send"),
        "login": (auth, "login"),
        "signal": (Signal, "send"),
        "has_perm": (PermissionsMixin, "has_perm"),
        "permissions": (APIView, "check_permissions"),
        "filter": (GenericAPIView, "filter_queryset"),
        "connect": (BaseDatabaseWrapper, "connect"),
        "on_commit": (BaseDatabaseWrapper, "run_and_clear_commit_hooks"),
        "fetch": (CursorWrapper, "__getattr__"),
        "psycopg": (psycopg.Cursor, "execute"),
        "psycopg.copy": (psycopg.AsyncCursor, "copy"),
        "psycopg.connect": (psycopg.AsyncConnection, "connect"),
        "psycopg2": (psycopg2.extensions.cursor, "execute"),
        "psycopg2.commit": (psycopg2.extensions.connection, "commit"),
        "psycopg2.connect": (psycopg2, "connect"),
        "sqlite3": (sqlite3.Cursor, "execute"),
        "sqlite3.exit": (sqlite3.Connection, "__exit__"),
        "sqlite3.connect": (sqlite3, "connect"),
        "pymysql": (pymysql.cursors.Cursor, "execute"),
        "mysqlclient": (MySQLdb.cursors.BaseCursor, "executemany"),
        "mysqlclient.connect": (MySQLdb.connections.Connection, "__init__"),
        "dbapi": (official.CursorTracer, "traced_execution"),
        "pool": (psycopg_pool.ConnectionPool, "getconn"),
        "redis": (Redis, "execute_command"),
        "redis.asyncio": (AsyncRedis, "execute_command"),
        "apply_async": (Task, "apply_async"),
        "send_task": (Celery, "send_task"),
    }


def install_and_uninstall():
    """Names whose attribute is not the identical original after uninstall, or not replaced while installed."""
    from nuages import hooks

    _targets()  # an import may install hooks
    hooks.uninstall_all()
    originals = {name: vars(owner)[attribute] for name, (owner, attribute) in _targets().items()}
    installed = hooks.install_all()
    again = hooks.install_all()
    unchanged = [name for name, (owner, attribute) in _targets().items() if vars(owner)[attribute] is originals[name]]
    hooks.uninstall_all()
    different = [
        name for name, (owner, attribute) in _targets().items() if vars(owner)[attribute] is not originals[name]
    ]
    hooks.install_all()
    return {"installed": installed, "again": again, "unchanged": unchanged, "different": different}


def uninstall_under_a_wrapper():
    """Somebody wraps our hook, then we uninstall: their wrapper stays and the original still runs."""
    from django.db import connection
    from django.db.backends.utils import CursorWrapper
    from nuages import hooks

    ours = CursorWrapper.execute
    calls = []

    def theirs(self, sql, params=None):
        calls.append(sql)
        return ours(self, sql, params)

    CursorWrapper.execute = theirs
    try:
        hooks.uninstall_all()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            value = cursor.fetchone()[0]
        return {
            "value": value,
            "calls": calls,
            "theirs": vars(CursorWrapper)["execute"] is theirs,
            "enabled": ours.nuages_enabled,
        }
    finally:
        CursorWrapper.execute = ours.nuages_original
        hooks.install_all()


def function_likeness():
    from django.db.backends.utils import CursorWrapper

    hooked = vars(CursorWrapper)["execute"]
    original = hooked.nuages_original
    return {
        "name": hooked.__name__ == original.__name__,
        "doc": hooked.__doc__ == original.__doc__,
        "module": hooked.__module__ == original.__module__,
        "qualname": hooked.__qualname__ == original.__qualname__,
        "wrapped": hooked.__wrapped__ is original,
        "signature": str(inspect.signature(hooked)) == str(inspect.signature(original)),
        "code": hooked.__code__ is original.__code__,
        "bound": type(CursorWrapper(None, None).execute).__name__,
        "class_access": CursorWrapper.execute is hooked,
        "callable": callable(hooked),
        "keywords": _call_by_keyword(),
    }


def _call_by_keyword():
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql="SELECT %s", params=[7])
        return cursor.fetchone()[0]


def no_python_frame():
    """Functions on the stack while a query runs: no frame of ours among them."""
    import sys

    from django.db import connection

    seen = []

    def wrapper(execute, sql, params, many, context):
        frame = sys._getframe()
        while frame is not None:
            seen.append(frame.f_code.co_filename)
            frame = frame.f_back
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return [name for name in seen if "/nuages/" in name]


def test_client():
    from django.test import Client

    response = Client().get("/books/3/", headers={"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"})
    return response.status_code


def inside_own_span(path):
    from django.test import Client
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        return Client(raise_request_exception=False).get(path).status_code


def query_without_span():
    from catalog.models import Book

    return Book.objects.count()


def many_and_bulk():
    from catalog.models import Author
    from django.db import connection
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE catalog_book SET stock = %s WHERE id = %s", [(0, 1), (0, 2)])
        Author.objects.using("default").bulk_create([Author(name="a"), Author(name="b")])
    return True


def failing_query():
    from django.db import OperationalError, connection
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM missing_table WHERE secret = 'hidden text'")
        except OperationalError as error:
            return type(error).__name__


def other_database():
    from django.db import connections
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        for alias in ("default", "archive"):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
    return True


def asgi(path="/async/", middleware=()):
    """One request through ASGIHandler; the application must still look like what ASGI servers inspect."""
    from asgiref.testing import ApplicationCommunicator
    from django.conf import settings
    from django.core.asgi import get_asgi_application

    before = settings.MIDDLEWARE
    settings.MIDDLEWARE = [*before, *middleware]
    try:
        application = get_asgi_application()
    finally:
        settings.MIDDLEWARE = before

    async def run():
        communicator = ApplicationCommunicator(
            application,
            {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "path": path,
                "query_string": b"",
                "headers": [(b"host", b"testserver")],
                "server": ("testserver", 80),
            },
        )
        await communicator.send_input({"type": "http.request", "body": b""})
        first = await communicator.receive_output(5)
        second = await communicator.receive_output(5)
        await communicator.wait()
        return {
            "status": first["status"],
            "body": second["body"].decode(),
            "headers": {key.decode(): value.decode() for key, value in first["headers"]},
        }

    answer = asyncio.run(run())
    answer["coroutine"] = inspect.iscoroutinefunction(type(application).__call__)
    return answer


def hooks_and_attributes():
    """request_hook and response_hook, one of which raises."""
    from django.test import Client
    from nuages import hooks

    def request_hook(span, request):
        span.set_attribute("hook.path", request.path)

    def response_hook(span, request, response):
        span.set_attribute("hook.status", response.status_code)
        raise ValueError("a user's hook fails")

    from nuages import _native

    before = _native.hook_failures()
    hooks.set_request_hooks(request_hook, response_hook)
    try:
        status = Client().get("/books/3/").status_code
    finally:
        hooks.set_request_hooks()
    return {"status": status, "failures": _native.hook_failures() - before}


@contextlib.contextmanager
def _conventions(opt_in):
    """The attribute names of OTEL_SEMCONV_STABILITY_OPT_IN."""
    from nuages import hooks

    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = opt_in
    hooks.install_all()
    try:
        yield
    finally:
        del os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"]
        hooks.install_all()


def semantic_conventions(opt_in, path):
    from django.test import Client

    with _conventions(opt_in):
        return Client(raise_request_exception=False).get(path, headers={"host": "testserver:8000"}).status_code


def transaction_conventions(opt_in):
    from django.db import transaction
    from opentelemetry import trace

    with _conventions(opt_in), trace.get_tracer("test").start_as_current_span("outer"), transaction.atomic():
        transaction.on_commit(lambda: None)


def redis_conventions(opt_in):
    from opentelemetry import trace
    from redis import Redis

    client = Redis.from_url(_redis_server()[0])
    with _conventions(opt_in), trace.get_tracer("test").start_as_current_span("outer"):
        client.get("name")


def excluded(entries, path):
    from django.test import Client
    from nuages import hooks, settings

    settings.override(excluded_urls=entries)
    hooks.install_all()
    try:
        response = Client(raise_request_exception=False).get(path)
        if response.streaming:
            response.getvalue()
        return response.status_code
    finally:
        settings.override(excluded_urls=None)
        hooks.install_all()


def pickle_a_task():
    from catalog.tasks import restock

    return pickle.loads(pickle.dumps(restock)).name


def unserializable_task():
    from catalog.models import Book
    from catalog.tasks import unserializable
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            unserializable.delay(Book.objects.first())
        except Exception as error:
            name = type(error).__name__
        current = trace.get_current_span().name
    return {"error": name, "current": current}


def send_by_name():
    from bookshop.celery import app
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        result = app.send_task("somewhere.else.unknown_task", args=(1,))
    return result.id


def published_headers():
    """The headers of the message that a publish puts on the in-memory broker."""
    from bookshop.celery import app
    from catalog.tasks import restock
    from opentelemetry import trace

    mine = {"x-mine": "1"}
    with trace.get_tracer("test").start_as_current_span("outer"):
        restock.apply_async((1,), headers=mine, queue="headers-test")
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get("headers-test", no_ack=True)
    return {"headers": {key: message.headers.get(key) for key in ("traceparent", "x-mine", "task")}, "mine": mine}


def run_in_place():
    from catalog.tasks import restock
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        return restock.apply((2,)).state


def eager(task, *arguments):
    import catalog.tasks
    from bookshop.celery import app
    from opentelemetry import trace

    app.conf.task_always_eager = True
    try:
        with trace.get_tracer("test").start_as_current_span("outer"):
            result = getattr(catalog.tasks, task).delay(*arguments)
            current = trace.get_current_span().name
    finally:
        app.conf.task_always_eager = False
    return {"state": result.state, "current": current}


def eager_in_mode(task, arguments, relation):
    from nuages import settings

    settings.override(celery_relation=relation)
    try:
        return eager(task, *arguments)
    finally:
        settings.override(celery_relation=None)


def send_stubborn():
    from catalog.tasks import stubborn

    return stubborn.delay().id


def loop_in_span(kind):
    """A loop of the kind below a SERVER span made by a request, so that the counts land somewhere."""
    from catalog import loops
    from django.test import Client

    loops.chosen = getattr(loops, kind)
    return Client().get("/loops/").status_code


def middleware_instances():
    """Middleware of a handler that is gone must go too, and lose its hooks on uninstall."""
    import gc
    import weakref

    from catalog.middleware import ShelfMiddleware
    from django.core.handlers.wsgi import WSGIHandler
    from nuages import hooks

    def shelves():
        return [thing for thing in gc.get_objects() if type(thing) is ShelfMiddleware]

    gc.collect()
    before = len(shelves())
    handler = WSGIHandler()
    kept = [shelf for shelf in shelves() if "process_request" in vars(shelf)]
    hooked = len(kept)
    hooks.uninstall_all()
    left = sum("process_request" in vars(shelf) for shelf in kept)
    hooks.install_all()
    gone = weakref.ref(handler)
    del handler, kept
    gc.collect()
    return {"hooked": hooked > 0, "left": left, "gone": gone() is None, "more": len(shelves()) - before}


def threads(count):
    """Requests in parallel threads; each trace must be whole and its own."""
    from concurrent.futures import ThreadPoolExecutor

    import driver
    from bookshop.wsgi import application

    def one(number):
        body = application(
            driver.environ_of({"path": "/status/200/", "headers": {"X-Shelf": str(number)}}), lambda *args: None
        )
        try:
            return b"".join(body).decode()
        finally:
            body.close()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def coroutines(count):
    """ASGI requests interleaved on one event loop."""
    from asgiref.testing import ApplicationCommunicator
    from django.core.asgi import get_asgi_application

    application = get_asgi_application()

    async def one(number):
        communicator = ApplicationCommunicator(
            application,
            {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "path": "/async/",
                "query_string": b"",
                "headers": [(b"host", b"testserver"), (b"x-shelf", str(number).encode())],
                "server": ("testserver", 80),
            },
        )
        await communicator.send_input({"type": "http.request", "body": b""})
        first = await communicator.receive_output(20)
        await communicator.receive_output(20)
        await communicator.wait()
        return first["status"]

    async def every():
        return await asyncio.gather(*(one(number) for number in range(count)))

    return asyncio.run(every())


def command(end="well", argv=()):
    """A management command as the command line runs it; what it printed and how it ended."""
    import contextlib
    import io

    from django.core.management import ManagementUtility

    out = io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            ManagementUtility(["manage.py", "restock", f"--end={end}", *argv]).execute()
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        code = "interrupted"
    return {"code": code, "out": out.getvalue()}


def excluded_command():
    from django.core.management import call_command

    call_command("shell", command="from catalog.models import Book; Book.objects.count()")


def cache_operations():
    from django.core.cache import caches
    from opentelemetry import trace

    cache = caches["default"]
    cache.clear()
    with trace.get_tracer("test").start_as_current_span("outer"):
        got = [
            cache.get("stock"),
            cache.set("stock", 5, timeout=60),
            cache.get("stock"),
            cache.get(key="stock", default=1),
            cache.add("stock", 6),
            cache.incr("stock"),
            cache.touch("stock"),
            "stock" in cache,
            sorted(cache.get_many(["stock", "nothing"])),
            cache.set_many({"a": 1, "b": 2}),
            cache.get_or_set("c", 3),
            cache.delete("c"),
            cache.delete_many(key for key in ("a", "b")),
            cache.set("buyer ann@example.com", 1),
            cache.set("django.contrib.sessions.cachedabcdefsecret", 1),
        ]
        try:
            cache.decr("nothing")
        except ValueError as error:
            got.append(str(error))
        cache.clear()
    return got


def asynchronous_cache():
    import asyncio

    from django.core.cache import cache
    from opentelemetry import trace

    async def work():
        with trace.get_tracer("test").start_as_current_span("outer"):
            await cache.aset("stock", 1)
            return await cache.aget("stock")

    return asyncio.run(work())


def cache_failure():
    """The backend's server is away: the error is the application's to see."""
    from django.core.cache.backends.locmem import LocMemCache
    from nuages.hooks import cache as cache_hook
    from opentelemetry import trace

    class Away(LocMemCache):
        def get(self, key, default=None, version=None):
            raise ConnectionError("away")

    cache_hook.adopt("away", Away("away", {}))
    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            Away("made by hand", {}).get("x")
        except ConnectionError as error:
            return str(error)


def send_mail():
    from django.core import mail
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        return mail.send_mail("Subject", "Text", "shop@example.com", ["ann@example.com", "bob@example.com"])


def authentication():
    import asyncio

    from django.contrib import auth
    from django.contrib.auth.models import AnonymousUser, User
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest
    from opentelemetry import trace

    user = User.objects.get(username="ann")
    user.set_password("correct")
    user.save()
    request = HttpRequest()
    request.session = SessionStore()
    with trace.get_tracer("test").start_as_current_span("outer"):
        wrong = auth.authenticate(request, username="ann", password="wrong")
        right = auth.authenticate(request, username="ann", password="correct")
        auth.login(request, right)
        granted = right.has_perm("catalog.add_book"), AnonymousUser().has_perm("catalog.add_book")
        auth.logout(request)
    found = None
    if hasattr(auth, "aauthenticate"):

        async def work():
            with trace.get_tracer("test").start_as_current_span("outer"):
                return await auth.aauthenticate(None, username=None, password="wrong")  # asks no database

        found = asyncio.run(work())
    return [wrong is None, right.username, granted, found, asyncio.iscoroutinefunction(auth.alogin)]


def imported_earlier():
    """A name that a module got by `from django.contrib.auth import login` before the hook came, and after it has gone."""
    import types

    from django.contrib import auth
    from nuages import hooks

    hooks.uninstall_all()
    module = types.ModuleType("early_views")
    module.login = auth.login
    sys.modules["early_views"] = module
    try:
        original = module.login
        hooks.install_all()
        replaced = module.login is auth.login and module.login is not original
        hooks.uninstall_all()
        return [replaced, module.login is original]
    finally:
        del sys.modules["early_views"]
        hooks.install_all()


def _authors(count):
    from catalog.models import Book

    return [book.author.name for book in Book.objects.order_by("id")[:count]]


def own_root(count, way):
    """`count` relations loaded one by one below a root span that the program's own code made with OpenTelemetry's API."""
    from catalog.models import Book
    from opentelemetry import trace

    tracer = trace.get_tracer("test")
    if way == "with":
        with tracer.start_as_current_span("outer"):
            _authors(count)
    elif way == "decorator":
        tracer.start_as_current_span("outer")(_authors)(count)
    elif way == "use_span":
        with trace.use_span(tracer.start_span("outer"), end_on_exit=True):
            _authors(count)
    elif way == "below a child":
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
            _authors(count)
    elif way == "in parts":  # no child sees more than one of the queries
        with tracer.start_as_current_span("outer"):
            for book in Book.objects.order_by("id")[:count]:
                with tracer.start_as_current_span("inner"):
                    book.author  # noqa: B018


def decorated(count, fails=False, asynchronous=False):
    """`@detect_n_plus_one` on a function that loads `count` relations one by one, inside a span of the test."""
    import nuages
    from asgiref.sync import async_to_sync, sync_to_async
    from opentelemetry import trace

    def work():
        _authors(count)
        if fails:
            raise LookupError("after the queries")

    async def work_later():
        await sync_to_async(work)()

    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            if asynchronous:
                decorated = nuages.detect_n_plus_one(work_later)
                assert inspect.iscoroutinefunction(decorated)
                async_to_sync(decorated)()
            else:
                nuages.detect_n_plus_one(threshold=5)(work)()
        except LookupError as error:
            return str(error)


def counted():
    """Counters inside each other, in a thread of sync_to_async and without any span."""
    import nuages
    from asgiref.sync import async_to_sync, sync_to_async

    with nuages.count_queries() as outer:
        _authors(1)
        with nuages.count_queries(threshold=2) as inner:
            _authors(3)
    with nuages.count_queries() as threaded:
        async_to_sync(sync_to_async(_authors))(2)
    _authors(1)
    reports = [queries.report() for queries in (outer, inner, threaded)]
    flagged = reports[1].repeated
    return {
        "counts": [report.query_count for report in reports],
        "flagged": [[query.count, query.statement, query.relation, query.suggestion] for query in flagged],
        "text": str(flagged[0]),
        "outer": reports[0].potential_n_plus_one,
    }


def _redis_server():
    from urllib.parse import urlsplit

    url = os.environ["BOOKSHOP_REDIS"]
    return url, urlsplit(url).port


def redis_commands():
    """Commands, an error, a pipeline and a transaction with WATCH; then a command outside of any span."""
    from opentelemetry import trace
    from redis import Redis, ResponseError

    client = Redis.from_url(_redis_server()[0])
    with trace.get_tracer("test").start_as_current_span("outer"):
        client.set("name:ann@example.com", "secret value", ex=60)
        value = client.get("name:ann@example.com")
        try:
            client.incr("name:ann@example.com")
        except ResponseError as error:
            failed = str(error)
        with client.pipeline() as pipeline:
            pipeline.set("a", "secret value").expire("a", 9).get("a")
            results = pipeline.execute()
        with client.pipeline() as pipeline:
            pipeline.watch("a")
            pipeline.multi()
            pipeline.delete("a")
            pipeline.execute()
        client.config_get("maxmemory")
    client.ping()
    return [value.decode(), failed, [str(result) for result in results]]


def redis_asyncio():
    from opentelemetry import trace
    from redis.asyncio import Redis

    async def work():
        client = Redis.from_url(_redis_server()[0])
        with trace.get_tracer("test").start_as_current_span("outer"):
            await asyncio.gather(client.set("b", 1), client.get("c"))
            async with client.pipeline() as pipeline:
                await pipeline.get("b").delete("b").execute()
        await client.aclose()
        return inspect.iscoroutinefunction(Redis.execute_command)

    return asyncio.run(work())


def redis_cache():
    from django.core.cache.backends.redis import RedisCache
    from nuages.hooks import cache as cache_hook
    from opentelemetry import trace

    cache = RedisCache(_redis_server()[0], {})
    cache_hook.adopt("shared", cache)
    with trace.get_tracer("test").start_as_current_span("outer"):
        cache.set("stock", 5)
        return cache.get("stock")


def redis_away():
    from opentelemetry import trace
    from redis import ConnectionError, Redis

    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            Redis(port=1, socket_timeout=5).get("x")
        except ConnectionError as error:
            return type(error).__name__


def redis_broker():
    """A task sent over a Redis broker: its publishing is one span."""
    from celery import Celery
    from opentelemetry import trace

    app = Celery("shop", broker=_redis_server()[0], set_as_current=False)

    @app.task(name="shop.restock")
    def restock():
        pass

    with trace.get_tracer("test").start_as_current_span("outer"):
        restock.delay()
    app.close()


def parameters(masking="on", switch=True):
    """What NUAGES_CAPTURE_PARAMETERS shows, by the masking profile."""
    from django.db import connection
    from nuages import hooks, settings
    from opentelemetry import trace

    settings.override(capture_parameters=switch, masking=masking)
    hooks.install_all()
    try:
        with trace.get_tracer("test").start_as_current_span("outer"), connection.cursor() as cursor:
            cursor.execute("SELECT %s, %s, %s", ["ann@example.com", 7, b"raw"])
            cursor.execute("SELECT %s", ["x" * 500])
            cursor.executemany("UPDATE catalog_book SET stock = %s WHERE id = %s", [(0, 1), (0, 2)])
            cursor.execute("SELECT 1")
    finally:
        settings.override(capture_parameters=None, masking=None)
        hooks.install_all()


def signals(wanted="custom"):
    """Signals of the project and of Django, with receivers that work, fail and wait; who the responses name."""
    from asgiref.sync import async_to_sync
    from catalog import signals as own
    from catalog.models import Book
    from django.db.models.signals import pre_save
    from nuages import settings
    from opentelemetry import trace

    settings.override(signals=wanted)
    own.borrowed = pre_save  # as `from django.db.models.signals import pre_save` does: still Django's
    own.restocked.connect(own.count_stock)
    pre_save.connect(own.complain_softly, sender=Book)
    try:
        with trace.get_tracer("test").start_as_current_span("outer"):
            own.unheard.send(sender=None)
            sent = own.restocked.send(sender=Book)
            own.restocked.connect(own.complain)
            robust = own.restocked.send_robust(sender=Book)
            try:
                own.restocked.send(sender=Book)
            except LookupError as error:
                raised = str(error)
            own.restocked.disconnect(own.complain)
            awaited = []
            if hasattr(own.restocked, "asend"):
                own.restocked.connect(own.tell_later)
                awaited = async_to_sync(own.restocked.asend)(sender=Book)
                own.restocked.disconnect(own.tell_later)
            Book(id=1, title="T", author_id=1).save(update_fields=["title"])
        outside = own.restocked.send(sender=Book)
    finally:
        own.restocked.disconnect(own.count_stock)
        pre_save.disconnect(own.complain_softly, sender=Book)
        settings.override(signals=None)
    return {
        "receivers": [
            [receiver is own.count_stock for receiver, _ in sent],
            [receiver in (own.count_stock, own.complain) for receiver, _ in robust],
            [receiver in (own.count_stock, own.tell_later) for receiver, _ in awaited],
            [receiver is own.count_stock for receiver, _ in outside],
        ],
        "responses": [str(response) for _, response in sent + robust],
        "raised": raised,
    }


def jinja2_templates():
    """Django's Jinja2 backend, a template that fails, and an asynchronous rendering."""
    from django.template.backends.jinja2 import Jinja2
    from jinja2 import DictLoader, Environment, UndefinedError
    from opentelemetry import trace

    loader = DictLoader({"list.html": "{{ books|length }}", "bad.html": "{{ nothing.here }}"})
    options = {"loader": loader, "environment": "jinja2.Environment"}
    engine = Jinja2({"NAME": "jinja2", "DIRS": [], "APP_DIRS": False, "OPTIONS": options})

    async def render_later():
        return await Environment(loader=loader, enable_async=True).get_template("list.html").render_async(books=[1])

    with trace.get_tracer("test").start_as_current_span("outer"):
        texts = [engine.get_template("list.html").render({"books": [1, 2]})]
        try:
            engine.get_template("bad.html").render({})
        except UndefinedError as error:
            texts.append(type(error).__name__)
        texts.append(asyncio.run(render_later()))
    return texts


def propagation(headers, propagator=""):
    """A request with these headers; its baggage as the view's queries see it, and the context after it."""
    from django.test import RequestFactory
    from opentelemetry import baggage, context, propagate

    seen = []

    def get_response(request):
        seen.append(dict(baggage.get_all()))

    usual = propagate.get_global_textmap()
    if propagator == "b3":
        from nuages.propagators.b3 import B3MultiFormat

        propagate.set_global_textmap(B3MultiFormat())
    try:
        from bookshop.wsgi import application

        original = application.get_response
        environ = RequestFactory().get("/books/3/", headers=headers).environ

        def watching(request):
            get_response(request)
            return original(request)

        application.get_response = watching
        try:
            response = application(environ, lambda *arguments: None)
            response.close()
        finally:
            del application.get_response
    finally:
        propagate.set_global_textmap(usual)
    return [seen, dict(baggage.get_all()), dict(context.get_current())]


def send(steps):
    """Sends tasks in a span of the test; each step is (task, arguments, options) and gives its id."""
    import catalog.tasks
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        return [
            getattr(catalog.tasks, name).apply_async(tuple(arguments), **options).id
            for name, arguments, options in steps
        ]


def canvas(kind):
    from catalog.tasks import add, total
    from celery import chain, chord, group
    from opentelemetry import trace

    made = {
        "chain": lambda: chain(add.s(1, 2), add.s(3), add.s(4)),
        "group": lambda: group(add.s(1, 2), add.s(3, 4)),
        "chord": lambda: chord([add.s(1, 2), add.s(3, 4)], total.s()),
    }[kind]()
    with trace.get_tracer("test").start_as_current_span("outer"):
        result = made.apply_async()
        current = trace.get_current_span().name
    return {"value": result.get(timeout=60), "current": current}


def revoke(task_id):
    from bookshop.celery import app
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        return len(app.control.revoke(task_id, reply=True, timeout=20, limit=1))


def finished(task_id):
    """Waits for a task; its state and what it gave or raised."""
    from celery.result import AsyncResult

    result = AsyncResult(task_id)
    result.get(timeout=60, propagate=False)
    return [result.state, repr(result.result)]


def send_unknown(task):
    from bookshop.celery import app

    return app.send_task(task).id


def send_to_nobody():
    from catalog.tasks import add
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("outer"):
        try:
            add.apply_async((1, 2), retry=False)
        except Exception as error:
            return type(error).__name__


def leave_in_place(how, propagates):
    """A task run in place that ends with a BaseException or, with task_eager_propagates, an Exception: the caller gets it."""
    import catalog.tasks
    from bookshop.celery import app
    from opentelemetry import trace

    app.conf.task_always_eager = True
    app.conf.task_eager_propagates = propagates
    try:
        with trace.get_tracer("test").start_as_current_span("outer"):
            try:
                if how == "explode":
                    catalog.tasks.explode.delay("loud")
                else:
                    catalog.tasks.leave.delay(how)
            except BaseException as error:
                return [type(error).__name__, trace.get_current_span().name]
    finally:
        app.conf.task_always_eager = app.conf.task_eager_propagates = False


def comments(path="/books/3/"):
    """The SQL that SQLite got, with comments, from a request, an async request, a task, a command and a driver's own cursor."""
    from catalog.tasks import restock
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from nuages import hooks, settings
    from opentelemetry import trace

    settings.override(sql_commenter=True)
    hooks.support.refresh()
    seen = []
    connection.ensure_connection()
    connection.connection.set_trace_callback(seen.append)
    told = {}
    try:
        for name, ask in (
            ("request", lambda: Client().get(path)),
            ("task", lambda: restock.apply(args=[3])),
            ("command", lambda: call_command("restock")),
            ("driver", lambda: connection.connection.execute("SELECT 1").fetchone()),
        ):
            seen.clear()
            with trace.get_tracer("test").start_as_current_span(name):
                ask()
            told[name] = list(seen)
    finally:
        connection.connection.set_trace_callback(None)
        settings.override(sql_commenter=None)
        hooks.support.refresh()
    return told


def detect(what):
    """What the detector says of one function of catalog/detector.py."""
    import dataclasses

    import nuages
    from catalog import detector
    from django.db import transaction

    function = {**detector.LOOPS, **detector.FINE}[what]
    with transaction.atomic(), nuages.count_queries() as queries:
        function()
        transaction.set_rollback(True)
    report = queries.report()
    return {"queries": report.query_count, "repeated": [dataclasses.asdict(query) for query in report.repeated]}


def unused_prefetches():
    """What assert_no_unused_prefetch() says of prefetches that are and are not read."""
    import copy
    import functools
    import pickle

    from catalog.models import Author, Book
    from django.db.models import Prefetch, query
    from nuages.testing import UnusedPrefetchError, assert_no_unused_prefetch

    def said(work, **options):
        try:
            with assert_no_unused_prefetch(**options):
                work()
        except UnusedPrefetchError as error:
            return [
                [prefetch.relation, prefetch.instances, prefetch.function.split(".")[-1]] for prefetch in error.unused
            ]
        return []

    def reverse(read):
        authors = list(Author.objects.prefetch_related("books"))
        return [list(author.books.all()) for author in authors] if read else len(authors)

    def many(read):
        books = list(Book.objects.prefetch_related("tags"))
        return [list(book.tags.all()) for book in books] if read else None

    def forward(read):
        books = list(Book.objects.prefetch_related("author"))
        return books[3].author.name if read else None

    def nested(read):
        authors = list(Author.objects.prefetch_related("books__tags"))
        return [list(author.books.all()) for author in authors] if read else None

    def to_attribute(read):
        return list(Author.objects.prefetch_related(Prefetch("books", to_attr="all_books")))

    def copied(read):
        [author, *_] = Author.objects.prefetch_related("books")
        kept = pickle.loads(pickle.dumps(copy.copy(author)))
        return type(kept.__dict__["_prefetched_objects_cache"]) is dict or 1 / 0

    def nothing_found(read):
        return list(Author.objects.filter(name="nobody").prefetch_related("books"))

    before = query.prefetch_one_level
    works = (reverse, many, forward, nested, to_attribute, copied, nothing_found)
    found = {
        f"{work.__name__} {'read' if read else 'not read'}": said(functools.partial(work, read))
        for work in works
        for read in (True, False)
    }
    found["allowed"] = said(functools.partial(reverse, False), allow=["Author.*"])
    assert query.prefetch_one_level is before
    return found
