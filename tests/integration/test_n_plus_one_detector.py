"""What the detector reports, with its reasons, and what it must not report although statements repeat."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import BOOKSHOP, Driver

SOURCE = BOOKSHOP / "catalog" / "detector.py"
TEXT = SOURCE.read_text()
FINE = re.findall(r"@fine\ndef (\w+)", TEXT)
LOOPS = re.findall(r"@loop\ndef (\w+)", TEXT)


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


@pytest.mark.parametrize("name", FINE)
def test_is_fine(shop: Any, name: str) -> None:
    assert shop.scenario("detect", what=name).result["repeated"] == []


def test_enough_that_is_fine() -> None:
    assert len(FINE) >= 50


SELECT = 'select_related("author")'
SAID = {
    "forward": ("Book.author", SELECT),
    "one_to_one_forward": ("Cover.book", 'select_related("book")'),
    "one_to_one_reverse": ("Book.cover", 'select_related("cover")'),
    "reverse": ("Author.books", 'prefetch_related("books")'),
    "reverse_filtered": ("Author.books", 'prefetch_related(Prefetch("books", queryset=...))'),
    "reverse_counted": ("Author.books", 'annotate(Count("books"))'),
    "reverse_exists": ("Author.books", 'prefetch_related("books") or annotate(Exists(...))'),
    "reverse_first": ("Author.books", 'prefetch_related("books")'),
    "many": ("Book.tags", 'prefetch_related("tags")'),
    "many_reverse": ("Tag.book_set", 'prefetch_related("book_set")'),
    "deferred": ("Book.title", "a deferred column: take 'title' out of defer() or into only()"),
    "one_by_one": ("", "in_bulk()"),
    "always_the_same": ("", "the parameters are the same each time: keep the result"),
    "counted": ("", "annotate(Count(...))"),
    "filtered": ("", "one query with filter(author__in=[...])"),
    "created": ("", "bulk_create()"),
    "saved_new": ("", "bulk_create()"),
    "saved": ("", "bulk_update()"),
    "updated": ("", "one update() for all rows, or bulk_update()"),
    "deleted": ("", "filter(pk__in=[...]).delete()"),
    "prefetched_one_by_one": ("Author.books", 'prefetch_related("books")'),
    "nested": ("Book.cover", 'prefetch_related("books__cover")'),
    "in_template": ("Book.author", SELECT),
    "in_included_template": ("Book.author", SELECT),
    "in_serializer": ("Book.author", SELECT),
    "in_a_thread": ("Book.author", SELECT),
    "asynchronous": ("", "in_bulk()"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_is_reported_with_relation_and_fix(shop: Any, name: str) -> None:
    repeated = shop.scenario("detect", what=name).result["repeated"]
    assert repeated, "nothing was found"
    assert (repeated[0]["relation"], repeated[0]["suggestion"]) == SAID[name]
    assert repeated[0]["same_parameters"] is (name == "always_the_same")


def line_of(text: str, file: Path = SOURCE) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_the_rows_and_their_use_have_lines_of_their_own(shop: Any) -> None:
    [found] = shop.scenario("detect", what="forward").result["repeated"]
    assert (found["file"], found["line"], found["function"]) == (
        str(SOURCE),
        line_of("for book in rows]"),
        found["function"],
    )
    assert "forward" in found["function"]
    assert (found["origin_file"], found["rows"], found["count"]) == (str(SOURCE), 8, 8)
    assert found["origin_line"] == line_of("for book in rows]"), "a queryset is fetched where it is read first"
    assert 0 <= found["saved_ns"] < found["duration_ns"], "0 when one of them took longer than all others"


def test_a_chain_of_relations_leads_to_the_first_queryset(shop: Any) -> None:
    [found] = [q for q in shop.scenario("detect", what="nested").result["repeated"] if q["relation"] == "Book.cover"]
    assert found["origin_line"] == line_of("for author in Author.objects.all()[:2]")
    assert found["rows"] == 2, "two authors"


def test_templates_and_serializers_are_named(shop: Any) -> None:
    [found] = shop.scenario("detect", what="in_included_template").result["repeated"]
    assert found["via"] == "catalog/shelf_line.html:1 < catalog/shelf.html:3"
    assert (Path(found["file"]).name, found["line"]) == ("shelf_line.html", 1)
    [found] = shop.scenario("detect", what="in_serializer").result["repeated"]
    assert found["via"].startswith("BookSerializer.writer")
    assert found["function"] == "BookSerializer"


def test_settings() -> None:
    driver = Driver(
        NUAGES_N_PLUS_ONE_THRESHOLD="3", NUAGES_N_PLUS_ONE_ALLOW="Book.tags", NUAGES_QUERY_COUNT_THRESHOLD="5"
    )
    try:
        attributes = driver.request("/loop/4/").server["attributes"]
        assert attributes["db.potential_n_plus_one"] is True
        assert "db.high_query_count" not in attributes
        attributes = driver.request("/tags/6/").server["attributes"]
        assert "db.potential_n_plus_one" not in attributes, "allowed"
        assert attributes["db.high_query_count"] is True
    finally:
        assert driver.close() == 0
