"""Cursors used from several threads, other instrumentations around ours, drivers that were there first: each query is counted once."""

import pytest

START = """
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("test")

def told():
    names = [span.name for span in memory.get_finished_spans() if span.kind is trace.SpanKind.CLIENT]
    memory.clear()
    return names
"""


def test_one_cursor_in_many_threads(run_python):
    run_python(
        START
        + """
import sqlite3, threading
from concurrent.futures import ThreadPoolExecutor
connection = sqlite3.connect(":memory:", check_same_thread=False)
cursor = connection.cursor()
gate = threading.Barrier(8)
lock = threading.Lock()

def ask(number):
    gate.wait()
    for _ in range(50):
        with lock:  # sqlite3 itself refuses more
            cursor.execute("SELECT ?", (number,))

with nuages.count_queries() as queries:
    import contextvars
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(contextvars.copy_context().run, ask, number) for number in range(8)]:
            done.result()
assert queries.report().query_count == 400, queries.report()
cursor.close(); cursor.close(); connection.close(); connection.close()
for error in ("cursor", "connection"):
    try:
        (cursor if error == "cursor" else connection).execute("SELECT 1")
    except sqlite3.ProgrammingError:
        pass
    else:
        raise AssertionError(error)
from nuages import _native
assert _native.hook_failures() == 0
"""
    )


def test_a_callback_of_the_database_asks_itself(run_python):
    """A function of SQL that runs another query on another cursor: both count."""
    run_python(
        START
        + """
import sqlite3
connection = sqlite3.connect(":memory:")
other = sqlite3.connect(":memory:").cursor()
connection.create_function("ask", 0, lambda: other.execute("SELECT 7").fetchone()[0])
cursor = connection.cursor()
memory.clear()
with nuages.count_queries() as queries, tracer.start_as_current_span("outer"):
    assert cursor.execute("SELECT ask()").fetchone() == (7,)
assert queries.report().query_count == 2
assert sorted(told()) == ["SELECT", "SELECT"]
"""
    )


@pytest.mark.parametrize("first", [True, False], ids=["loaded first", "loaded later"])
@pytest.mark.parametrize("through", ["orm", "driver"])
def test_official_instrumentation_of_the_driver(run_python, first, through):
    pytest.importorskip("opentelemetry.instrumentation.dbapi")
    official = """
import sqlite3
from opentelemetry.instrumentation import dbapi
dbapi.wrap_connect("official", sqlite3.dbapi2, "connect", "sqlite")
sqlite3.connect = sqlite3.dbapi2.connect
held = sqlite3.connect(":memory:")
"""
    run_python(
        (official if first else "")
        + START
        + ("" if first else official)
        + f"""
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}, USE_TZ=True)
django.setup()
from django.db import connection
connection.ensure_connection()
assert "Traced" in type(connection.connection).__name__, type(connection.connection)
memory.clear()
with nuages.count_queries() as queries, tracer.start_as_current_span("outer"):
    if {through == "orm"}:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
    else:
        cursor = held.cursor()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
assert told() == ["SELECT"]
assert queries.report().query_count == 1
from nuages import hooks
hooks.uninstall_all()
held.cursor().execute("SELECT 2")
assert told() == ["SELECT"], "theirs again"
"""
    )


def test_other_wrappers_around_ours(run_python):
    """Somebody patches the driver after us and never goes away; ours is removed under theirs and put back."""
    run_python(
        START
        + """
import psycopg
from nuages import hooks, _native
ours = psycopg.Cursor.execute
calls = []
def theirs(self, query, *args, **kwargs):
    calls.append(query)
    return ours(self, query, *args, **kwargs)
psycopg.Cursor.execute = theirs
hooks.uninstall_all()
assert psycopg.Cursor.execute is theirs and ours.nuages_enabled is False
psycopg.Cursor.execute = ours.nuages_original
hooks.install_all()
assert psycopg.Cursor.execute is not ours.nuages_original
import sqlite3
cursor = sqlite3.connect(":memory:").cursor()
for _ in range(1000):  # the interpreter has specialised the call by now
    cursor.execute("SELECT 1")
told()
hooks.uninstall_all()
for _ in range(10):
    cursor.execute("SELECT 1")
assert told() == []
hooks.install_all()
cursor.execute("SELECT 1")
assert told() == ["SELECT"]
assert _native.hook_failures() == 0
"""
    )


def test_dropped_iterators_and_generators(run_python):
    """A query whose rows are never fetched to the end is told when its cursor goes."""
    run_python(
        START
        + """
import django, gc
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True)
django.setup()
from django.db import connection
connection.ensure_connection()
with tracer.start_as_current_span("outer"):
    cursor = connection.cursor()
    cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    fetch = cursor.fetchone
    fetch()
    assert told() == []
    cursor.execute("SELECT 4")  # the one before is told
    assert told() == ["SELECT"]
    fetch()  # of the query before: runs, and tells nothing more
del fetch
cursor.close()
assert told() == ["SELECT"]
cursor = connection.cursor()
with tracer.start_as_current_span("outer"):
    cursor.execute("SELECT 5")
del cursor
gc.collect()
assert told() == ["SELECT"]
from nuages import _native
assert _native.hook_failures() == 0
"""
    )


def test_nothing_stays_of_a_statement(run_python):
    """Thousands of statements of every kind leave no memory behind, with and without comments and parameters."""
    run_python(
        START
        + """
import ctypes, gc, sqlite3
import django
from django.conf import settings as django_settings
django_settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True)
django.setup()
from django.db import connection
from nuages import settings, hooks, _native

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks used free keep".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap

def work(times):
    for number in range(times):
        own = sqlite3.connect(":memory:")
        with tracer.start_as_current_span("outer"), nuages.count_queries():
            own.execute("SELECT ?", (number,)).fetchone()
            cursor = own.cursor()
            cursor.executescript("CREATE TABLE t (a); INSERT INTO t VALUES ('a secret')")
            cursor.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            try:
                cursor.execute("SELECT missing FROM t")
            except sqlite3.Error:
                pass
            own.commit()
            with connection.cursor() as django_cursor:
                django_cursor.execute("SELECT %s UNION SELECT 2 UNION SELECT 3", [number])
                django_cursor.fetchone()
                django_cursor.execute("SELECT 1")
                django_cursor.fetchall()
                kept = connection.cursor()
                kept.execute("SELECT 5")
                kept.fetchmany
        own.close()
        memory.clear()
    gc.collect()
    return libc.mallinfo2().used, len(gc.get_objects())

for comments in (False, True):
    settings.override(sql_commenter=comments, capture_parameters=comments)
    hooks.support.refresh()
    work(300)
    before = work(300)
    after = work(600)
    assert after[0] - before[0] < 200_000, (comments, before, after)
    assert after[1] - before[1] < 200, (comments, before, after)
assert _native.hook_failures() == 0
"""
    )


def test_options_of_the_instrumentors(run_python):
    """R4.13: each option takes away its tag, and without `opentelemetry_values` no bound value leaves either."""
    run_python(
        START
        + """
import sqlite3
connection = sqlite3.connect(":memory:")
seen = []
connection.set_trace_callback(seen.append)

def ask():
    seen.clear()
    memory.clear()
    with tracer.start_as_current_span("outer"):
        connection.execute("SELECT ?", ("bound",))
    [span] = [span for span in memory.get_finished_spans() if span.kind is trace.SpanKind.CLIENT]
    return seen[-1], span.attributes.get("db.statement.parameters")

assert ask() == ("SELECT 'bound'", "('bound')"), ask()
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
SQLite3Instrumentor().instrument(enable_commenter=True)
sql, parameters = ask()
assert "db_driver='sqlite3%3A" in sql and "traceparent='00-" in sql and parameters == "('bound')", (sql, parameters)
SQLite3Instrumentor().instrument(enable_commenter=True, commenter_options={"opentelemetry_values": False, "db_driver": False})
sql, parameters = ask()
assert "dbapi_level='2.0'" in sql and "db_driver" not in sql and "traceparent" not in sql and parameters is None, (sql, parameters)
SQLite3Instrumentor().instrument(enable_commenter=False)
assert ask()[0] == "SELECT 'bound'"
assert SQLite3Instrumentor().instrument_connection(connection) is connection
""",
        NUAGES_CAPTURE_PARAMETERS="true",
    )
