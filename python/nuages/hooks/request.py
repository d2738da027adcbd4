"""Requests: one SERVER span each, from the server's call to the response's close().

`WSGIHandler.__call__` opens the span; `BaseHandler.get_response` opens it where nobody has (test clients, other handlers) and notes the
response; `resolve_request` gives the name; `response_for_exception` gives the exception behind a 500. The coroutine counterpart
`get_response_async` is hooked by a real `async def`, so that servers and Django still see a coroutine function.
"""

from __future__ import annotations

import asyncio
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
            if not isinstance(error, asyncio.CancelledError):  # the client has gone: no failure of the application
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
    """A regular expression as a path: named groups become `{name}`, unnamed ones and character classes a number, optional parts stay."""
    # path() converters of an enclosing include; `(?P<name>` looks like one and is not
    route = re.sub(r"(?<!\?P)<(?:[^<>:]+:)?([^<>:]+)>", r"{\1}", route)
    out: list[str] = []
    position = unnamed = 0
    while position < len(route):
        sign = route[position]
        piece = sign
        end = position + 1
        if sign == "\\":
            following = route[position + 1 : position + 2]
            piece = (
                "" if following in tuple("ZAb") else f"{{{following}}}" if following in tuple("dwsDWS") else following
            )
            end += 1
        elif sign == "(":
            end = _closing(route, position) + 1
            group = route[position + 1 : end - 1]
            named = re.match(r"\?P<(\w+)>", group)
            if named:
                piece = f"{{{named[1]}}}"
            elif group.startswith("?"):
                piece = _plain_regex(group[2:]) if group.startswith("?:") else ""
            else:
                piece, unnamed = f"{{{unnamed}}}", unnamed + 1
        elif sign == "[":
            end = _end_of_class(route, position)
            piece, unnamed = f"{{{unnamed}}}", unnamed + 1
        elif sign == "{" and (repeat := re.match(r"\{\d*,?\d*\}", route[position:])):
            piece, end = "", position + repeat.end()
        elif sign in "^$?*+":
            piece = ""
        out.append(piece)
        position = end
    return "".join(out)


def _end_of_class(text: str, start: int) -> int:
    """The index behind the `]` that closes the character class at `start`."""
    position = start + 1
    while position < len(text) and (text[position] != "]" or position == start + 1):
        position += 2 if text[position] == "\\" else 1
    return position + 1


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one at `start`; the last index when none does."""
    depth = 0
    position = start
    while position < len(text):
        sign = text[position]
        if sign == "[":
            position = _end_of_class(text, position)
            continue
        if sign == "\\":
            position += 1
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return len(text) - 1
