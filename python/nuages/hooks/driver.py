"""What the hooks of database drivers share: their description for the native side, types of C, coroutines, COPY, connections.

A statement is recorded once, by the outermost hook that sees it: Django's cursors first (hook `orm`), these for what does not come through
Django. The native side tells by the driver's cursor.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable, Optional

from nuages import _native
from nuages.hooks import support

# Kinds of begin_sql().
EXECUTE, EXECUTEMANY, CALLPROC, WORD = range(4)

Facts = tuple[Any, Any, Any, Any]  # name, host, port, user of a database
Driver = tuple[str, Callable[[Any], Facts], bool, str, str, str]
NOTHING: Facts = (None, None, None, None)

_cursor_types: dict[str, tuple[type, ...]] = {}


def driver(
    system: str, describe: Callable[[Any], Facts], module: str, percent: bool, sql: str, parameters: str
) -> Driver:
    """`describe(connection)` gives the facts; `percent`: parameters are put in with %; `sql` and `parameters` are execute()'s keywords."""
    return (system, describe, percent, module, sql, parameters)


class DriverPatches(support.Patches):
    """Also types of C, whose attributes setattr() refuses."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def cursors(self, types: tuple[type, ...]) -> None:
        """The classes whose instances the native side shall know again behind Django's cursors."""
        _cursor_types[self.name] = types
        _tell_cursor_types()

    def assign(self, owner: Any, name: str, value: Any) -> None:
        try:
            setattr(owner, name, value)
        except TypeError:
            _native.patch_type(owner, name, value)

    def statements(self, owner: type, known: Driver, **kinds: str) -> None:
        for name, kind in kinds.items():
            self.replace(owner, name, kind if kind.startswith("connection_") else "driver_" + kind, known)

    def transactions(self, owner: type, known: Driver) -> None:
        for name in ("commit", "rollback"):
            self.replace(owner, name, "driver_transaction", (name.upper(), known))

    def effective(self, instance: Any) -> bool:
        """Whether live objects of a type of C use what was put into it."""
        for owner, name, replacement, _ in self._done:
            if isinstance(instance, owner) and getattr(getattr(instance, name), "__func__", None) is not replacement:
                return False
        return True

    def undo(self) -> None:
        super().undo()
        _cursor_types.pop(self.name, None)
        _tell_cursor_types()


def hooked(name: str) -> bool:
    return name in _cursor_types


def _tell_cursor_types() -> None:
    _native.set_cursor_types([each for types in _cursor_types.values() for each in types])


def own(function: Any) -> Any:
    """The function behind a method of any kind."""
    return getattr(function, "__func__", function)


class Connecting:
    """before() and after() around a function that opens a connection: a span CONNECT, and the new connection's facts."""

    def __init__(self, known: Driver, facts: Callable[..., Facts], described: bool = True) -> None:
        self.known = known
        self.facts = facts  # of connect()'s arguments
        self.described = described  # the connection itself can be asked

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            facts = self.facts(*args, **kwargs)
        except Exception:  # wrong arguments: connect() will tell
            facts = NOTHING
        return _native.begin_sql(WORD, None, facts, "CONNECT", None, self.known), facts, args

    def after(self, state: Any, result: Any, error: Optional[BaseException]) -> None:
        opened, facts, args = state
        connection = args[0] if result is None and args else result  # connect() or __init__()
        if error is None and connection is not None:
            _native.know_connection(connection, self.known, self.known[1](connection) if self.described else facts)
        if opened is not None:
            _native.end_sql(opened[0], error, -1, connection if error is None else None, self.known)

    def hook(self, original: Any) -> Any:
        return support.hook(original, "around", (self.before, self.after))

    def awaiting(self, original: Any) -> Any:
        return support.awaiting(original, self.before, self.after)


def begin(kind: int, cursor: Any, sql: Any, parameters: Any, known: Driver, comment: bool = True) -> tuple[Any, Any]:
    """(open call or None, the statement to run)."""
    try:
        opened = _native.begin_sql(kind, cursor, cursor.connection, sql, parameters, known, comment)
    except Exception:
        support.failed("before a statement")
        opened = None
    return (None, sql) if opened is None else opened


def end(opened: Any, cursor: Any, error: Optional[BaseException]) -> None:
    if opened is None:
        return
    try:
        rows = getattr(cursor, "rowcount", -1) if error is None else -1
        _native.end_sql(opened, error, rows if isinstance(rows, int) else -1)
    except Exception:
        support.failed("after a statement")


def awaiting(original: Any, kind: int, known: Driver) -> Any:
    """For `async def execute(self, query, params=None, ...)`."""

    @functools.wraps(original)
    async def traced(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        if not support.enabled(traced):
            return await original(self, query, *args, **kwargs)
        parameters = args[0] if args else kwargs.get(known[5])
        opened, query = begin(kind, self, query, parameters, known, not kwargs.get("prepare"))
        if opened is None:
            return await original(self, query, *args, **kwargs)
        error: Optional[BaseException] = None
        try:
            return await original(self, query, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            end(opened, self, error)

    return support.shim(traced)


def awaiting_word(original: Any, word: str, known: Driver) -> Any:
    """For `async def commit(self)`."""

    def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _native.begin_sql(WORD, None, args[0], word, None, known)

    def after(state: Any, result: Any, error: Optional[BaseException]) -> None:
        _native.end_sql(state[0], error)

    return support.awaiting(original, before, after)


def streaming(original: Any, known: Driver) -> Any:
    """For a generator of rows, `stream(self, query, params=None, ...)`: the span ends with the last row."""

    @functools.wraps(original)
    def traced(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        opened = None
        if support.enabled(traced):
            opened, query = begin(EXECUTE, self, query, args[0] if args else kwargs.get(known[5]), known)
        rows = original(self, query, *args, **kwargs)
        count = 0
        error: Optional[BaseException] = None
        try:
            for row in rows:
                count += 1
                yield row
        except GeneratorExit:
            rows.close()
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end_stream(opened, count, error)

    return support.shim(traced)


def streaming_async(original: Any, known: Driver) -> Any:
    @functools.wraps(original)
    async def traced(self: Any, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        opened = None
        if support.enabled(traced):
            opened, query = begin(EXECUTE, self, query, args[0] if args else kwargs.get(known[5]), known)
        rows = original(self, query, *args, **kwargs)
        count = 0
        error: Optional[BaseException] = None
        try:
            async for row in rows:
                count += 1
                yield row
        except GeneratorExit:
            await rows.aclose()
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end_stream(opened, count, error)

    return support.shim(traced)


def _end_stream(opened: Any, count: int, error: Optional[BaseException]) -> None:
    if opened is None:
        return
    try:
        _native.end_sql(opened, error, count)
    except Exception:
        support.failed("after a statement")


class _Copy:
    """Around the context manager of psycopg's `copy()`: the span is the time the block is open."""

    def __init__(self, manager: Any, cursor: Any, statement: Any, parameters: Any, known: Driver) -> None:
        self._manager = manager
        self._told = (cursor, statement, parameters, known)
        self._opened: Any = None

    def _begin(self) -> None:
        cursor, statement, parameters, known = self._told
        self._opened, _ = begin(EXECUTE, cursor, statement, parameters, known, False)

    def _end(self, error: Optional[BaseException]) -> None:
        opened, self._opened = self._opened, None
        end(opened, self._told[0], error)

    def __enter__(self) -> Any:
        self._begin()
        try:
            return self._manager.__enter__()
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        try:
            swallowed = self._manager.__exit__(kind, error, traceback)
        except BaseException as raised:
            self._end(raised)
            raise
        self._end(error)
        return swallowed

    async def __aenter__(self) -> Any:
        self._begin()
        try:
            return await self._manager.__aenter__()
        except BaseException as error:
            self._end(error)
            raise

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        try:
            swallowed = await self._manager.__aexit__(kind, error, traceback)
        except BaseException as raised:
            self._end(raised)
            raise
        self._end(error)
        return swallowed


def copying(original: Any, known: Driver) -> Any:
    """For `copy(self, statement, params=None, ...)`, which gives a context manager."""

    @functools.wraps(original)
    def traced(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        manager = original(self, statement, *args, **kwargs)
        if not support.enabled(traced):
            return manager
        return _Copy(manager, self, statement, args[0] if args else kwargs.get(known[5]), known)

    return support.shim(traced)
