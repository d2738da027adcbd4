"""Requests: one SERVER span each, from the server's call to the response's close() or the last ASGI message.

`WSGIHandler.__call__` and `ASGIHandler.__call__` open the span; `BaseHandler.get_response` opens it where nobody has (test clients, other
handlers) and notes the response; `resolve_request` gives the name; `response_for_exception` gives the exception behind a 500. Coroutines are
hooked by a real `async def`, so that servers and Django still see coroutine functions, and nothing of ours waits in a thread.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from opentelemetry import context, trace

from nuages import _native
from nuages.hooks import asgi_support, places, support
from nuages.hooks.routes import route_name

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.core import exceptions
    from django.core.handlers import asgi, base, exception, wsgi
    from django.http import Http404
    from django.http.multipartparser import MultiPartParser, MultiPartParserError

    expected = (  # noted on spans that they leave, but no ERROR: answered with a 4xx, or nobody waits any more
        asyncio.CancelledError,
        Http404,
        exceptions.PermissionDenied,
        MultiPartParserError,
        exceptions.BadRequest,
        exceptions.SuspiciousOperation,
    )
    _native.configure_hooks(support.request_options, route_name, places.call_site, expected, places.note_batch)
    _patches.replace(wsgi.WSGIHandler, "__call__", "wsgi")
    _patches.replace(base.BaseHandler, "get_response", "get_response")
    _patches.replace(base.BaseHandler, "resolve_request", "resolve")
    _patches.replace(
        MultiPartParser, "parse", "span", _native.span_template("multipart.parse", {"nuages.kind": "request"})
    )
    _patches.replace(exception, "response_for_exception", "exception_response")
    _patches.put(base.BaseHandler, "get_response_async", _traced_async(vars(base.BaseHandler)["get_response_async"]))
    _patches.put(asgi.ASGIHandler, "__call__", _traced_application(vars(asgi.ASGIHandler)["__call__"], ("http",)))


def uninstall() -> None:
    _patches.undo()


def _traced_application(original: Any, kinds: tuple[str, ...]) -> Any:
    """An ASGI application's `__call__` as one request, for scopes of these kinds; a request that is open already is left alone."""

    @functools.wraps(original)
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:
        request = None
        if support.enabled(__call__) and isinstance(scope, dict) and scope.get("type") in kinds:
            request = _native.begin_asgi(scope)
        if request is None:
            return await original(self, scope, receive, send)

        def traced_send(message: Any) -> Any:
            request.sent(message)
            return send(message)

        try:
            return await original(self, scope, asgi_support.watched(request, receive), traced_send)
        except BaseException as error:
            asgi_support.ended_by(request, error)
            raise
        finally:
            request.leave()
            request.close()

    return support.shim(__call__)


def _traced_async(original: Any) -> Any:
    @functools.wraps(original)
    async def get_response_async(self: Any, request: Any) -> Any:
        opened = _native.begin_request(request) if support.enabled(get_response_async) else None
        if opened is None:
            return await original(self, request)
        span, own = opened
        try:
            response = await original(self, request)
        except BaseException as error:
            if own:
                asgi_support.ended_by(span, error)
                span.leave()
                span.close()
            elif isinstance(error, asyncio.CancelledError):
                span.lost("asyncio.cancelled")
            raise
        if own:
            span.leave()
        span.answered(request, response)
        if own and getattr(response, "is_async", False):
            response._iterator = _FollowedBody(span, response._iterator)
        return response

    return support.shim(get_response_async)


class _FollowedBody:
    """An asynchronous body whose steps run with the request's span current, where no ASGI handler of ours is around them."""

    def __init__(self, request: Any, inner: Any) -> None:
        self._request = request
        self._inner = inner

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        token = context.attach(trace.set_span_in_context(self._request.span))
        try:
            return await self._inner.__anext__()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            asgi_support.ended_by(self._request, error)
            raise
        finally:
            context.detach(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
