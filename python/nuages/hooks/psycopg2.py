"""psycopg2: statements, COPY, COMMIT and ROLLBACK, new connections, outside of Django's cursors."""

from __future__ import annotations

from typing import Any

from nuages import _native
from nuages.hooks import driver, support

_patches = driver.DriverPatches("psycopg2")


def available() -> bool:
    return support.loaded("psycopg2") and support.loaded("psycopg2.extensions")


def _describe(connection: Any) -> driver.Facts:
    info = connection.info
    return info.dbname, info.host, info.port, info.user


KNOWN = driver.driver("postgresql", _describe, "psycopg2", True, "query", "vars")
_COPY = driver.driver("postgresql", _describe, "psycopg2", True, "sql", "nothing")


def install() -> None:
    import psycopg2
    from psycopg2 import extensions

    _patches.cursors((extensions.cursor,))
    _patches.statements(extensions.cursor, KNOWN, execute="execute", executemany="executemany", callproc="callproc")
    _patches.statements(extensions.cursor, _COPY, copy_expert="execute")
    _patches.replace(extensions.cursor, "copy_from", "around", (_before_from, _after))
    _patches.replace(extensions.cursor, "copy_to", "around", (_before_to, _after))
    _patches.transactions(extensions.connection, KNOWN)
    original = psycopg2.connect
    connecting = driver.Connecting(KNOWN, _arguments)
    _patches.rebind(original, connecting.hook(original), "connect")


def uninstall() -> None:
    _patches.undo()


def _arguments(dsn: Any = None, *args: Any, **kwargs: Any) -> driver.Facts:
    name = kwargs.get("dbname", kwargs.get("database"))
    return name, kwargs.get("host"), kwargs.get("port"), kwargs.get("user")


def _before_from(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _before(args, kwargs, "FROM STDIN")


def _before_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _before(args, kwargs, "TO STDOUT")


def _before(args: tuple[Any, ...], kwargs: dict[str, Any], direction: str) -> Any:
    cursor = args[0]
    table = args[2] if len(args) > 2 else kwargs.get("table")
    if not isinstance(table, str):
        return None
    quoted = table if table.isidentifier() else '"' + table.replace('"', '""') + '"'
    opened = _native.begin_sql(
        driver.EXECUTE, cursor, cursor.connection, f"COPY {quoted} {direction}", None, KNOWN, False
    )
    return None if opened is None else (opened[0], cursor)


def _after(state: Any, result: Any, error: Any) -> None:
    driver.end(state[0], state[1], error)
