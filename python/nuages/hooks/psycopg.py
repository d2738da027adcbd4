"""psycopg 3: statements, COPY, COMMIT and ROLLBACK, new connections, of sync and async connections, outside of Django's cursors."""

from __future__ import annotations

from typing import Any, Optional

from nuages import _native
from nuages.hooks import driver, support

_patches = driver.DriverPatches("psycopg")


def available() -> bool:
    return support.loaded("psycopg")


def _describe(connection: Any) -> driver.Facts:
    info = connection.info
    return info.dbname, info.host, info.port, info.user


KNOWN = driver.driver("postgresql", _describe, "psycopg", True, "query", "params")


def install() -> None:
    import psycopg

    _patches.cursors((psycopg.Cursor, psycopg.AsyncCursor))
    for cursor in (psycopg.Cursor, psycopg.ServerCursor):
        _patches.statements(cursor, KNOWN, execute="execute")
    _patches.statements(psycopg.Cursor, KNOWN, executemany="executemany")
    _patches.transactions(psycopg.Connection, KNOWN)
    _put(psycopg.Cursor, "stream", driver.streaming)
    _put(psycopg.Cursor, "copy", driver.copying)
    for other in (psycopg.AsyncCursor, psycopg.AsyncServerCursor):
        _patches.put(other, "execute", driver.awaiting(vars(other)["execute"], driver.EXECUTE, KNOWN))
    many = vars(psycopg.AsyncCursor)["executemany"]
    _patches.put(psycopg.AsyncCursor, "executemany", driver.awaiting(many, driver.EXECUTEMANY, KNOWN))
    _put(psycopg.AsyncCursor, "stream", driver.streaming_async)
    _put(psycopg.AsyncCursor, "copy", driver.copying)
    for name in ("commit", "rollback"):
        original = vars(psycopg.AsyncConnection)[name]
        _patches.put(psycopg.AsyncConnection, name, driver.awaiting_word(original, name.upper(), KNOWN))
    for owner, enter, leave in (
        (psycopg.Transaction, "__enter__", "__exit__"),
        (psycopg.AsyncTransaction, "__aenter__", "__aexit__"),
    ):
        for name, before in ((enter, _before_enter), (leave, _before_leave)):
            if name.startswith("__a"):
                _patches.put(owner, name, support.awaiting(vars(owner)[name], before, _after_word))
            else:
                _patches.replace(owner, name, "around", (before, _after_word))
    connecting = driver.Connecting(KNOWN, _arguments)
    function = vars(psycopg.AsyncConnection)["connect"].__func__
    _patches.put(psycopg.AsyncConnection, "connect", classmethod(connecting.awaiting(function)))
    bound = psycopg.connect
    function = vars(psycopg.Connection)["connect"].__func__
    _patches.put(psycopg.Connection, "connect", classmethod(connecting.hook(function)))
    _patches.rebind(bound, psycopg.Connection.connect, "connect")


def uninstall() -> None:
    _patches.undo()


def _put(owner: type, name: str, make: Any) -> None:
    _patches.put(owner, name, make(vars(owner)[name], KNOWN))


def _before_enter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`with connection.transaction():` sends its words past the cursors."""
    connection = args[0].connection
    outer = connection.info.transaction_status == 0  # idle
    return _native.begin_sql(driver.WORD, None, connection, "BEGIN" if outer else "SAVEPOINT", None, KNOWN)


def _before_leave(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    transaction = args[0]
    failed = len(args) > 1 and args[1] is not None
    inner = not getattr(transaction, "_outer_transaction", True)
    word = "ROLLBACK" if failed or transaction.force_rollback else "COMMIT"
    if inner:
        word = "ROLLBACK TO SAVEPOINT" if word == "ROLLBACK" else "RELEASE SAVEPOINT"
    return _native.begin_sql(driver.WORD, None, transaction.connection, word, None, KNOWN)


def _after_word(state: Any, result: Any, error: Optional[BaseException]) -> None:
    _native.end_sql(state[0], error)


def _arguments(cls: Any, conninfo: str = "", **kwargs: Any) -> driver.Facts:
    return kwargs.get("dbname"), kwargs.get("host"), kwargs.get("port"), kwargs.get("user")
