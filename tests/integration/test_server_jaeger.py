"""Jaeger's query API on the UI port: field by field what Jaeger 2 answered for the same spans (`make jaeger-golden` records it).

What has no order in Jaeger's answers (it walks Go maps) is sorted on both sides: lists of services and operations, spans, traces, calls. Two
differences are meant and undone here: a service without a name is `unknown_service` in this server everywhere, and the texts of errors are our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from server_fixture import PATIENCE, ROOT, Server

GOLDEN = ROOT / "tests" / "golden" / "jaeger"
ANSWERS: dict[str, Any] = json.loads((GOLDEN / "answers.json").read_text())["answers"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Path(tmp_path_factory.mktemp("jaeger")) / "data").start()
    body = (GOLDEN / "spans.json").read_bytes()
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.http}/v1/traces", data=body, headers=headers, timeout=PATIENCE)
    assert answer.json() == {}
    for service, count in (("shop", 7), ("inventory", 3), ("worker", 3), ("unknown_service", 1), ("clock-b", 4)):
        server.wait_stored(service, count)
    yield server
    server.kill()


def normal(value: Any) -> Any:
    """The answer with everything sorted that has no order of its own, and processes named by what they are."""
    if isinstance(value, list):
        return sorted((normal(element) for element in value), key=lambda one: json.dumps(one, sort_keys=True))
    if not isinstance(value, dict):
        return "unknown_service" if value == "missing-service-name" else value
    if "processes" in value:
        names = {name: json.dumps(normal(process), sort_keys=True) for name, process in value["processes"].items()}
        value = {**value, "processes": {names[name]: process for name, process in value["processes"].items()}}
        value["spans"] = [{**span, "processID": names[span["processID"]]} for span in value["spans"]]
    return {key: normal(inner) for key, inner in value.items()}


@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_answers_as_jaeger(filled: Server, path: str) -> None:
    expected = ANSWERS[path]
    answer = filled.get(path)
    assert answer.status_code == expected["status"], answer.text
    assert answer.headers["Content-Type"] == expected["type"]
    body, wanted = answer.json(), expected["body"]
    if expected["status"] != 200:
        assert len(body["errors"]) == 1 and body["errors"][0]["msg"]
        body["errors"][0]["msg"] = wanted["errors"][0]["msg"]
    assert normal(body) == normal(wanted)


def test_tags_and_logs_come_in_jaegers_order(filled: Server) -> None:
    """Sorting hides the order of tags and log fields; the UI shows it."""
    for path, expected in ANSWERS.items():
        if not path.startswith("/api/traces/") or "raw" in path or expected["status"] != 200:
            continue
        for ours, theirs in zip(*(sorted_spans(one) for one in (filled.get(path).json(), expected["body"]))):
            assert ours["tags"] == theirs["tags"] and ours["logs"] == theirs["logs"]
            assert ours["references"] == theirs["references"] and ours["warnings"] == theirs["warnings"]


def sorted_spans(body: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted((span for trace in body["data"] for span in trace["spans"]), key=lambda span: str(span["spanID"]))


def test_errors_name_the_parameter(filled: Server) -> None:
    for query, words in (
        ("service=shop&start=x", "start='x' must be a whole number"),
        ("service=shop&minDuration=5", "minDuration='5' must be a duration with a unit"),
        ("service=shop&limit=0", "limit='0' must be from 1 to 1500"),
        ("", "service is required"),
    ):
        assert words in filled.get(f"/api/traces?{query}").json()["errors"][0]["msg"]
