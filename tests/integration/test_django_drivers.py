"""Django's ORM over each driver, against real servers: golden traces, rows and fetches, transactions, connections, each statement once."""

from pathlib import Path

import pytest
from database_servers import mariadb, postgresql  # noqa: F401 - fixtures
from test_drivers import check_answer, check_comments, check_golden, fresh, run

BACKENDS = {
    "sqlite": None,
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "mysqlclient": "mariadb",
    "pymysql": "mariadb",
}


def address_of(backend, request):
    kind = BACKENDS[backend]
    pytest.importorskip({"sqlite": "sqlite3", "mysqlclient": "MySQLdb"}.get(backend, backend))
    found = {"path": ":memory:"} if kind is None else fresh(kind, request.getfixturevalue(kind))
    return {"backend": backend, **found}


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden_trace(backend, request):
    check_answer(f"django_{backend}", run("django_databases.py", "orm", address_of(backend, request)))


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "sqlite"])
def test_with_comments_the_same(backend, request):
    """sqlcommenter changes neither results nor spans nor counts; the servers' own logs have the comments."""
    log = Path(request.getfixturevalue(BACKENDS[backend])["log"])
    address = address_of(backend, request)
    before = log.stat().st_size
    answer = run("django_databases.py", "orm", address, NUAGES_SQL_COMMENTER="1")
    check_answer(f"django_{backend}", answer)
    text = log.read_text(errors="replace")[before:]
    check_comments(answer, text, mysql=False, prepared=("UPDATE book SET price = ? WHERE title = ?",))
    assert "framework='django%3A" in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_statement_is_counted_once(backend, request):
    answer = run("django_databases.py", "both", address_of(backend, request))
    assert answer["result"][0] == 4
    assert answer["failures"] == 0
    assert [line.split()[0] for line in answer["trace"][answer["trace"].index("  asked  [INTERNAL]") + 1 :]] == [
        "SELECT"
    ] * 4


def test_pool_of_django(request):
    answer = run("django_databases.py", "pool", address_of("psycopg", request))
    assert answer["result"] == [1, 2]
    check_golden("django_pool", "\n".join(answer["trace"]) + "\n")
