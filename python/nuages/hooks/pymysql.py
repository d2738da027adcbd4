"""PyMySQL: statements, COMMIT and ROLLBACK, new connections, outside of Django's cursors."""

from __future__ import annotations

from typing import Any

from nuages.hooks import driver, support

_patches = driver.DriverPatches("pymysql")


def available() -> bool:
    return support.loaded("pymysql") and support.loaded("pymysql.cursors")


def _describe(connection: Any) -> driver.Facts:
    return connection.db, connection.host, connection.port, connection.user


KNOWN = driver.driver("mysql", _describe, "pymysql", True, "query", "args")


def install() -> None:
    from pymysql import connections, cursors

    _patches.cursors((cursors.Cursor,))
    _patches.statements(cursors.Cursor, KNOWN, execute="execute", executemany="executemany", callproc="callproc")
    _patches.transactions(connections.Connection, KNOWN)
    connecting = driver.Connecting(KNOWN, lambda connection, *args, **kwargs: _describe(connection))
    _patches.put(connections.Connection, "connect", connecting.hook(vars(connections.Connection)["connect"]))


def uninstall() -> None:
    _patches.undo()
