"""Statements through the database drivers themselves, against real servers: golden traces, each statement once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from database_servers import mariadb, postgresql  # noqa: F401 - fixtures

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import environment

APPS = Path(__file__).resolve().parent.parent / "apps"
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "drivers"
SERVERS = {
    "sqlite3": None,
    "psycopg2": "postgresql",
    "psycopg": "postgresql",
    "psycopg_async": "postgresql",
    "psycopg_pool": "postgresql",
    "pymysql": "mariadb",
    "mysqlclient": "mariadb",
}
MODULES = {"psycopg_async": "psycopg", "mysqlclient": "MySQLdb"}


def run(program, script, address, **extra):
    done = subprocess.run(
        [sys.executable, str(APPS / program), script, json.dumps(address)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**extra),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def fresh(kind, server, dbname="dbname"):
    """A new empty database on the server; what connect() wants."""
    address = {name: value for name, value in server.items() if name != "log"}
    if kind == "postgresql":
        import psycopg

        with psycopg.connect(autocommit=True, **address) as connection:
            connection.execute("DROP DATABASE IF EXISTS work WITH (FORCE)")
            connection.execute("CREATE DATABASE work")
        return {**address, "dbname": "work"}
    import pymysql

    connection = pymysql.connect(**address)
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS work")
        cursor.execute("CREATE DATABASE work CHARACTER SET utf8mb4")
    connection.close()
    return {**address, "database": "work"}


def address_of(script, request):
    kind = SERVERS[script]
    if kind is None:
        return {"path": ":memory:"}
    pytest.importorskip(MODULES.get(script, script))
    return fresh(kind, request.getfixturevalue(kind))


def check_golden(name, text):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("NUAGES_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; NUAGES_UPDATE_GOLDEN=1 rewrites it, review the diff"


def check_answer(name, answer):
    assert answer["failures"] == 0
    told = [*answer["trace"], f"result  {json.dumps(answer['result'])}", f"queries, repetitions  {answer['counted']}"]
    check_golden(name, "\n".join(told) + "\n")


def has_no_comment(name, mysql):
    """What sqlcommenter leaves alone: COPY, statements that have a comment, executemany on MySQL."""
    return name.startswith("COPY") or (mysql and name.startswith(("INSERT", "UPDATE")))


def check_comments(answer, log, mysql, prepared=()):
    """Each statement reached the server with the `traceparent` of its own span, and its span has the statement without it."""
    asked = [
        entry for entry in answer["statements"] if not has_no_comment(entry[0], mysql) and entry[0] not in prepared
    ]
    assert len(asked) > 5
    missing = [name for name, parent, _, _ in asked if f"traceparent='{parent}'" not in log]
    assert missing == []
    assert not [text for _, _, _, text in answer["statements"] if "traceparent" in text or "/*" in text]


@pytest.mark.parametrize("script", SERVERS)
def test_golden_trace(script, request):
    check_answer(script, run("databases.py", script, address_of(script, request)))


@pytest.mark.parametrize("script", [script for script in SERVERS if script not in ("sqlite3", "psycopg_pool")])
def test_with_comments_the_same(script, request):
    """sqlcommenter changes neither results nor spans nor counts; the servers' own logs have the comments."""
    address = address_of(script, request)
    kind = SERVERS[script]
    log = Path(request.getfixturevalue(kind)["log"])
    before = log.stat().st_size
    answer = run("databases.py", script, address, NUAGES_SQL_COMMENTER="1")
    check_answer(script, answer)
    text = log.read_text(errors="replace")[before:]
    mysql = kind == "mariadb"
    # closed cursors never reach the server; the last scripts of psycopg prepare
    check_comments(answer, text, mysql, prepared=("SELECT", "SELECT FROM item WHERE id = ?"))
    module = MODULES.get(script, script)
    assert f"db_driver='{module}%3A" in text
    assert "driver_paramstyle='" in text


@pytest.mark.parametrize("script", SERVERS)
def test_results_without_nuages_are_the_same(script, request):
    address = address_of(script, request)
    plain = run("databases.py", script, address, NUAGES_TEST_PLAIN="1")
    traced = run("databases.py", script, address_of(script, request))
    assert plain["trace"] == []
    assert traced["result"] == plain["result"]
