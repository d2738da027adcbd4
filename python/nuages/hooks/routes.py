"""Routes of URLconfs as names of spans: `books/<int:book_id>/` and `^books/(?P<book_id>\\d+)/$` both become `/books/{book_id}/`."""

from __future__ import annotations

import re

_CONVERTER = re.compile(r"<(?:[^<>:]+:)?([^<>:]+)>")
_REGEX_SIGNS = re.compile(r"\(\?|\\|\^|\$|\[")


def route_name(route: str) -> str:
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
