"""sqlite3: statements, COMMIT and ROLLBACK, new connections, outside of Django's cursors."""

from __future__ import annotations

from typing import Any, Optional

from nuages import _native
from nuages.hooks import driver, support

_patches = driver.DriverPatches("sqlite3")


def available() -> bool:
    return support.loaded("sqlite3")


def _describe(connection: Any) -> driver.Facts:
    return driver.NOTHING  # only connect() knows the path


KNOWN = driver.driver("sqlite", _describe, "sqlite3", False, "sql", "parameters")


def install() -> None:
    import sqlite3

    _patches.cursors((sqlite3.Cursor,))
    _patches.statements(sqlite3.Cursor, KNOWN, execute="execute", executemany="executemany", executescript="execute")
    _patches.statements(
        sqlite3.Connection,
        KNOWN,
        execute="connection_execute",
        executemany="connection_executemany",
        executescript="connection_execute",
    )
    _patches.transactions(sqlite3.Connection, KNOWN)
    _patches.replace(sqlite3.Connection, "__exit__", "around", (_before_exit, _after_exit))
    original = sqlite3.connect
    probe = sqlite3.Connection(":memory:")
    if not (_patches.effective(probe) and _patches.effective(probe.cursor())):
        _patches.undo()
        support.say_once("sqlite3 does not take hooks on this Python: statements outside of Django are not traced")
        return
    probe.close()
    connecting = driver.Connecting(KNOWN, _arguments, described=False)
    _patches.rebind(original, connecting.hook(original), "connect")


def uninstall() -> None:
    _patches.undo()


def _before_exit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`with connection:` commits or rolls back by itself."""
    connection = args[0]
    if not connection.in_transaction:
        return None
    word = "COMMIT" if len(args) < 2 or args[1] is None else "ROLLBACK"
    return _native.begin_sql(driver.WORD, None, connection, word, None, KNOWN)


def _after_exit(state: Any, result: Any, error: Optional[BaseException]) -> None:
    _native.end_sql(state[0], error)


def _arguments(database: Any, *args: Any, **kwargs: Any) -> driver.Facts:
    name = database if isinstance(database, (str, bytes)) else getattr(database, "__fspath__", str)()
    return name, None, None, None
