"""Queries counted and N+1 patterns found for a piece of code of your own: a decorator for functions, a context manager for blocks.

Both see every statement that goes through Django's cursors or a hooked driver's, on all databases, whether it is traced or not, also with ``DEBUG = False``, and both
follow asyncio tasks and `sync_to_async` threads. A statement is repeated when only its literals and parameters differ.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar, Union, cast, overload

from opentelemetry import trace

from nuages import _native

THRESHOLD = 5  # repetitions that are not flagged yet

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class RepeatedQuery:
    """One statement that ran more often than the threshold."""

    statement: str  # literals and parameters are ?
    count: int
    duration_ns: int  # of all executions
    file: str  # where the application asked for it; empty when no frame of the application was found
    line: int
    function: str
    relation: str  # "Order.user" when the query loads a relation, else empty
    suggestion: str  # 'select_related("user")' when known, else empty
    via: str = ""  # the templates and the serializer on the way: "OrderSerializer.user < orders/list.html:3"
    origin_file: str = ""  # where the rows were fetched that were then used one by one; empty when not seen
    origin_line: int = 0
    origin_function: str = ""
    rows: int = 0  # how many those were
    saved_ns: int = 0  # an estimate of what the fix saves
    same_parameters: bool = False  # one and the same query again and again

    def __str__(self) -> str:
        lines = [f"{self.count} times: {self.statement}"]
        if self.file:
            lines.append(f"    at {self.file}:{self.line} in {self.function}")
        if self.via:
            lines.append(f"    through {self.via}")
        if self.origin_file:
            lines.append(
                f"    for {self.rows} rows fetched at {self.origin_file}:{self.origin_line} in {self.origin_function}"
            )
        if self.relation:
            lines.append(f"    loads {self.relation}")
        if self.suggestion:
            lines.append(f"    fix: {self.suggestion}")
        return "\n".join(lines)


@dataclass(frozen=True)
class QueryReport:
    query_count: int
    max_repetitions: int  # of the statement that ran most often
    repeated: tuple[RepeatedQuery, ...]  # most repetitions first

    @property
    def potential_n_plus_one(self) -> bool:
        return bool(self.repeated)


class count_queries:
    """``with count_queries() as queries: ...`` and then ``queries.report()``. Blocks nest; each counts what runs inside it."""

    def __init__(self, threshold: int = THRESHOLD) -> None:
        if threshold < 2:
            raise ValueError(
                f"threshold={threshold!r}: a statement is repeated from its third execution on; use 2 or more"
            )
        self.threshold = threshold
        self.allow: Sequence[str] = ()  # for nuages.testing
        self._counter = _native.QueryCounter()

    def __enter__(self) -> count_queries:
        _watch()
        self._counter.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._counter.__exit__(*error)

    def report(self) -> QueryReport:
        """What has run so far; also usable inside the block."""
        count, most, repeated = self._counter.result(self.threshold)
        return QueryReport(count, most, tuple(RepeatedQuery(**query) for query in repeated))


def _watch() -> None:
    """The queries are counted by the hooks of the ORM and of the drivers, which also work where nothing is exported."""
    from nuages import hooks

    if "orm" not in hooks.installed():
        hooks.install_all(("orm", "request", "psycopg", "psycopg2", "sqlite3", "pymysql", "mysqlclient", "dbapi"))


@overload
def detect_n_plus_one(function: Function) -> Function: ...
@overload
def detect_n_plus_one(*, threshold: int = THRESHOLD) -> Callable[[Function], Function]: ...
def detect_n_plus_one(
    function: Optional[Function] = None, *, threshold: int = THRESHOLD
) -> Union[Function, Callable[[Function], Function]]:
    """Notes on the current span what each call of the function cost: `db.query_count`, `db.max_query_repetitions`, and
    `db.potential_n_plus_one` = true when a statement ran more than `threshold` times. Functions and coroutine functions, also when they raise.
    """
    if function is None:
        return functools.partial(_decorate, threshold)
    return cast(Function, _decorate(threshold, function))


def _decorate(threshold: int, function: Any) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def counted_coroutine(*args: Any, **kwargs: Any) -> Any:
            with count_queries(threshold) as queries:
                try:
                    return await function(*args, **kwargs)
                finally:
                    _note(queries.report())

        return counted_coroutine

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        with count_queries(threshold) as queries:
            try:
                return function(*args, **kwargs)
            finally:
                _note(queries.report())

    return counted


def _note(report: QueryReport) -> None:
    span = trace.get_current_span()
    span.set_attribute("db.query_count", report.query_count)
    span.set_attribute("db.max_query_repetitions", report.max_repetitions)
    if report.potential_n_plus_one:
        span.set_attribute("db.potential_n_plus_one", True)
