"""Values in the messages of database errors.

Servers and drivers quote what the application sent: ``DETAIL:  Key (email)=(ann@example.com) already exists.``, ``LINE 1: SELECT ...``,
``Duplicate entry 'ann' for key 'users.email'``. Names of tables, columns and constraints stay, values become ``?``: what the statement's
sanitiser does for SQL, done for the text that comes back. `NUAGES_MASKING=off` keeps both as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nuages import settings

_PACKAGES = frozenset(
    {"psycopg", "psycopg2", "sqlite3", "pymysql", "MySQLdb", "oracledb", "asyncpg", "sqlalchemy", "redis"}
)
# What MySQL puts in single quotes without being a value, by the word before it.
_NAMED = frozenset(
    {"key", "column", "table", "field", "index", "constraint", "database", "in", "view", "function", "command"}
)
_ECHO = re.compile(r"^(LINE \d+:|STATEMENT:|QUERY:|SQL statement)[^\n]*(?:\n *\^)?", re.MULTILINE)
_KEY = re.compile(r"=\(.*\)")
_ROW = re.compile(r"(row contains )\(.*\)")
_AFTER_COLON = re.compile(r'(: )".*"')
_VALUE = re.compile(r'(\b[Vv]alue )".*?"')
_PARAMETER = re.compile(r"(\$\d+ = ).*")
# A quote inside the value is followed by a letter; one that ends it is not.
_QUOTED = re.compile(r"(?:\b(\w+)(\s+))?(?<!\w)'((?:[^'\n]|'(?=\w))*)'(?!\w)")


def is_database_error(exception: BaseException) -> bool:
    for kind in type(exception).__mro__:
        module = str(kind.__module__)
        if module == "django.db.utils" or module.partition(".")[0] in _PACKAGES:
            return True
    return False


def clean(text: str) -> str:
    """The message without values."""
    text = _ECHO.sub(r"\1 ?", text)
    text = _PARAMETER.sub(r"\1?", text)
    text = _ROW.sub(r"\1(?)", text)
    text = _KEY.sub("=(?)", text)
    text = _AFTER_COLON.sub(r'\1"?"', text)
    text = _VALUE.sub(r'\1"?"', text)
    return _QUOTED.sub(_unquote, text)


def _unquote(match: re.Match[str]) -> str:
    word, space, _ = match.groups()
    if word is None:
        return "'?'"
    return match.group(0) if word.lower() in _NAMED else f"{word}{space}'?'"


def message(exception: BaseException) -> str:
    """`str(exception)`, cleaned where it comes from a database. May raise what `str()` raises."""
    text = str(exception)
    return clean(text) if is_database_error(exception) and settings.get("masking") != "off" else text


def clean_stack(exception: BaseException, stack: str) -> str:
    """The formatted traceback with the messages of the exception and of those behind it cleaned."""
    if settings.get("masking") == "off":
        return stack
    for each in _chain(exception):
        if is_database_error(each):
            text = str(each)
            if text:
                stack = stack.replace(text, clean(text))
    return stack


def _chain(exception: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException] = [exception]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.extend(other for other in (each.__cause__, each.__context__) if other is not None)
