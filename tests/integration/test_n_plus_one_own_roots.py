"""N+1 is found on root spans that the user's own code made, however it made them, without a request, a task or a decorator of ours."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import Driver

WAYS = ["with", "decorator", "use_span", "below a child", "in parts"]


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


def noted(span):
    return {name[3:]: value for name, value in span["attributes"].items() if name.startswith("db.")}


@pytest.mark.parametrize("way", WAYS)
def test_six_queries_of_one_kind_are_a_finding(shop, way):
    root = shop.scenario("own_root", count=6, way=way).named("outer")
    assert noted(root) == {"query_count": 7, "max_query_repetitions": 6, "potential_n_plus_one": True}
    (finding,) = [event["attributes"] for event in root["events"] if event["name"] == "nuages.n_plus_one"]
    assert finding["count"] == 6
    assert 'FROM "catalog_author"' in finding["db.statement"]


@pytest.mark.parametrize("way", WAYS)
def test_five_are_none(shop, way):
    root = shop.scenario("own_root", count=5, way=way).named("outer")
    assert noted(root) == {"query_count": 6, "max_query_repetitions": 5}


def test_each_root_counts_for_itself(shop):
    for _ in range(2):
        assert noted(shop.scenario("own_root", count=4, way="with").named("outer"))["query_count"] == 5
