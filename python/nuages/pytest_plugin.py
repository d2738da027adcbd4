"""The pytest plugin of nuages.testing: fixture and marker `n_plus_one`, option `--n-plus-one`. Imports nothing of nuages until a test wants it.

What is counted is the test's own call, without its fixtures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Optional

import pytest

_MODES = ("off", "warn", "error")


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("nuages")
    group.addoption(
        "--n-plus-one", choices=_MODES, help="warn or fail (error) for N+1 queries in every test; default: off"
    )
    parser.addini("n_plus_one", "N+1 queries in every test: off, warn or error", default="off")
    parser.addini("n_plus_one_threshold", "how often a statement may run in a test", default="5")
    parser.addini("n_plus_one_allow", "patterns of relations or statements that may run more often", type="linelist")


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("markers", "n_plus_one(threshold=5, allow=[]): fail the test for N+1 queries")
    mode, threshold = config.getini("n_plus_one"), config.getini("n_plus_one_threshold")
    if mode not in _MODES:
        raise pytest.UsageError(f"n_plus_one = {mode}: use off, warn or error")
    if not threshold.isdecimal() or int(threshold) < 2:
        raise pytest.UsageError(f"n_plus_one_threshold = {threshold}: use a whole number of 2 or more")


@pytest.fixture
def n_plus_one(request: Any) -> Any:
    """Fails the test when a statement runs too often in it; its value counts the queries: ``n_plus_one.report().query_count``."""
    return _queries(request.node)


def _queries(item: Any) -> Any:
    """The test's counter, with its threshold and `allow`; made once for an item."""
    known = getattr(item, "_nuages_queries", None)
    if known is not None:
        return known
    from nuages.n_plus_one import count_queries

    threshold = int(item.config.getini("n_plus_one_threshold"))
    allow = list(item.config.getini("n_plus_one_allow"))
    marker = item.get_closest_marker("n_plus_one")
    if marker is not None:
        wrong = [repr(argument) for argument in marker.args] + sorted(set(marker.kwargs) - {"threshold", "allow"})
        if wrong:
            raise pytest.UsageError(
                f"@pytest.mark.n_plus_one does not know {wrong[0]}: it takes threshold=N and allow=[...]"
            )
        threshold = marker.kwargs.get("threshold", threshold)
        allow += marker.kwargs.get("allow", ())
    item._nuages_queries = count_queries(threshold)
    item._nuages_queries.allow = allow
    return item._nuages_queries


def _mode(item: Any) -> str:
    if "n_plus_one" in getattr(item, "fixturenames", ()) or item.get_closest_marker("n_plus_one") is not None:
        return "error"
    return str(item.config.getoption("--n-plus-one") or item.config.getini("n_plus_one"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    mode = _mode(item)
    if mode == "off":
        yield
        return
    queries = _queries(item)
    with queries:
        outcome: Any = yield
    if outcome.excinfo is None:
        error: Optional[AssertionError] = _error(queries)
        if error is not None and mode == "error":
            outcome.force_exception(error)
        elif error is not None:
            from nuages.testing import NPlusOneWarning

            warnings.warn_explicit(NPlusOneWarning(str(error)), None, str(item.path), item.location[1] or 0)


def _error(queries: Any) -> Optional[AssertionError]:
    from nuages import testing

    return testing.check(queries, queries.allow)
