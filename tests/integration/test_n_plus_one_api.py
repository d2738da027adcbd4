"""`detect_n_plus_one`, `count_queries` and the tools for tests of nuages.testing (R13.03)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import BOOKSHOP, Driver

STATEMENT = 'SELECT "catalog_author"."id", "catalog_author"."name" FROM "catalog_author" WHERE "catalog_author"."id" = ? LIMIT ?'


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


def noted(span):
    return {name[3:]: value for name, value in span["attributes"].items() if name.startswith("db.")}


class TestDecorator:
    def test_more_than_five_are_flagged(self, shop):
        span = shop.scenario("decorated", count=6).named("outer")
        assert noted(span) == {"query_count": 7, "max_query_repetitions": 6, "potential_n_plus_one": True}

    def test_five_are_not(self, shop):
        span = shop.scenario("decorated", count=5).named("outer")
        assert noted(span) == {"query_count": 6, "max_query_repetitions": 5}

    def test_a_function_that_raises(self, shop):
        answer = shop.scenario("decorated", count=6, fails=True)
        assert answer.result == "after the queries"
        assert noted(answer.named("outer"))["potential_n_plus_one"] is True

    def test_a_coroutine_function(self, shop):
        answer = shop.scenario("decorated", count=6, asynchronous=True)
        assert noted(answer.named("outer"))["query_count"] == 7


class TestCounter:
    def test_blocks_nest_and_follow_threads(self, shop):
        result = shop.scenario("counted").result
        assert result["counts"] == [6, 4, 3]
        assert result["outer"] is False
        assert result["flagged"] == [[3, STATEMENT, "Book.author", 'select_related("author")']]
        lines = result["text"].splitlines()
        assert lines[0] == f"3 times: {STATEMENT}"
        assert lines[1].startswith("    at ")
        assert lines[1].endswith(" in _authors.<locals>.<listcomp>") or lines[1].endswith(" in _authors")
        assert lines[2].startswith("    for 3 rows fetched at ") and lines[2].endswith(" in _authors")
        assert lines[3:] == ["    loads Book.author", '    fix: select_related("author")']


PROJECT = """
import sys
sys.path.insert(0, {bookshop!r})
import pytest

@pytest.fixture(scope="session")
def books():
    import os, django
    os.environ["DJANGO_SETTINGS_MODULE"] = "bookshop.settings"
    django.setup()
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    from driver import fill
    fill()

def authors(count):
    from catalog.models import Book
    return [book.author.name for book in Book.objects.order_by("id")[:count]]
"""
TESTS = """
import unittest
import pytest
from conftest import authors
from nuages.testing import NPlusOneError, NPlusOneMixin, assert_no_n_plus_one

def test_plain(books):
    authors(8)

def test_fixture(books, n_plus_one):
    authors(8)

def test_fixture_counts(books, n_plus_one):
    authors(2)
    assert n_plus_one.report().query_count == 3

@pytest.mark.n_plus_one(threshold=2)
def test_marker(books):
    authors(3)

@pytest.mark.n_plus_one(threshold=2, allow=["Book.author"])
def test_allowed_relation(books):
    authors(3)

@pytest.mark.n_plus_one(allow=["*catalog_author*"])
def test_allowed_statement(books):
    authors(8)

@pytest.mark.n_plus_one(limit=3)
def test_wrong_marker(books):
    pass

def test_own_error_wins(books, n_plus_one):
    authors(8)
    raise KeyError("its own")

@pytest.mark.usefixtures("books")
class TestMixin(NPlusOneMixin, unittest.TestCase):
    n_plus_one_threshold = 2

    def test_raises(self):
        with self.assertRaises(NPlusOneError) as caught, self.assertNoNPlusOne():
            authors(4)
        assert [query.count for query in caught.exception.repeated] == [4]

    def test_allow(self):
        with self.assertNoNPlusOne(allow=["Book.*"]):
            authors(4)

    def test_other_errors_pass(self):
        with self.assertRaises(ZeroDivisionError), self.assertNoNPlusOne():
            authors(4)
            1 / 0
"""


@pytest.fixture
def run_project(tmp_path):
    """Runs pytest on a small project; (exit code, {test: outcome}, output)."""
    (tmp_path / "conftest.py").write_text(PROJECT.format(bookshop=str(BOOKSHOP)))
    (tmp_path / "test_books.py").write_text(TESTS)

    def run(*options, ini=""):
        (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = -p no:cacheprovider\n{ini}\n")
        command = [sys.executable, "-m", "pytest", "-p", "nuages.pytest_plugin", "-rA", "--tb=short", *options]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        outcomes = {}
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" test_books.py::")
            if rest and word in ("PASSED", "FAILED", "ERROR"):
                outcomes[rest.split(" ")[0]] = word.lower()
        return done.returncode, outcomes, done.stdout

    return run


class TestPlugin:
    def test_what_fails_and_what_does_not(self, run_project):
        code, outcomes, output = run_project()
        assert code == 1
        assert outcomes == {
            "test_plain": "passed",
            "test_fixture": "failed",
            "test_fixture_counts": "passed",
            "test_marker": "failed",
            "test_allowed_relation": "passed",
            "test_allowed_statement": "passed",
            "test_wrong_marker": "failed",
            "test_own_error_wins": "failed",
            "TestMixin::test_raises": "passed",
            "TestMixin::test_allow": "passed",
            "TestMixin::test_other_errors_pass": "passed",
        }, output
        assert f"8 times: {STATEMENT}" in output
        assert "in authors" in output
        assert 'fix: select_related("author")' in output
        assert "does not know limit: it takes threshold=N and allow=[...]" in output
        assert "KeyError: 'its own'" in output

    def test_everywhere(self, run_project):
        outcomes = run_project("-k", "plain", ini="n_plus_one = error\nn_plus_one_allow =\n    Nothing.here")[1]
        assert outcomes == {"test_plain": "failed"}
        assert run_project("-k", "plain", ini="n_plus_one = error\nn_plus_one_allow = Book.*")[1] == {
            "test_plain": "passed"
        }
        assert run_project("-k", "plain", ini="n_plus_one = error\nn_plus_one_threshold = 8")[1] == {
            "test_plain": "passed"
        }

    def test_warnings(self, run_project):
        code, outcomes, output = run_project("-k", "plain", "--n-plus-one=warn")
        assert (code, outcomes) == (0, {"test_plain": "passed"})
        assert "NPlusOneWarning: a statement ran more than 5 times (9 queries in all)" in output

    @pytest.mark.parametrize("ini", ["n_plus_one = loud", "n_plus_one_threshold = 1"])
    def test_bad_configuration(self, run_project, ini):
        code, _, output = run_project(ini=ini)
        assert code == 4
        assert f"ERROR: {ini}: use " in output


def test_unused_prefetches(shop):
    found = shop.scenario("unused_prefetches").result
    assert {what: said for what, said in found.items() if said} == {
        "reverse not read": [["Author.books", 12, "reverse"]],
        "many not read": [["Book.tags", 12, "many"]],
        "forward not read": [["Book.author", 12, "forward"]],
        "nested read": [["Book.tags", 12, "nested"]],
        "nested not read": [["Author.books", 12, "nested"], ["Book.tags", 12, "nested"]],
        "copied read": [["Author.books", 12, "copied"]],
        "copied not read": [["Author.books", 12, "copied"]],
    }
