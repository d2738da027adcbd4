"""N+1 queries as failing tests: a pytest plugin and a mixin for `unittest`.

pytest (the plugin is loaded by itself where nuages is installed)::

    def test_orders(client, n_plus_one):              # fails when a statement runs more than 5 times
        client.get("/orders/")

    @pytest.mark.n_plus_one(threshold=2, allow=["Order.user"])
    def test_orders_strictly(client): ...

    pytest --n-plus-one=error                          # or in the configuration: n_plus_one = error (warn, off)

unittest::

    class OrderTests(NPlusOneMixin, TestCase):
        n_plus_one_threshold = 2

        def test_orders(self):
            with self.assertNoNPlusOne(allow=["*auth_user*"]):
                self.client.get("/orders/")

`allow` has patterns (as in a shell) for the relation (`Order.user`) or for the statement; what matches may repeat.

The other way round, what `prefetch_related()` loads for nothing::

    with assert_no_unused_prefetch(allow=["Order.items"]):
        client.get("/orders/")
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence
from typing import Optional

from nuages._prefetches import Prefetch, Watch
from nuages.n_plus_one import THRESHOLD, QueryReport, RepeatedQuery, count_queries

__all__ = [
    "NPlusOneError",
    "NPlusOneMixin",
    "NPlusOneWarning",
    "UnusedPrefetchError",
    "assert_no_n_plus_one",
    "assert_no_unused_prefetch",
]


class NPlusOneError(AssertionError):
    """`repeated` holds the statements."""

    def __init__(self, repeated: Sequence[RepeatedQuery], report: QueryReport, threshold: int) -> None:
        self.repeated = tuple(repeated)
        self.report = report
        queries = "\n\n".join(str(query) for query in repeated)
        what = "a statement" if len(repeated) == 1 else f"each of {len(repeated)} statements"
        super().__init__(f"{what} ran more than {threshold} times ({report.query_count} queries in all)\n\n{queries}")


class NPlusOneWarning(UserWarning):
    """What `--n-plus-one=warn` says instead of failing."""


@contextlib.contextmanager
def assert_no_n_plus_one(threshold: int = THRESHOLD, allow: Sequence[str] = ()) -> Iterator[count_queries]:
    """Raises NPlusOneError at the end of a block in which a statement ran more than `threshold` times. An exception of the block passes."""
    with count_queries(threshold) as queries:
        yield queries
    error = check(queries, allow)
    if error is not None:
        raise error


def check(queries: count_queries, allow: Sequence[str] = ()) -> Optional[NPlusOneError]:
    report = queries.report()
    repeated = [query for query in report.repeated if not _allowed(query, allow)]
    return NPlusOneError(repeated, report, queries.threshold) if repeated else None


def _allowed(query: RepeatedQuery, allow: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(query.relation, pattern) or fnmatch.fnmatchcase(query.statement, pattern)
        for pattern in allow
    )


class UnusedPrefetchError(AssertionError):
    """`unused` holds the prefetches."""

    def __init__(self, unused: Sequence[Prefetch]) -> None:
        self.unused = tuple(unused)
        super().__init__("\n\n".join(str(prefetch) for prefetch in unused))


@contextlib.contextmanager
def assert_no_unused_prefetch(allow: Sequence[str] = ()) -> Iterator[Watch]:
    """Raises UnusedPrefetchError at the end of a block in which `prefetch_related()` loaded a relation that no instance was asked for."""
    with Watch() as watch:
        yield watch
    unused = [
        prefetch
        for prefetch in watch.unused()
        if not any(fnmatch.fnmatchcase(prefetch.relation, pattern) for pattern in allow)
    ]
    if unused:
        raise UnusedPrefetchError(unused)


class NPlusOneMixin:
    """For `unittest.TestCase` and Django's subclasses."""

    n_plus_one_threshold = THRESHOLD
    n_plus_one_allow: Sequence[str] = ()

    def assertNoNPlusOne(
        self, threshold: Optional[int] = None, allow: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[count_queries]:
        return assert_no_n_plus_one(threshold or self.n_plus_one_threshold, [*self.n_plus_one_allow, *allow])

    def assertNoUnusedPrefetch(self, allow: Sequence[str] = ()) -> contextlib.AbstractContextManager[Watch]:
        return assert_no_unused_prefetch(allow)
