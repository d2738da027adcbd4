"""mysqlclient (MySQLdb): statements, COMMIT and ROLLBACK, new connections, outside of Django's cursors."""

from __future__ import annotations

from typing import Any

from nuages.hooks import driver, support

_patches = driver.DriverPatches("mysqlclient")


def available() -> bool:
    return support.loaded("MySQLdb.connections") and support.loaded("MySQLdb.cursors")


def _describe(connection: Any) -> driver.Facts:
    return driver.NOTHING  # of a connection that was there before us


KNOWN = driver.driver("mysql", _describe, "MySQLdb", True, "query", "args")


def install() -> None:
    from MySQLdb import connections, cursors

    _patches.cursors((cursors.BaseCursor,))
    _patches.statements(cursors.BaseCursor, KNOWN, execute="execute", executemany="executemany", callproc="callproc")
    _patches.transactions(connections.Connection, KNOWN)
    connecting = driver.Connecting(KNOWN, _arguments, described=False)
    _patches.put(connections.Connection, "__init__", connecting.hook(vars(connections.Connection)["__init__"]))


def uninstall() -> None:
    _patches.undo()


def _arguments(
    connection: Any,
    host: Any = None,
    user: Any = None,
    password: Any = None,
    database: Any = None,
    port: Any = None,
    **kwargs: Any,
) -> driver.Facts:
    return kwargs.get("db", database), host, port, user
