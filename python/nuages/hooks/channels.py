"""Django Channels: websockets and consumers.

A connection is one SERVER span `WEBSOCKET /ws/orders/{order_id}/`, from the server's call to the end of the handshake (what middleware and
the consumer's connect handler do, 101 or 403). A connection may live for days, so each later message, also one from the channel layer, is
the root of a trace of its own that links to the connection and follows its sampling decision: `websocket.receive /ws/orders/{order_id}/`.
What the consumer sends is a child of the message being handled. Contents stay in the process; only their length is recorded.

The outermost of `ProtocolTypeRouter`, `URLRouter` and consumer opens the span; `URLRouter` tells the route it chose; `await_many_dispatch`,
through which every consumer gets its messages, gives the messages.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Callable, Optional

from nuages import _native
from nuages.hooks import asgi_support, support
from nuages.hooks.routes import route_name

_patches = support.Patches()


def available() -> bool:
    return support.loaded("channels.consumer") or support.loaded("channels.routing")


def install() -> None:
    from channels import consumer, routing

    for owner, kinds in (
        (routing.ProtocolTypeRouter, ("websocket",)),  # http is left to Django's handler
        (routing.URLRouter, ("websocket", "http")),
        (consumer.AsyncConsumer, ("websocket", "http")),
    ):
        _patches.put(owner, "__call__", _application(vars(owner)["__call__"], kinds))
    _patches.put(consumer, "await_many_dispatch", _dispatching(consumer.await_many_dispatch))


def uninstall() -> None:
    _patches.undo()


class _Connection:
    """One call of the outermost application."""

    def __init__(self, request: Any, kind: str, method: str) -> None:
        self.request = request
        self.name = "WEBSOCKET" if kind == "websocket" else method
        self.route: Optional[str] = None  # as URLRouter has it, prefixes included
        self.shown = ""  # as spans have it
        self.consumer: Any = None

    def handled_by(self, consumer: Any) -> None:
        self.consumer = consumer
        if self.route is not None:
            self.shown = route_name(self.route)
            self.request.rename(f"{self.name} {self.shown}", self.shown)


_connection: ContextVar[Optional[_Connection]] = ContextVar("nuages_connection", default=None)


def _application(original: Any, kinds: tuple[str, ...]) -> Any:
    @functools.wraps(original)
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:
        if not support.enabled(__call__) or not isinstance(scope, dict):
            return await original(self, scope, receive, send)
        kind = scope.get("type")
        request = _native.begin_asgi(scope) if kind in kinds else None
        if request is None:
            return await original(_noting(self), scope, receive, send)
        token = _connection.set(_Connection(request, str(kind), str(scope.get("method", ""))))
        try:
            return await original(
                _noting(self), scope, asgi_support.watched(request, receive), _traced_send(request, send)
            )
        except BaseException as error:
            asgi_support.ended_by(request, error)
            raise
        finally:
            _connection.reset(token)
            request.leave()
            request.close()

    return support.shim(__call__)


def _noting(application: Any) -> Any:
    """The application; a router as a copy of itself that tells which of its routes it tried last, a consumer after it is known."""
    connection = _connection.get()
    if connection is None:
        return application
    try:
        if hasattr(application, "dispatch"):
            connection.handled_by(application)
        elif hasattr(application, "routes"):
            application = copy.copy(application)
            application.routes = _Routes(application.routes, connection)
    except Exception:
        support.failed("reading the route of a connection")
    return application


class _Routes:
    def __init__(self, routes: Any, connection: _Connection) -> None:
        self._routes = routes
        self._connection = connection
        self._prefix = connection.route or ""

    def __iter__(self) -> Iterator[Any]:
        for route in self._routes:
            self._connection.route = self._prefix + str(getattr(route, "pattern", ""))
            yield route


def _traced_send(request: Any, send: Any) -> Any:
    async def traced_send(message: Any) -> Any:
        request.sent(message)
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str) or not kind.startswith("websocket."):
            return await send(message)
        opened = support.open_span("nuages.django", kind, {"nuages.kind": "websocket", **_size(message)})
        try:
            result = await send(message)
        except BaseException as error:
            support.close_span(opened, error)
            raise
        support.close_span(opened)
        return result

    return traced_send


def _size(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("text") if message.get("text") is not None else message.get("bytes")
    return {"websocket.message.length": len(content)} if isinstance(content, (str, bytes)) else {}


def _dispatching(original: Any) -> Any:
    @functools.wraps(original)
    async def await_many_dispatch(consumer_callables: Any, dispatch: Any) -> Any:
        connection = _connection.get()
        if connection is None or connection.consumer is None or not support.enabled(await_many_dispatch):
            return await original(consumer_callables, dispatch)
        return await original(consumer_callables, _traced_dispatch(connection, dispatch))

    return support.shim(await_many_dispatch)


def _traced_dispatch(connection: _Connection, dispatch: Callable[..., Any]) -> Callable[..., Any]:
    from channels.exceptions import StopConsumer

    async def traced_dispatch(message: Any) -> Any:
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            return await dispatch(message)
        handshake = kind == "websocket.connect"
        opened = None
        try:
            opened = _open(connection, kind, message)
        except Exception:
            support.failed("starting the span of a message")
        error: Optional[BaseException] = None
        try:
            return await dispatch(message)
        except StopConsumer:  # how a consumer says that the connection is done
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            if opened is not None:
                _native.annotate_queries(opened.span)
                opened.close(error)
            if handshake:
                if error is not None:
                    asgi_support.ended_by(connection.request, error)
                connection.request.leave()
                connection.request.close()

    return traced_dispatch


def _open(connection: _Connection, kind: str, message: dict[str, Any]) -> Optional[support.OpenSpan]:
    owner = type(connection.consumer)
    handler = kind.replace(".", "_")
    attributes: dict[str, Any] = {
        "nuages.kind": "view" if kind.startswith("http.") or kind == "websocket.connect" else "websocket",
        "code.namespace": f"{owner.__module__}.{owner.__qualname__}",
        "code.function": handler,
    }
    if attributes["nuages.kind"] == "view":
        return support.open_span("nuages.django", f"{owner.__name__}.{handler}", attributes)
    attributes.update(_size(message))
    if connection.shown:
        attributes["http.route"] = connection.shown
    if kind == "websocket.disconnect" and isinstance(message.get("code"), int):
        attributes["websocket.close.code"] = message["code"]
    span = _native.start_message_span(f"{kind} {connection.shown}".rstrip(), connection.request, attributes)
    return None if span is None else support.OpenSpan(span)
