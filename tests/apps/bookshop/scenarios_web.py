"""Scenarios about what happens around a view: sessions, files, forms, templates, caches, users, middleware; and applications that misbehave."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile

from opentelemetry import trace


def _outer():
    return trace.get_tracer("test").start_as_current_span("outer")


def sessions(backend):
    """A session saved, read and deleted, and the same with coroutines."""
    from importlib import import_module

    from django.conf import settings
    from nuages import hooks

    if backend == "file":
        settings.SESSION_FILE_PATH = tempfile.mkdtemp()
    Store = import_module(f"django.contrib.sessions.backends.{backend}").SessionStore
    hooks.install_all()

    def work():
        store = Store()
        store["a"] = 1
        store.save()
        read = Store(store.session_key)["a"]
        store.delete()
        return read

    async def work_later():
        store = Store()
        await store.aset("a", 1)
        await store.asave()
        read = await Store(store.session_key).aget("a")
        await store.adelete()
        return read

    with _outer():
        return [work(), asyncio.run(work_later())]


def storage():
    """Files of Django's storage, and of a class that the application defines after the hooks."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import FileSystemStorage

    class Shelf(FileSystemStorage):
        def exists(self, name):
            return super().exists(name)

        def delete(self, name):
            super().delete(name)
            raise PermissionError("the shelf is locked")

    with tempfile.TemporaryDirectory() as folder, _outer():
        plain = FileSystemStorage(folder)
        name = plain.save("notes.txt", ContentFile(b"secret content"))
        with plain.open(name) as file:
            text = file.read().decode()
        seen = [name, text, plain.exists(name), plain.size(name)]
        plain.delete(name)
        shelf = Shelf(folder)
        try:
            shelf.exists("missing.txt")
            shelf.delete("missing.txt")
        except PermissionError as error:
            seen.append(str(error))
        return seen


def forms():
    from catalog.models import Author
    from django import forms

    class AuthorForm(forms.ModelForm):
        class Meta:
            model = Author
            fields = ["name"]

    class Search(forms.Form):
        text = forms.CharField()

    with _outer():
        good = AuthorForm({"name": "New"})
        valid = good.is_valid(), good.is_valid()
        good.save()
        invalid = Search({}).is_valid()
        formset = forms.formset_factory(Search, extra=0)(
            {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "0", "form-0-text": "a", "form-1-text": "b"}
        )
        return [*valid, invalid, formset.is_valid()]


def upload():
    """A file in a form, read by a view."""
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client

    file = SimpleUploadedFile("notes.txt", b"secret content")
    return Client().post("/upload/", {"file": file, "title": "x"}).content.decode()


def rest_framework(answer):
    """A view with throttles, filters and a way to fail."""
    from django.core.cache import cache
    from django.test import RequestFactory
    from rest_framework import exceptions, throttling, views
    from rest_framework.response import Response

    cache.clear()

    class Slow(throttling.AnonRateThrottle):
        rate = "1/day"

    class Plain(views.APIView):
        def get(self, request):
            if answer == "missing":
                raise exceptions.NotFound
            if answer == "broken":
                raise ZeroDivisionError("the handler fails")
            return Response({"fine": True})

    class Throttled(Plain):
        throttle_classes = [Slow]

    class Forbidden(Plain):
        def check_permissions(self, request):
            raise exceptions.PermissionDenied

    view = {"throttled": Throttled, "forbidden": Forbidden}.get(answer, Plain).as_view()
    with _outer():
        try:
            codes = [
                view(RequestFactory().get("/")).render().status_code for _ in range(2 if answer == "throttled" else 1)
            ]
        except ZeroDivisionError:
            codes = ["raised"]
    return codes


def _engine(**templates):
    from django.template import Engine

    return Engine(loaders=[("django.template.loaders.locmem.Loader", templates)])


def template_loop(count):
    """A page of many rows, each with an icon, and a list that includes itself."""
    from django.template import Context

    engine = _engine(
        page="{% for n in rows %}{% include 'row' %}{% endfor %}{% include 'foot' %}",
        row="{{ n }}{% include 'icon' %}",
        icon="!",
        foot=".",
    )
    with _outer():
        return len(engine.get_template("page").render(Context({"rows": range(count)})))


def template_blocks(count):
    """A block that extends its parent's, one in a loop, and one that raises."""
    from django.template import Context

    engine = _engine(
        parent="[{% block head %}old{% endblock %}]{% for n in rows %}{% block row %}-{% endblock %}{% endfor %}",
        child="{% extends 'parent' %}{% block head %}{{ block.super }} new{% endblock %}{% block row %}.{% endblock %}",
        broken="{% block wrong %}{{ fail }}{% endblock %}",
    )
    with _outer():
        text = engine.get_template("child").render(Context({"rows": range(count)}))
        try:
            engine.get_template("broken").render(Context({"fail": lambda: 1 / 0}))
        except ZeroDivisionError as error:
            text += " " + type(error).__name__
    return text


def template_recursion(depth):
    """A tree that includes itself, and one that never ends."""
    from django.template import Context

    engine = _engine(
        tree="{{ depth }}{% if depth > 0 %}{% with depth=depth|add:'-1' %}{% include 'tree' %}{% endwith %}{% endif %}",
        endless="{% include 'endless' %}",
    )
    with _outer():
        text = engine.get_template("tree").render(Context({"depth": depth}))
        try:
            engine.get_template("endless").render(Context({}))
        except RecursionError:
            text += " RecursionError"
    return text


def template_tags():
    """An inclusion tag, a cached fragment twice, and a template that is missing."""
    from django.core.cache import cache
    from django.template import Context, Library, TemplateDoesNotExist
    from django.template.library import import_library

    cache.clear()
    engine = _engine(
        page="{% cache 60 part %}{% include 'row' %}{% endcache %}{% shelf 3 %}",
        row="row",
        shelf="{{ n }}",
    )
    library = Library()

    @library.inclusion_tag("shelf")
    def shelf(n):
        return {"n": n}

    engine.template_builtins += [library, import_library("django.templatetags.cache")]
    with _outer():
        texts = [engine.get_template("page").render(Context({})) for _ in range(2)]
        try:
            engine.from_string("{% include 'missing' %}").render(Context({}))
        except TemplateDoesNotExist as error:
            texts.append(type(error).__name__)
    return texts


def cache_later():
    """Every asynchronous operation of the cache."""
    from django.core.cache import cache

    async def work():
        got = [
            await cache.aget("stock", 7),
            await cache.aset("stock", 5),
            await cache.aget(key="stock"),
            await cache.aadd("stock", 6),
            await cache.ahas_key("stock"),
            await cache.aincr("stock"),
            await cache.atouch("stock"),
            sorted(await cache.aget_many(["stock", "nothing"])),
            await cache.aset_many({"a": 1, "b": 2}),
            await cache.aget_or_set("c", lambda: 3),
            await cache.adelete("c"),
            await cache.adelete_many(["a", "b"]),
        ]
        try:
            await cache.adecr("nothing")
        except ValueError:
            got.append("ValueError")
        await cache.aclear()
        got.append(await asyncio.gather(*(cache.aget(f"k{number}", number) for number in range(3))))
        return got

    cache.clear()
    with _outer():
        return asyncio.run(work())


def full_trace():
    """More operations than a trace takes."""
    from django.core.cache import cache

    with _outer():
        for _ in range(10_050):
            cache.get("x")
        return asyncio.run(cache.aget("x", 3))


def login():
    from django.contrib import auth
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest

    user = User.objects.get(username="ann")
    user.set_password("correct")
    user.save()
    request = HttpRequest()
    request.session = SessionStore()
    with _outer():
        auth.login(request, auth.authenticate(request, username="ann", password="correct"))
        return auth.authenticate(request, username="ann", password="wrong") is None


def users(capture, masking="on"):
    """Requests by somebody: who loads the user, who does not, who names somebody else, and an anonymous one."""
    from django.contrib.auth.models import User
    from django.test import Client
    from nuages import hooks, settings

    settings.override(capture_user=capture, masking=masking)
    hooks.install_all()
    try:
        client = Client()
        client.force_login(User.objects.get(username="ann"))
        codes = [client.get(f"/who/?{how}").status_code for how in ("load", "leave", "defer", "name")]
        return [*codes, Client().get("/who/?load").status_code]
    finally:
        settings.override(capture_user=None, masking=None)
        hooks.install_all()


def _application(middleware, path="/books/3/", urlconf=None, headers=(), method="GET"):
    """A new handler with these middleware, called once as a WSGI server does: status and body, or what came out."""
    import driver
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    before = settings.MIDDLEWARE
    settings.MIDDLEWARE = middleware
    try:
        application = get_wsgi_application()
    finally:
        settings.MIDDLEWARE = before
    seen = []
    environ = driver.environ_of({"path": path, "headers": dict(headers), "method": method})
    body = application(environ, lambda status, headers: seen.append(status))
    try:
        return [seen[0], b"".join(body).decode()]
    finally:
        body.close()


def misbehaving(what, traced):
    """Applications that break Django's rules: what comes out must be the same with and without the agent."""
    import sys

    from nuages import hooks

    if not traced:
        hooks.uninstall_all()
    try:
        try:
            answer = _misbehave(what)
        except BaseException as error:
            answer = [type(error).__name__, repr(error.args)]
        return [answer, trace.get_current_span().get_span_context().is_valid, str(sys.exc_info()[0])]
    finally:
        hooks.install_all()


def _misbehave(what):
    from django.conf import settings
    from django.test import Client

    if what.startswith("middleware "):
        return _application([f"catalog.misbehaving.{what.split()[1]}"])
    if what.startswith("view "):
        return _application([], path=f"/misbehaving/{what.split()[1]}/")
    if what == "settings changed at run time":
        client = Client(raise_request_exception=False)
        before = settings.ROOT_URLCONF, settings.DEBUG
        try:
            settings.DEBUG = True
            first = client.get("/books/3/").status_code
            settings.ROOT_URLCONF = "catalog.misbehaving"
            return [first, client.get("/books/3/").status_code, client.get("/only/").status_code]
        finally:
            settings.ROOT_URLCONF, settings.DEBUG = before
    if what == "generator never exhausted":
        import driver
        from bookshop.wsgi import application

        body = application(driver.environ_of({"path": "/stream/"}), lambda *arguments: None)
        first = next(iter(body))
        del body  # neither exhausted nor closed
        return [first.decode()]
    raise AssertionError(what)


def by_middleware_alone(position):
    """MIDDLEWARE with the agent's entry, beside every other way in."""
    from django.conf import settings

    middleware = list(settings.MIDDLEWARE)
    if position == "first":
        middleware.insert(0, "nuages.middleware.NuagesMiddleware")
    elif position == "last":
        middleware.append("nuages.middleware.NuagesMiddleware")
    return _application(middleware)[0]


def injected(kind, **options):
    """instrument() on a project whose MIDDLEWARE is a list or a tuple; twice."""
    from django.conf import settings
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    before = settings.MIDDLEWARE
    settings.MIDDLEWARE = {"list": list, "tuple": tuple}[kind](before)
    try:
        DjangoInstrumentor().instrument(**options)
        DjangoInstrumentor().instrument(**options)
        changed = settings.MIDDLEWARE
        DjangoInstrumentor().uninstrument()
        return [type(changed).__name__, list(changed), list(settings.MIDDLEWARE) == list(before)]
    finally:
        settings.MIDDLEWARE = before
        os.environ.pop("OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION", None)


def injected_by_environment(position):
    os.environ["OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION"] = position
    return injected("list")


def early_answers():
    """R3.07: no view is reached."""
    from django.conf import settings

    return [
        _application(list(settings.MIDDLEWARE), path="/nowhere/17/")[0],
        _application(list(settings.MIDDLEWARE), headers={"Host": "evil.example"})[0],
        _application(["django.middleware.csrf.CsrfViewMiddleware"], path="/books/create/", method="POST")[0],
        _application(["catalog.misbehaving.redirecting"], path="/books/17/")[0],
    ]


def user_hooks(request_hook, response_hook):
    """R3.12: the arguments that the hooks of instrument() get."""
    from django.test import AsyncClient, Client
    from nuages import _native
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    calls = []

    def asked(span, request):
        calls.append(["request", span.is_recording(), request.path])
        span.set_attribute("hook.request", "seen")
        if request_hook == "raises":
            raise LookupError("request_hook")

    def answered(span, request, response):
        calls.append(["response", span.is_recording(), request.path, response.status_code])
        span.set_attribute("hook.response", "seen")
        if response_hook == "raises":
            raise LookupError("response_hook")

    before = _native.hook_failures()
    DjangoInstrumentor().instrument(
        request_hook=asked if request_hook else None, response_hook=answered if response_hook else None
    )
    try:
        codes = [Client().get("/status/204/").status_code]
        codes.append(asyncio.run(AsyncClient().get("/async/")).status_code)
    finally:
        DjangoInstrumentor().instrument(request_hook=None, response_hook=None)
        DjangoInstrumentor().uninstrument()
    codes.append(Client().get("/status/204/").status_code)
    return {"codes": codes, "calls": calls, "failures": _native.hook_failures() - before}


def excluded_list(entries, paths):
    """R21: which of the paths make spans, one after the other."""
    from django.test import Client
    from nuages import hooks, settings

    settings.override(excluded_urls=entries)
    hooks.install_all()
    try:
        for path in paths:
            Client(raise_request_exception=False).get(path)
    finally:
        settings.override(excluded_urls=None)
        hooks.install_all()


def asynchronous_client():
    """Django's AsyncClient: a request, a stream read after the answer, and a stream nobody reads."""
    from django.test import AsyncClient

    async def work():
        client = AsyncClient()
        response = await client.get("/later/")
        parts = [part.decode() async for part in response]
        await client.get("/later/")
        return parts

    parts = asyncio.run(work())
    gc.collect()  # ends the request whose body nobody read
    return parts


def every_original():
    """Every attribute that some hook has replaced, and which of them is not the identical original after uninstall_all()."""
    import importlib

    from nuages import hooks

    replaced = []
    for name in hooks.installed():
        module = importlib.import_module(f"nuages.hooks.{name}")
        replaced += [(name, *done) for done in module._patches._done]
    first = {}
    for name, owner, attribute, _, original in replaced:
        first.setdefault((id(owner), attribute), (name, owner, attribute, original))
    hooks.uninstall_all()
    from nuages.hooks import support

    different = [
        f"{name}: {owner!r}.{attribute}"
        for name, owner, attribute, original in first.values()
        if vars(owner).get(attribute, support._ABSENT) is not original
    ]
    hooks.install_all()
    return {"count": len(first), "hooks": sorted({name for name, *_ in replaced}), "different": different}


def redis_worker():
    """A worker on a Redis broker in this process: it polls, acknowledges, runs one task; then a client checks its idle connection."""
    import threading

    from celery import Celery
    from celery.contrib.testing.worker import start_worker
    from redis import Redis

    url = os.environ["BOOKSHOP_REDIS"]
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.update(
        task_default_queue="polled", broker_connection_retry_on_startup=True, worker_hijack_root_logger=False
    )
    done = threading.Event()

    @app.task(name="shop.polled")
    def restock():
        done.set()

    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL"):
        with _outer():
            restock.delay()
        finished = done.wait(30)
    app.close()
    client = Redis.from_url(url, health_check_interval=1)
    client.ping()
    for connection in client.connection_pool._available_connections:
        connection.next_health_check = 0  # the next command asks first
        connection.check_health()
    client.close()
    return finished


def captured_headers(request_names="", response_names="", sanitize="", masking="on"):
    """OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_*: what a request and its answer leave on the span."""
    from django.test import AsyncClient, Client
    from nuages import hooks, settings

    names = {
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": request_names,
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": response_names,
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": sanitize,
    }
    os.environ.update(names)
    settings.override(masking=masking)
    hooks.install_all()
    headers = {"X-Tenant": "blue", "X-Api-Key": "abcdef", "Accept": "text/html"}
    try:
        asyncio.run(AsyncClient().get("/async/", headers=headers))
        return Client().post("/books/create/", "{", content_type="application/json", headers=headers).status_code
    except ValueError:
        return "the view fails"
    finally:
        settings.override(masking=None)
        for name in names:
            del os.environ[name]
        hooks.install_all()
