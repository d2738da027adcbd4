"""The demo's tools: what they start they stop, and their check fails when a trace is wrong."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import demo_check
from demo_processes import Process, ProcessFailed, ProcessSet
from demo_rewrite import Vocabulary, copy_renamed, find_loop
from demo_scenario import requests_of
from demo_stack import EXAMPLE, ROOT, Answer
from server_fixture import server_binary

MS = 1_000_000


# --- processes ---------------------------------------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def test_a_set_stops_its_processes_with_their_children_and_nothing_else(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        script = "sleep 600 & echo child $!; trap '' TERM; echo ready; wait; wait; sleep 600"
        with pytest.raises(ZeroDivisionError), ProcessSet(tmp_path) as processes:
            deaf = processes.start("deaf", ["bash", "-c", script], dict(os.environ))
            polite = processes.start("polite", ["sleep", "600"], dict(os.environ))
            child = int(deaf.wait_for(r"child (\d+)")[0][1])
            deaf.wait_for("ready")
            assert deaf.stop(timeout=0.1) == -signal.SIGKILL
            raise ZeroDivisionError
        assert polite.stop() == -signal.SIGTERM
        assert not alive(child)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_waiting_for_a_line_ends_with_the_process_and_shows_its_last_words(tmp_path: Path) -> None:
    with ProcessSet(tmp_path) as processes:
        process = processes.start("brief", ["bash", "-c", "echo one; echo two >&2; exit 3"], dict(os.environ))
        assert process.wait_for("two")
        assert [match.start() for match in process.wait_for("o", count=2)] == [0, 2]
        with pytest.raises(ProcessFailed, match=r"brief ended before it was ready \(exit code 3\)"):
            process.wait_for("never", timeout=60)
        with pytest.raises(ProcessFailed, match=r"brief ended unexpectedly \(exit code 3\)"):
            processes.check_running()
        assert process.stop() == 3
        processes.check_running()  # stopped from here: no failure
        assert process.tail() == "one\ntwo"
        assert process.log.read_text() == "one\ntwo\n"


# --- the example's source ----------------------------------------------------------------------------------------------------------------


def test_the_loop_is_found_and_moves_with_its_source(tmp_path: Path) -> None:
    original = find_loop(EXAMPLE)
    assert ".user.username" in original.file.read_text().splitlines()[original.line - 1]
    renamed = find_loop(copy_renamed(EXAMPLE, tmp_path / "copy", Vocabulary("purchase"), shift=7))
    assert (renamed.line, renamed.model, renamed.relation) == (original.line + 7, "Purchase", "user")
    assert renamed.file.relative_to(tmp_path / "copy") == Path("purchases/views.py")


def test_no_name_survives_in_the_copy_but_djangos(tmp_path: Path) -> None:
    target = copy_renamed(EXAMPLE, tmp_path / "copy", Vocabulary("purchase"), shift=1)
    paths = [str(path.relative_to(target)) for path in target.rglob("*")]
    assert [path for path in paths if "order" in path.lower()] == []
    words = set()
    for path in target.rglob("*.py"):
        words |= set(re.findall(r"\w*order\w*", path.read_text(), re.IGNORECASE))
    assert words == {"order_by"}


# --- the check ---------------------------------------------------------------------------------------------------------------------------


def span(identity: str, parent: str, name: str, kind: str, start: int, duration: int, **more: Any) -> dict[str, Any]:
    trace, _, span_id = identity.partition("/")
    return {
        "trace_id": trace,
        "span_id": span_id,
        "parent_span_id": parent,
        "name": name,
        "label": more.pop("label", name),
        "kind": kind,
        "start": str(start * MS),
        "duration": duration * MS,
        "attributes": more.pop("attributes", {}),
        "links": more.pop("links", []),
    }


def order_spans(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    say = vocabulary.apply
    facts = {"http.status_code": 201, "http.route": say("/api/orders/"), "db.query_count": 2}
    link = [{"trace_id": "a", "span_id": "6"}]
    return [
        span("a/1", "", say("POST /api/orders/"), "server", 0, 40, attributes=facts),
        span("a/2", "1", say("OrderViewSet.create"), "internal", 1, 38),
        span("a/3", "2", "SELECT FROM auth_user WHERE id = ?", "client", 2, 2),
        span("a/4", "2", "serializer.save", "internal", 5, 10),
        span("a/5", "4", say("INSERT INTO orders (...) VALUES (...)"), "client", 6, 8),
        span("a/6", "2", say("celery.apply_async: process_order"), "producer", 16, 3),
        span(
            "b/1",
            "",
            say("orders.tasks.process_order"),
            "consumer",
            30,
            50,
            links=link,
            label=say("Celery Task: process_order"),
        ),
        span("b/2", "1", say("SELECT FROM orders WHERE id = ?"), "client", 31, 3),
        span("b/3", "1", say("validate_high_value_order"), "internal", 35, 1),
        span("b/4", "1", say("UPDATE orders SET status = ? WHERE id = ?"), "client", 37, 5),
        span("b/5", "1", "send_confirmation_email", "internal", 43, 30),
    ]


TREE = """\
POST /api/orders/ (40ms)
├── OrderViewSet.create (38ms)
│   ├── SELECT FROM auth_user WHERE id = ? (2ms)
│   ├── INSERT INTO orders (...) VALUES (...) (8ms)
│   ├── celery.apply_async: process_order (3ms)
│   └── serializer.save (10ms)
├── [+12 middleware]
└── Celery Task: process_order (50ms) [separate trace, linked]
    ├── SELECT FROM orders WHERE id = ? (3ms)
    ├── validate_high_value_order (1ms)
    ├── UPDATE orders SET status = ? WHERE id = ? (5ms)
    └── send_confirmation_email (30ms)
"""


class StoredTrace:
    """Answers like the API, from spans and a text."""

    def __init__(self, spans: list[dict[str, Any]], tree: str, findings: list[dict[str, Any]] | None = None) -> None:
        self.spans, self.text, self.findings = spans, tree, findings or []

    def trace(self, trace_id: str, follow: bool = False) -> dict[str, Any]:
        return {"spans": self.spans, "findings": self.findings}

    def tree(self, trace_id: str, layout: str = "guide") -> str:
        return self.text


def check_order(spans: list[dict[str, Any]], tree: str, vocabulary: Vocabulary, high_value: bool = True) -> None:
    request = next(r for r in requests_of(vocabulary, with_low_value=False) if r.key == "above")
    request.trace_id = "a"
    demo_check.check_order(StoredTrace(spans, tree), request, vocabulary, high_value)


@pytest.mark.parametrize("word", ["order", "purchase"])
def test_the_guides_trace_passes(word: str) -> None:
    vocabulary = Vocabulary(word)
    check_order(order_spans(vocabulary), vocabulary.apply(TREE), vocabulary)


def change(index: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda spans: spans[index].update(fields)


WRONG_SPANS = {
    "view missing": lambda spans: spans.pop(1),
    "span twice": lambda spans: spans.append(copy.deepcopy(spans[2])),
    "second server span": lambda spans: spans.append({**spans[0], "span_id": "9"}),
    "auth outside the view": change(2, parent_span_id="1"),
    "insert outside save": change(4, parent_span_id="2"),
    "queued inside save": change(5, parent_span_id="4"),
    "queued before save": change(5, start=str(3 * MS)),
    "task in the same trace": change(6, trace_id="a", span_id="7", parent_span_id="6"),
    "no link": change(6, links=[]),
    "link elsewhere": change(6, links=[{"trace_id": "a", "span_id": "2"}]),
    "mail outside the task": change(10, parent_span_id="4"),
    "no duration": change(8, duration=0),
    "literal in a statement": change(4, attributes={"db.statement": "INSERT INTO orders VALUES ('Widget')"}),
    "raw label": change(2, name="SELECT"),
    "wrong kind": change(5, kind="internal"),
    "wrong status": change(0, attributes={"http.status_code": 500, "http.route": "/api/orders/", "db.query_count": 2}),
    "wrong query count": change(
        0, attributes={"http.status_code": 201, "http.route": "/api/orders/", "db.query_count": 3}
    ),
    "table renamed": change(7, name="SELECT FROM purchases WHERE id = ?"),
}


@pytest.mark.parametrize("wrong", WRONG_SPANS)
def test_wrong_spans_fail(wrong: str) -> None:
    spans = order_spans(Vocabulary())
    WRONG_SPANS[wrong](spans)
    with pytest.raises(demo_check.Mismatch):
        check_order(spans, TREE, Vocabulary())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" (40ms)", " (41ms)"),
        (" (8ms)", ""),
        (" [separate trace, linked]", ""),
        ("├── validate_high_value_order (1ms)\n    ", ""),
        ("│   └── serializer.save", "└── serializer.save"),
        ("OrderViewSet.create", "orders.views.OrderViewSet"),
    ],
)
def test_a_wrong_tree_fails(old: str, new: str) -> None:
    assert old in TREE
    with pytest.raises(demo_check.Mismatch):
        check_order(order_spans(Vocabulary()), TREE.replace(old, new), Vocabulary())


def test_a_validated_order_below_1000_fails() -> None:
    with pytest.raises(demo_check.Mismatch, match="validated"):
        check_order(order_spans(Vocabulary()), TREE, Vocabulary(), high_value=False)


def loop_trace(rows: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    facts = {"db.query_count": rows + 1, "db.max_query_repetitions": rows, "db.potential_n_plus_one": True}
    label = "SELECT FROM auth_user WHERE id = ?"
    spans = [span("a/0", "", "GET /orders/with-users/", "server", 0, 90, attributes=facts)]
    spans += [span(f"a/{i + 1}", "0", label, "client", i, 1) for i in range(rows)]
    loop = find_loop(EXAMPLE)
    finding = {
        "kind": "n_plus_one",
        "statement": 'SELECT ... FROM "auth_user" WHERE "auth_user"."id" = ?',
        "label": label,
        "count": rows,
        "file": str(loop.file),
        "line": loop.line,
        "function": loop.function,
        "relation": "Order.user",
        "suggestion": 'select_related("user")',
    }
    return spans, finding


@pytest.mark.parametrize(
    "wrong", [{}, {"line": 1}, {"count": 39}, {"file": "orders/models.py"}, {"suggestion": "?"}, {"relation": ""}]
)
def test_the_finding_must_name_the_loop(wrong: dict[str, Any]) -> None:
    spans, finding = loop_trace(40)
    request = next(r for r in requests_of(Vocabulary(), with_low_value=False) if r.key == "loop")
    request.answer = Answer(200, b'{"count": 40}')
    api = StoredTrace(spans, "", [{**finding, **wrong}])
    if wrong:
        with pytest.raises(demo_check.Mismatch):
            demo_check.check_loop(api, request, EXAMPLE)
    else:
        demo_check.check_loop(api, request, EXAMPLE)


# --- the program -------------------------------------------------------------------------------------------------------------------------


def test_a_missing_server_is_named(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py"), "--check"],
        env={**os.environ, "NUAGES_SERVER": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert f"{tmp_path / 'absent'} does not exist: run `make server`" in ran.stdout


def test_a_server_that_fails_is_shown(tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\necho 'error: data folder: read-only; use --data' >&2\nexit 2\n")
    server.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py"), "--check"],
        env={**os.environ, "NUAGES_SERVER": str(server)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert "FAILED: server ended before it was ready" in ran.stdout
    assert "error: data folder: read-only; use --data" in ran.stdout


def descendants(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def test_ctrl_c_stops_everything_the_demo_started(tmp_path: Path) -> None:
    environment = {**os.environ, "NUAGES_SERVER": str(server_binary()), "TMPDIR": str(tmp_path)}
    bystander = subprocess.Popen(["sleep", "600"])
    command = [sys.executable, str(ROOT / "tools/demo.py")]
    demo = Process("demo", command, tmp_path / "demo.log", environment)
    try:
        demo.wait_for("Ctrl-C stops everything", timeout=120)
        started = descendants(demo.pid)
        assert len(started) >= 7  # the server; gunicorn and two workers; Celery and two pool processes
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("nuages-demo-")] != []
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=60) == 0
        assert [pid for pid in started if alive(pid)] == []
        assert [path.name for path in tmp_path.iterdir()] == ["demo.log"]
        assert bystander.poll() is None
    finally:
        demo.stop()
        bystander.kill()
        bystander.wait()
    shown = "\n".join(demo.lines)
    assert "POST /api/orders/ (" in shown and "[separate trace, linked]" in shown
    loop = find_loop(EXAMPLE)
    assert f"views.py:{loop.line} in {loop.function}" in shown
    assert re.search(r"UI          http://127\.0\.0\.1:\d+$", shown, re.MULTILINE)
