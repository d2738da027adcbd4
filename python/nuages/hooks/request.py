"""Requests: one SERVER span each, from the server's call to the response's close().

`WSGIHandler.__call__` opens the span; `BaseHandler.get_response` opens it where nobody has (test clients, other handlers) and notes the
response; `resolve_request` gives the name; `response_for_exception` gives the exception behind a 500. The coroutine counterpart
`get_response_async` is hooked by a real `async def`, so that servers and Django still see a coroutine function.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.core import exceptions
    from django.core.handlers import base, exception, wsgi
    from django.http import Http404
    from django.http.multipartparser import MultiPartParserError

    client_errors = (
        Http404,
        exceptions.PermissionDenied,
        MultiPartParserError,
        exceptions.BadRequest,
        exceptions.SuspiciousOperation,
    )
    _native.configure_hooks(support.request_options, route_name, support.call_site, client_errors)
    _patches.replace(wsgi.WSGIHandler, "__call__", "wsgi")
    _patches.replace(base.BaseHandler, "get_response", "get_response")
    _patches.replace(base.BaseHandler, "resolve_request", "resolve")
    _patches.replace(exception, "response_for_exception", "exception_response")
    _patches.put(base.BaseHandler, "get_response_async", _traced_async(base.BaseHandler.get_response_async))


def uninstall() -> None:
    _patches.undo()


def _traced_async(original: Any) -> Any:
    @functools.wraps(original)
    async def get_response_async(self: Any, request: Any) -> Any:
        span = _native.begin_request(request)
        if span is None:
            return await original(self, request)
        try:
            response = await original(self, request)
        except BaseException as error:
            span.failed(error)
            span.leave()
            span.close()
            raise
        span.leave()
        span.answered(request, response)
        return response

    return get_response_async


# ---- route -> name ----

_CONVERTER = re.compile(r"<(?:[^<>:]+:)?([^<>:]+)>")
_REGEX_SIGNS = re.compile(r"\(\?|\\|\^|\$|\[")


def route_name(route: str) -> str:
    """`books/<int:book_id>/` and `^books/(?P<book_id>\\d+)/$` both become `/books/{book_id}/`."""
    text = _plain_regex(route) if _REGEX_SIGNS.search(route) else _CONVERTER.sub(r"{\1}", route)
    return re.sub(r"/{2,}", "/", "/" + text)


def _plain_regex(route: str) -> str:
    route = _CONVERTER.sub(lambda match: match.group(0) if route[max(0, match.start() - 2) : match.start()] == "?P" else "{%s}" % match[1], route)
    out: list[str] = []
    position = unnamed = 0
    while position < len(route):
        sign = route[position]
        if sign == "\\":
            following = route[position + 1 : position + 2]
            if following not in ("Z", "A", "b", "B"):
                out.append("{%s}" % following if following in "dwsDWS" and following else following)
            position += 2
            continue
        if sign == "(":
            end = _closing(route, position)
            group = route[position + 1 : end]
            position = end + 1
            named = re.match(r"\?P<(\w+)>", group)
            if named:
                out.append("{%s}" % named[1])
            elif group.startswith("?:"):
                out.append(_plain_regex(group[2:]).lstrip("/") if not group[2:].startswith("/") else _plain_regex(group[2:]))
            elif not group.startswith("?"):
                out.append("{%d}" % unnamed)
                unnamed += 1
            continue
        if sign == "[":
            end = position + 1
            while end < len(route) and (route[end] != "]" or end == position + 1):
                end += 2 if route[end] == "\\" else 1
            out.append("{%s}" % unnamed)
            unnamed += 1
            position = end + 1
            continue
        if sign == "{" and re.match(r"\{\d*,?\d*\}", route[position:]):
            position = route.index("}", position) + 1
            continue
        if sign not in "^$?*+":
            out.append(sign)
        position += 1
    return "".join(out)


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one at `start`; the last index when none does."""
    depth = 0
    position = start
    in_class = False
    while position < len(text):
        sign = text[position]
        if sign == "\\":
            position += 2
            continue
        if in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
            if text[position + 1 : position + 2] == "]":
                position += 1
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return len(text) - 1
