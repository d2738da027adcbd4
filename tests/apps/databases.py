"""Runs one driver's script under nuages and prints what it saw: `databases.py SCRIPT '{"host": ..., ...}'`.

The answer is one JSON object: `trace`, the spans as indented lines with what the golden files keep of them; `result`, what the script
returned; `counted`, what the query counter saw. The scripts use the drivers directly, without Django; django_databases.py goes through it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys

import nuages

SHOWN = (
    "db.system",
    "db.name",
    "db.user",
    "nuages.db.alias",
    "db.response.returned_rows",
    "nuages.db.affected_rows",
    "db.operation.batch.size",
    "db.statement.parameters",
)


def start():
    nuages.install()
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def lines(spans):
    """The trees of the spans, each with kind, status and the attributes that do not change from run to run."""
    children, known = {}, {span.context.span_id for span in spans}
    for span in sorted(spans, key=lambda span: (span.start_time, span.end_time)):
        parent = span.parent.span_id if span.parent is not None and span.parent.span_id in known else None
        children.setdefault(parent, []).append(span)
    told = []

    def walk(span, depth):
        facts = {name.rpartition(".")[2]: span.attributes[name] for name in SHOWN if name in span.attributes}
        if "nuages.db.fetch_ns" in span.attributes:
            facts["fetched"] = span.attributes["nuages.db.fetch_ns"] >= 0
        text = " ".join([span.kind.name, *(f"{name}={value}" for name, value in facts.items())])
        if span.status.status_code.name == "ERROR":
            text += " ERROR " + span.events[0].attributes["exception.type"].rpartition(".")[2]
        told.append("  " * depth + f"{span.name}  [{text}]")
        for child in children.get(span.context.span_id, ()):
            walk(child, depth + 1)

    for top in children.get(None, ()):
        walk(top, 0)
    return told


def measured(script, address):
    if os.environ.get("NUAGES_TEST_PLAIN"):
        return {"trace": [], "result": script(dict(address))}
    exporter = start()
    from opentelemetry import trace

    with nuages.count_queries() as queries:
        with trace.get_tracer("test").start_as_current_span("script"):
            result = script(dict(address))
    report = queries.report()
    from nuages import _native

    statements = [span for span in exporter.get_finished_spans() if "nuages.db.fingerprint" in span.attributes]
    return {
        "statements": [
            [
                span.name,
                f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}",
                span.attributes["nuages.db.fingerprint"],
                span.attributes["db.statement"],
            ]
            for span in statements
        ],
        "trace": lines(exporter.get_finished_spans()),
        "result": result,
        "counted": [report.query_count, report.max_repetitions],
        "failures": _native.hook_failures(),
    }


def common(connection, mark, errors, begin=False):
    """What every driver can do. `mark` is its placeholder."""
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40), price INTEGER)")
    cursor.executemany(
        f"INSERT INTO item (id, name, price) VALUES ({mark}, {mark}, {mark})",
        [(number, f"item {number}", number * 10) for number in range(1, 8)],
    )
    connection.commit()
    cursor.execute(f"SELECT name FROM item WHERE price > {mark} ORDER BY id", (20,))
    names = [row[0] for row in cursor.fetchall()]
    percent = "%" if mark == "?" else "%%"
    cursor.execute(f"SELECT count(*) FROM item WHERE name LIKE 'item 1{percent}'", ())
    counted = cursor.fetchone()[0]
    for number in (1, 2, 3):
        cursor.execute(f"UPDATE item SET price = 0 WHERE id = {mark}", (number,))
    connection.rollback()
    failed = ""
    try:
        cursor.execute("SELECT nothing FROM missing WHERE secret = 'hidden'")
    except errors as error:
        failed = type(error).__name__
    connection.rollback()
    cursor.close()
    cursor.close()
    try:
        cursor.execute("SELECT 1")
    except Exception as error:
        closed = type(error).__name__
    else:
        closed = ""
    return [names, counted, failed, closed]


# ---- sqlite3


def sqlite3(address):
    import sqlite3

    connection = sqlite3.connect(address["path"])
    result = common(connection, "?", sqlite3.Error)
    result.append(connection.execute("SELECT name FROM item WHERE id = :id", {"id": 3}).fetchone()[0])
    connection.executescript("CREATE TABLE other (id INTEGER); INSERT INTO other VALUES (1)")
    connection.executemany("INSERT INTO other VALUES (?)", iter([(2,), (3,)]))
    with connection:
        connection.execute("DELETE FROM other WHERE id = 2")
    result.append([row[0] for row in connection.execute("SELECT id FROM other ORDER BY id")])
    connection.close()
    return result


# ---- PostgreSQL


def psycopg2(address):
    import psycopg2
    import psycopg2.extras
    from psycopg2 import sql

    connection = psycopg2.connect(**address)
    result = common(connection, "%s", psycopg2.Error)
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM item WHERE id = %(id)s").format(sql.Identifier("name")), {"id": 3})
        result.append(cursor.fetchone()["name"])
        psycopg2.extras.execute_values(cursor, "INSERT INTO item VALUES %s", [(20, "a", 1), (21, "b", 2)])
        psycopg2.extras.execute_batch(cursor, "UPDATE item SET price = %s WHERE id = %s", [(5, 20), (6, 21)])
    with connection.cursor("named") as cursor:  # on the server
        cursor.itersize = 3
        cursor.execute("SELECT id FROM item ORDER BY id")
        result.append([row[0] for row in cursor])
    with connection.cursor() as cursor:
        cursor.copy_expert("COPY item (id, name) FROM STDIN", io.StringIO("30\tx\n31\ty\n"))
        cursor.copy_from(io.StringIO("32\tz\t1\n"), "item")
        out = io.StringIO()
        cursor.copy_to(out, "item", columns=("id",))
        result.append(out.getvalue().split())
        cursor.execute("CREATE FUNCTION twice(x INTEGER) RETURNS INTEGER AS 'SELECT x * 2' LANGUAGE SQL")
        cursor.callproc("twice", [21])
        result.append(cursor.fetchone()[0])
    connection.rollback()
    connection.close()
    return result


def psycopg(address):
    import psycopg
    from psycopg import sql
    from psycopg.rows import dict_row

    connection = psycopg.connect(**address)
    result = common(connection, "%s", psycopg.Error)
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM item WHERE id = %(id)s").format(sql.Identifier("name")), {"id": 3})
        result.append(cursor.fetchone()["name"])
    with connection.cursor("named") as cursor:  # on the server
        cursor.execute("SELECT id FROM item ORDER BY id")
        cursor.itersize = 3
        result.append([row[0] for row in cursor])
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SELECT count(*) FROM item WHERE id > %s", (5,))
        result.append(cursor.fetchone()[0])
    with connection.pipeline():
        one, two = connection.execute("SELECT 1"), connection.execute("SELECT 2")
        result.append([one.fetchone()[0], two.fetchone()[0]])
    with connection.cursor() as cursor:
        with cursor.copy("COPY item (id, name) FROM STDIN") as copy:
            copy.write_row((30, "x"))
            copy.write_row((31, "y"))
        with cursor.copy("COPY (SELECT id FROM item WHERE id > 6) TO STDOUT") as copy:
            result.append(b"".join(bytes(data) for data in copy).decode().split())
        result.append([row[0] for row in cursor.stream("SELECT id FROM item WHERE id < %s ORDER BY id", (3,))])
        rows = cursor.stream("SELECT id FROM item")
        next(rows)
        rows.close()
    for _ in range(7):
        result.append(connection.execute("SELECT name FROM item WHERE id = %s", (1,), prepare=True).fetchone()[0])
    connection.rollback()
    with connection.transaction():
        connection.execute("UPDATE item SET price = 3 WHERE id = 1")
        with connection.transaction():
            connection.execute("UPDATE item SET price = 4 WHERE id = 2")
        with connection.transaction(force_rollback=True):
            connection.execute("UPDATE item SET price = 5 WHERE id = 3")
    try:
        with connection.transaction():
            raise LookupError
    except LookupError:
        result.append(connection.execute("SELECT price FROM item WHERE id < 4 ORDER BY id").fetchall())
    connection.rollback()
    connection.close()
    return result


def psycopg_async(address):
    return asyncio.run(_psycopg_async(address))


async def _psycopg_async(address):
    import inspect

    import psycopg

    connection = await psycopg.AsyncConnection.connect(**address)
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40), price INTEGER)")
    await cursor.executemany("INSERT INTO item (id, name) VALUES (%s, %s)", [(1, "a"), (2, "b")])
    await connection.commit()
    await cursor.execute("SELECT name FROM item WHERE id = %s", (2,))
    result = [await cursor.fetchone()]
    try:
        await cursor.execute("SELECT nothing FROM missing")
    except psycopg.Error as error:
        result.append(type(error).__name__)
    await connection.rollback()
    async with connection.cursor("named") as named:
        await named.execute("SELECT id FROM item ORDER BY id")
        result.append([row[0] async for row in named])
    result.append([row[0] async for row in cursor.stream("SELECT id FROM item ORDER BY id")])
    async with cursor.copy("COPY item (id, name) FROM STDIN") as copy:
        await copy.write_row((30, "x"))
    await connection.execute("DELETE FROM item WHERE id = %s", (30,))

    async def one(number):
        other = await psycopg.AsyncConnection.connect(**address)
        found = await (await other.execute("SELECT %s::int", (number,))).fetchone()
        await other.close()
        return found[0]

    result.append(sorted(await asyncio.gather(*(one(number) for number in range(3)))))
    result.append(
        [
            inspect.iscoroutinefunction(psycopg.AsyncCursor.execute),
            inspect.isasyncgenfunction(psycopg.AsyncCursor.stream),
            inspect.iscoroutinefunction(psycopg.AsyncConnection.connect),
        ]
    )
    await connection.rollback()
    async with connection.transaction():
        await connection.execute("UPDATE item SET price = 3 WHERE id = 1")
    await connection.close()
    return result


def psycopg_pool(address):
    import psycopg_pool

    info = " ".join(f"{name}={value}" for name, value in address.items())
    result = []
    with psycopg_pool.ConnectionPool(info, min_size=1, max_size=1, name="shop", open=True) as pool:
        pool.wait(30)
        with pool.connection() as connection:
            result.append(connection.execute("SELECT 1").fetchone()[0])
            try:
                pool.getconn(timeout=0.01)
            except psycopg_pool.PoolTimeout as error:
                result.append(type(error).__name__)
    return result


# ---- MariaDB


def pymysql(address):
    import pymysql

    connection = pymysql.connect(**address)
    result = common(connection, "%s", pymysql.Error)
    result += _mysql(connection)
    with connection.cursor(pymysql.cursors.SSDictCursor) as cursor:
        cursor.execute("SELECT id FROM item WHERE id < %s ORDER BY id", (3,))
        result.append([row["id"] for row in cursor])
    connection.close()
    return result


def mysqlclient(address):
    import MySQLdb
    import MySQLdb.cursors

    connection = MySQLdb.connect(**address)
    result = common(connection, "%s", MySQLdb.Error)
    result += _mysql(connection)
    with connection.cursor(MySQLdb.cursors.SSDictCursor) as cursor:
        cursor.execute("SELECT id FROM item WHERE id < %s ORDER BY id", (3,))
        result.append([row["id"] for row in cursor])
    connection.close()
    return result


def _mysql(connection):
    cursor = connection.cursor()
    cursor.execute("CREATE PROCEDURE twice(IN x INTEGER) SELECT x * 2")
    cursor.callproc("twice", (21,))
    result = [cursor.fetchone()[0]]
    while cursor.nextset():
        pass
    cursor.executemany("UPDATE item SET price = %s WHERE id = %s", [(1, 1), (2, 2)])
    cursor.execute("SELECT name FROM item WHERE name LIKE 'item%' ORDER BY id LIMIT 1")
    result.append(cursor.fetchone()[0])
    connection.commit()
    return result


if __name__ == "__main__":
    script = globals()[sys.argv[1]]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(measured(script, json.loads(sys.argv[2])), answers, default=str)
