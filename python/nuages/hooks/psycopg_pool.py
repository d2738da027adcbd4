"""psycopg_pool, also as Django's pool option: a span `pool.getconn` for the wait for a free connection."""

from __future__ import annotations

from typing import Any, Optional

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("psycopg_pool")


def install() -> None:
    import psycopg_pool

    for owner in (psycopg_pool.ConnectionPool, psycopg_pool.NullConnectionPool):
        if "getconn" in vars(owner):
            _patches.replace(owner, "getconn", "around", (_before, _after))
        if "_connect" in vars(owner):  # in a thread of the pool, with what sets a connection up
            _patches.replace(owner, "_connect", "silent")
    for other in (psycopg_pool.AsyncConnectionPool, psycopg_pool.AsyncNullConnectionPool):
        if "getconn" in vars(other):
            _patches.put(other, "getconn", support.awaiting(vars(other)["getconn"], _before, _after))


def uninstall() -> None:
    _patches.undo()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Optional[support.OpenSpan]:
    pool = args[0]
    names = ("db.system", "db.system.name")
    chosen = (names[:1], names[1:], names)[support.request_options["semconv_database"]]
    attributes = {
        "nuages.kind": "connection",
        **dict.fromkeys(chosen, "postgresql"),
        "db.client.connection.pool.name": str(pool.name),
    }
    return support.open_span("nuages.db", "pool.getconn", attributes)


def _after(opened: support.OpenSpan, result: Any, error: Optional[BaseException]) -> None:
    support.close_span(opened, error)
