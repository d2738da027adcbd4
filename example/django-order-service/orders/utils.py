"""N+1 detection for one function, for any tracing set-up and with DEBUG off."""

import asyncio
import functools
import re
from collections import Counter
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.db import connections
from opentelemetry import trace

# Literals and lists of placeholders: what differs between two executions of the same statement.
_LITERALS = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_LISTS = re.compile(r"\(\s*(?:%s|\?)(?:\s*,\s*(?:%s|\?))+\s*\)")
_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)


def detect_n_plus_one(func):
    """Notes the number of queries of each call on the current span, and flags statements repeated more than the threshold.

    Sets `db.query_count`, and when flagged `db.potential_n_plus_one` and `db.max_query_repetitions`. For functions and coroutine functions.
    """
    if asyncio.iscoroutinefunction(func):

        @functools.wraps(func)
        async def wrapper(*args, **kwargs):
            with _counting():
                return await func(*args, **kwargs)
    else:

        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            with _counting():
                return func(*args, **kwargs)

    return wrapper


@contextmanager
def _counting():
    counts = Counter()

    def count(execute, sql, params, many, context):
        counts[(context["connection"].alias, normalize(str(sql)))] += 1
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(count))
        try:
            yield
        finally:
            _report(counts)


def _report(counts):
    span = trace.get_current_span()
    span.set_attribute("db.query_count", sum(counts.values()))
    repetitions = max(counts.values(), default=0)
    if repetitions > settings.N_PLUS_ONE_THRESHOLD:
        span.set_attribute("db.potential_n_plus_one", True)
        span.set_attribute("db.max_query_repetitions", repetitions)


def normalize(sql):
    sql = _LITERALS.sub("?", _COMMENTS.sub(" ", sql))
    return " ".join(_LISTS.sub("(?)", sql).split())
