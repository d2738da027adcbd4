"""Queries, transactions and repeated queries of the test project."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import VIEWS, Driver, line_of


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


def findings(span):
    return [event["attributes"] for event in span["events"] if event["name"] == "nuages.n_plus_one"]


class TestQueries:
    def test_attributes_and_no_literal(self, shop):
        answer = shop.request("/annotate/")
        [query] = answer.of_kind("CLIENT")
        assert query["name"] == "SELECT FROM catalog_book WHERE title = ?"
        attributes = query["attributes"]
        assert attributes["db.system"] == "sqlite"
        assert attributes["db.name"] == ":memory:"
        assert attributes["db.statement"] == "SELECT count(*) FROM catalog_book WHERE title = ?"
        assert attributes["db.operation"] == "SELECT"
        assert attributes["db.sql.table"] == "catalog_book"
        assert attributes["nuages.db.alias"] == "default"
        assert attributes["nuages.db.label"] == query["name"]
        assert isinstance(attributes["nuages.db.fingerprint"], int)
        assert query["parent_id"] == answer.named("catalog.views.annotate")["span_id"]
        assert "Secret" not in str(answer.spans)

    OLD = {
        "db.system": "sqlite",
        "db.name": ":memory:",
        "db.statement": "SELECT count(*) FROM catalog_book WHERE title = ?",
        "db.operation": "SELECT",
        "db.sql.table": "catalog_book",
    }
    STABLE = {
        "db.system.name": "sqlite",
        "db.namespace": ":memory:",
        "db.query.text": "SELECT count(*) FROM catalog_book WHERE title = ?",
        "db.operation.name": "SELECT",
        "db.collection.name": "catalog_book",
    }

    @pytest.mark.parametrize(
        ("opt_in", "names"),
        [("", OLD), ("http", OLD), ("database", STABLE), ("http, database/dup", {**OLD, **STABLE})],
    )
    def test_semantic_conventions(self, shop, opt_in, names):
        answer = shop.scenario("semantic_conventions", opt_in=opt_in, path="/annotate/")
        [query] = answer.of_kind("CLIENT")
        own = ("nuages.", "code.", "db.response.")
        told = {key: value for key, value in query["attributes"].items() if not key.startswith(own)}
        assert told == names
        assert query["name"] == "SELECT FROM catalog_book WHERE title = ?"

    @pytest.mark.parametrize(("opt_in", "names"), [("", ["db.system"]), ("database", ["db.system.name"])])
    def test_semantic_conventions_of_transactions(self, shop, opt_in, names):
        answer = shop.scenario("transaction_conventions", opt_in=opt_in)
        for name in ("transaction.atomic", "transaction.on_commit"):
            attributes = answer.named(name)["attributes"]
            assert [key for key in attributes if key.startswith("db.system")] == names, name
            assert attributes[names[0]] == "sqlite"

    def test_times_lie_inside_the_parent(self, shop):
        answer = shop.request("/books/3/")
        [query] = answer.of_kind("CLIENT")
        view = answer.named("catalog.views.book_detail")
        assert view["start"] <= query["start"] <= query["end"] <= view["end"]

    def test_update_counts_its_rows(self, shop):
        answer = shop.request("/atomic/")
        assert (
            answer.named("UPDATE catalog_book SET stock = ? WHERE id = ?")["attributes"]["nuages.db.affected_rows"] == 1
        )

    def test_query_without_a_span_is_a_trace_of_its_own(self, shop):
        answer = shop.scenario("query_without_span")
        [query] = answer.spans
        assert (query["kind"], query["parent_id"]) == ("CLIENT", "")

    def test_executemany_and_bulk_create(self, shop):
        answer = shop.scenario("many_and_bulk")
        many = answer.named("UPDATE catalog_book SET stock = ? WHERE id = ?")
        assert many["attributes"]["db.operation.batch.size"] == 2
        insert = answer.named("INSERT INTO catalog_author (...) VALUES (...)")
        assert insert["attributes"]["db.statement"].count("(?)") <= 1

    def test_databases_are_told_apart(self, shop):
        answer = shop.scenario("other_database")
        told = [(span["name"], span["attributes"]["nuages.db.alias"]) for span in answer.of_kind("CLIENT")]
        assert told == [("SELECT", "default"), ("CONNECT", "archive"), ("SELECT", "archive")]

    def test_failing_query(self, shop):
        answer = shop.scenario("failing_query")
        assert answer.result == "OperationalError"
        [query] = answer.of_kind("CLIENT")
        assert query["status"] == "ERROR"
        [event] = query["events"]
        assert event["attributes"]["exception.type"] == "django.db.utils.OperationalError"
        assert "missing_table" in event["attributes"]["exception.message"]
        assert "hidden text" not in query["attributes"]["db.statement"]
        assert answer.named("outer")["status"] == "UNSET"


class TestTransactions:
    def test_blocks_enclose_their_statements(self, shop):
        answer = shop.request("/atomic/")
        assert '"stock": 1' in answer["body"]
        assert answer.tree(answer.named("catalog.views.atomic_view")) == [
            "catalog.views.atomic_view",
            "  transaction.atomic",
            "    BEGIN",
            "    UPDATE catalog_book SET stock = ? WHERE id = ?",
            "    transaction.atomic",
            "      SAVEPOINT",
            "      UPDATE catalog_book SET stock = ? WHERE id = ?",
            "      ROLLBACK TO SAVEPOINT",
            "      RELEASE SAVEPOINT",
            "    COMMIT",
            "  transaction.atomic",
            "    BEGIN",
            "    UPDATE catalog_book SET stock = ? WHERE id = ?",
            "    ROLLBACK",
            "  SELECT FROM catalog_book WHERE id = ?",
        ]
        blocks = sorted(
            (span for span in answer.spans if span["name"] == "transaction.atomic"), key=lambda span: span["start"]
        )
        assert [block["attributes"]["db.transaction.outcome"] for block in blocks] == ["commit", "rollback", "rollback"]
        assert [block["status"] for block in blocks] == ["UNSET", "ERROR", "ERROR"]
        assert all(block["attributes"]["nuages.kind"] == "transaction" for block in blocks)

    def test_transaction_control_is_no_query(self, shop):
        server = shop.request("/atomic/").server
        assert server["attributes"]["db.query_count"] == 4
        assert server["attributes"]["db.max_query_repetitions"] == 3


class TestRepeatedQueries:
    def test_six_are_flagged_with_place_and_fix(self, shop):
        server = shop.request("/loop/6/").server
        attributes = server["attributes"]
        assert attributes["db.query_count"] == 7
        assert attributes["db.max_query_repetitions"] == 6
        assert attributes["db.potential_n_plus_one"] is True
        [finding] = findings(server)
        assert finding["count"] == 6
        assert finding["db.statement"].startswith('SELECT "catalog_author"."id"')
        assert finding["code.filepath"] == str(VIEWS)
        assert finding["code.lineno"] == line_of("forward")
        assert finding["code.function"] == "loop"
        assert finding["django.relation"] == "Book.author"
        assert finding["suggestion"] == 'select_related("author")'
        assert finding["duration_ns"] > 0

    def test_five_are_not(self, shop):
        server = shop.request("/loop/5/").server
        assert server["attributes"]["db.query_count"] == 6
        assert server["attributes"]["db.max_query_repetitions"] == 5
        assert "db.potential_n_plus_one" not in server["attributes"]
        assert findings(server) == []

    def test_many_to_many_suggests_prefetch(self, shop):
        [finding] = findings(shop.request("/tags/6/").server)
        assert finding["code.lineno"] == line_of("many")
        assert finding["django.relation"] == "Book.tags"
        assert finding["suggestion"] == 'prefetch_related("tags")'

    def test_reverse_relation(self, shop):
        [finding] = findings(shop.scenario("loop_in_span", kind="reverse").server)
        assert finding["django.relation"] == "Author.books"
        assert finding["suggestion"] == 'prefetch_related("books")'

    def test_loop_in_a_template_points_to_its_line(self, shop):
        [finding] = findings(shop.scenario("loop_in_span", kind="in_template").server)
        assert finding["code.filepath"].endswith("/catalog/authors.html")
        assert finding["code.lineno"] == 3
        assert finding["code.function"] == "catalog/authors.html"
        assert finding["suggestion"] == 'select_related("author")'

    def test_loop_in_a_serializer_points_to_its_class(self, shop):
        [finding] = findings(shop.request("/api/books/").server)
        serializers = VIEWS.parent / "serializers.py"
        assert finding["code.filepath"] == str(serializers)
        assert finding["code.function"] == "BookSerializer"
        assert (
            serializers.read_text().splitlines()[finding["code.lineno"] - 1]
            == "class BookSerializer(serializers.ModelSerializer):"
        )
        assert finding["django.relation"] == "Book.author"

    @pytest.mark.parametrize(("kind", "suggestion"), [("get", "in_bulk()"), ("count", "annotate(Count(...))")])
    def test_loops_without_a_relation(self, shop, kind, suggestion):
        [finding] = findings(shop.scenario("loop_in_span", kind=kind).server)
        assert finding["suggestion"] == suggestion
        assert "django.relation" not in finding

    @pytest.mark.parametrize("kind", ["select_related", "bulk_create", "prefetch_chunks", "savepoints"])
    def test_no_false_alarm(self, shop, kind):
        server = shop.scenario("loop_in_span", kind=kind).server
        assert "db.potential_n_plus_one" not in server["attributes"]


class TestParameters:
    def shown(self, shop, **arguments):
        spans = shop.scenario("parameters", **arguments).of_kind("CLIENT")
        return [span["attributes"].get("db.statement.parameters") for span in spans]

    def test_off_by_default(self, shop):
        assert self.shown(shop, switch=False) == [None] * 4

    def test_shown_bounded_and_masked(self, shop):
        assert self.shown(shop) == [
            "('***@***.**', 7, <3 bytes>)",
            "('" + "x" * 99 + "...)",
            "((0, 1), (0, 2))",
            None,
        ]

    @pytest.mark.parametrize("profile", ["gdpr", "hipaa"])
    def test_profiles_that_forbid_them(self, shop, profile):
        assert self.shown(shop, masking=profile) == [None] * 4


class TestComments:
    def test_from_requests_tasks_commands_and_drivers(self, shop):
        answer = shop.scenario("comments")
        told = {name: statements[-1] for name, statements in answer.result.items()}
        assert "controller='catalog.views.book_detail'" in told["request"]
        assert "framework='django%3A" in told["request"]
        assert "route='books%2F%3Cint%3Abook_id%3E%2F'" in told["request"]
        assert "framework='celery%3A" in told["task"]
        assert "controller='catalog.tasks.restock'" in told["task"]
        assert "controller='manage.py%20restock'" in told["command"]
        for name, statement in told.items():
            assert "db_driver='sqlite3%3A" in statement
            outer = answer.named(name)
            spans = [span for span in answer.of_kind("CLIENT") if span["trace_id"] == outer["trace_id"]]
            assert any(f"-{span['trace_id']}-{span['span_id']}-" in statement for span in spans) or name == "task"
        assert "/*" not in str([span["attributes"]["db.statement"] for span in answer.of_kind("CLIENT")])
