"""Compares what the server stored with what the guide promises for the demo's requests.

Three views of the same traces are checked: the spans with their true parents, the guide's flat text tree with its durations, and the N+1
finding with its place in the source. Nothing is compared with a constant of the implementation: names come from the example's vocabulary,
the line of the finding from its syntax tree, durations from the spans.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from demo_api import Api, Json
from demo_rewrite import Loop, Vocabulary, find_loop
from demo_scenario import Scenario, Sent

# `name (12.3ms)` with what follows, after any box characters
_NODE = re.compile(r"^(?P<indent>[\s│├└─]*)(?P<name>\S.*?) \((?P<value>[\d.,]+)(?P<unit>ns|µs|us|ms|s)\)(?P<rest>.*)$")
_UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}


class Mismatch(Exception):
    """What was stored is not what the guide promises."""


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise Mismatch(message)


def expected_tree(high_value: bool) -> str:
    """The guide's flat tree, two spaces a level, without durations."""
    validate = ["    validate_high_value_order"] if high_value else []
    return "\n".join(
        [
            "POST /api/orders/",
            "  OrderViewSet.create",
            "    SELECT FROM auth_user WHERE id = ?",
            "    INSERT INTO orders (...) VALUES (...)",
            "    celery.apply_async: process_order",
            "    serializer.save",
            "  Celery Task: process_order [separate trace, linked]",
            "    SELECT FROM orders WHERE id = ?",
            *validate,
            "    UPDATE orders SET status = ? WHERE id = ?",
            "    send_confirmation_email",
        ]
    )


class Spans:
    """The spans of a trace and of the traces linked to it."""

    def __init__(self, spans: list[Json]) -> None:
        self.all = spans
        self._by_id = {(span["trace_id"], span["span_id"]): span for span in spans}
        expect(len(self._by_id) == len(spans), "a span is there twice")

    def one(self, name: str, kind: str = "") -> Json:
        found = [span for span in self.all if span["name"] == name and (not kind or span["kind"] == kind)]
        names = ", ".join(sorted({span["name"] for span in self.all}))
        expect(
            len(found) == 1,
            f"expected one span {name!r}{' of kind ' + kind if kind else ''}, found {len(found)} (spans: {names})",
        )
        return found[0]

    def ancestors(self, span: Json) -> list[Json]:
        found: list[Json] = []
        while span["parent_span_id"]:
            parent = self._by_id.get((span["trace_id"], span["parent_span_id"]))
            expect(parent is not None, f"the parent of {span['name']!r} is missing")
            assert parent is not None
            found.append(parent)
            span = parent
        return found

    def below(self, span: Json, ancestor: Json) -> None:
        chain = self.ancestors(span)
        expect(
            ancestor in chain,
            f"{span['name']!r} is not below {ancestor['name']!r} but below {[s['name'] for s in chain]}",
        )


def start(span: Json) -> int:
    return int(span["start"])


def end(span: Json) -> int:
    return int(span["start"]) + span["duration"]


def check_order(api: Api, request: Sent, vocabulary: Vocabulary, high_value: bool) -> None:
    say = vocabulary.apply
    trace = api.trace(request.trace_id, follow=True)
    spans = Spans(trace["spans"])

    # the request's trace
    root = spans.one(request.span_name, "server")
    expect(root["parent_span_id"] == "", f"{root['name']!r} is not the root of its trace")
    view = spans.one(say("OrderViewSet.create"), "internal")
    select_user = spans.one("SELECT FROM auth_user WHERE id = ?", "client")
    insert = spans.one(say("INSERT INTO orders (...) VALUES (...)"), "client")
    save = spans.one("serializer.save", "internal")
    producer = spans.one(say("celery.apply_async: process_order"), "producer")
    spans.below(view, root)
    for span in (select_user, insert, save, producer):
        spans.below(span, view)
    spans.below(insert, save)
    expect(save not in spans.ancestors(producer), "the task was queued inside serializer.save")
    expect(
        end(select_user) <= start(save) and end(save) <= start(producer),
        "authentication, save and queueing are out of order",
    )
    attributes = root["attributes"]
    expect(
        attributes.get("http.status_code") == request.expected_status,
        f"http.status_code is {attributes.get('http.status_code')!r}",
    )
    expect(
        attributes.get("http.route") == request.path,
        f"http.route is {attributes.get('http.route')!r}, not {request.path!r}",
    )
    expect(attributes.get("db.query_count") == 2, f"db.query_count is {attributes.get('db.query_count')!r}, not 2")

    # the task's trace
    task = spans.one(say("orders.tasks.process_order"), "consumer")
    expect(task["trace_id"] != root["trace_id"], "the task is in the request's trace, not in one of its own")
    expect(task["parent_span_id"] == "", "the task's span is not a root")
    links = [(link["trace_id"], link["span_id"]) for link in task["links"]]
    expect(links == [(producer["trace_id"], producer["span_id"])], f"the task's links {links} are not its producer")
    names = ["SELECT FROM orders WHERE id = ?", "UPDATE orders SET status = ? WHERE id = ?", "send_confirmation_email"]
    if high_value:
        names.insert(1, "validate_high_value_order")
    children = [spans.one(say(name)) for name in names]
    for child in children:
        expect(spans.ancestors(child) == [task], f"{child['name']!r} is not a child of the task")
    expect(all(end(a) <= start(b) for a, b in zip(children, children[1:])), "the task's spans are out of order")
    if not high_value:
        validated = [span["name"] for span in spans.all if span["name"] == say("validate_high_value_order")]
        expect(not validated, "an order below 1000 was validated as one of high value")

    for span in spans.all:
        expect(span["duration"] > 0, f"{span['name']!r} has no duration")
        statement = str(span["attributes"].get("db.statement", ""))
        expect("Widget" not in statement and "@example.com" not in statement, f"a value is in a statement: {statement}")
    check_text(api.tree(request.trace_id), spans, vocabulary, high_value)
    # the same tree from the task's side
    check_text(api.tree(task["trace_id"]), spans, vocabulary, high_value)


def check_text(text: str, spans: Spans, vocabulary: Vocabulary, high_value: bool) -> None:
    durations: dict[str, list[int]] = {}
    for span in spans.all:
        durations.setdefault(span["label"], []).append(span["duration"])
    shown, levels = [], []
    for line in text.splitlines():
        match = _NODE.match(line)
        if match is None:
            continue
        name, indent = match["name"], len(match["indent"])
        while levels and levels[-1] >= indent:
            levels.pop()
        shown.append(
            "  " * len(levels)
            + name
            + (" [separate trace, linked]" if "[separate trace, linked]" in match["rest"] else "")
        )
        levels.append(indent)
        value = float(match["value"].replace(",", "")) * _UNITS[match["unit"]]
        # half of the last digit shown is rounded away
        rounding = _UNITS[match["unit"]] * (0.051 if "." in match["value"] else 0.51)
        close = [duration for duration in durations.get(name, []) if abs(duration - value) <= rounding]
        expect(
            bool(close),
            f"the tree says {name!r} took {match['value']}{match['unit']}, the spans say {durations.get(name)} ns",
        )
    expected = vocabulary.apply(expected_tree(high_value)).splitlines()
    if shown != expected:
        diff = "\n".join(difflib.unified_diff(expected, shown, "the guide", "the server", lineterm="", n=20))
        raise Mismatch(f"the tree is not the guide's:\n{diff}\n\nas shown:\n{text}")


def check_loop(api: Api, request: Sent, project: Path) -> Json:
    loop: Loop = find_loop(project)
    assert request.answer is not None
    rows = request.answer.json["count"]
    trace = api.trace(request.trace_id)
    findings = [finding for finding in trace["findings"] if finding["kind"] == "n_plus_one"]
    expect(len(findings) == 1, f"expected one N+1 finding, found {len(findings)}")
    finding = findings[0]
    place = f"{finding['file']}:{finding['line']}"
    expect(
        Path(finding["file"]).name == loop.file.name and finding["file"].endswith(str(loop.file.relative_to(project))),
        f"the finding points to {place}, the loop is in {loop.file}",
    )
    expect(
        finding["line"] == loop.line, f"the finding points to {place}, the loop reads the relation in line {loop.line}"
    )
    expect(
        finding["function"].rpartition(".")[2] == loop.function,
        f"the finding names the function {finding['function']!r}, not {loop.function!r}",
    )
    expect(finding["count"] == rows, f"the finding counts {finding['count']} queries for {rows} rows")
    expect(finding["label"] == "SELECT FROM auth_user WHERE id = ?", f"the finding's label is {finding['label']!r}")
    expect("auth_user" in finding["statement"], f"the finding's statement is {finding['statement']!r}")
    expect(finding["relation"] == f"{loop.model}.{loop.relation}", f"the finding's relation is {finding['relation']!r}")
    expect(
        f'select_related("{loop.relation}")' in finding["suggestion"], f"the finding suggests {finding['suggestion']!r}"
    )
    repeated = [span for span in trace["spans"] if span["name"] == finding["label"]]
    expect(len(repeated) == rows, f"{len(repeated)} spans of the repeated statement for {rows} rows")
    root = Spans(trace["spans"]).one(request.span_name, "server")["attributes"]
    counts = (root.get("db.query_count"), root.get("db.max_query_repetitions"), root.get("db.potential_n_plus_one"))
    expect(
        counts == (rows + 1, rows, True),
        f"query count, repetitions and flag of the request are {counts}, not {(rows + 1, rows, True)}",
    )
    return finding


def check_others(api: Api, scenario: Scenario) -> None:
    for key in ("list", "detail", "page", "slow"):
        request = scenario.by_key(key)
        trace = api.trace(request.trace_id)
        Spans(trace["spans"]).one(request.span_name, "server")
        expect(not trace["findings"], f"{request} has findings: {trace['findings']}")
    page = Spans(api.trace(scenario.by_key("page").trace_id)["spans"])
    outer = page.one(scenario.vocabulary.apply("orders/detail.html"))
    for name in ("orders/includes/order_summary.html", "orders/includes/order_items.html"):
        page.below(page.one(scenario.vocabulary.apply(name)), outer)
    slow = Spans(api.trace(scenario.by_key("slow").trace_id)["spans"])
    wait = slow.one("warehouse.check_stock")
    expect(wait["duration"] >= 200_000_000, f"the slow request's wait took {wait['duration']} ns")


def check_counts(scenario: Scenario) -> None:
    """After the application has ended: exactly one SERVER span for each request and one CONSUMER span for each task."""
    for service, kind, expected in (
        (scenario.project.service, "server", sorted(request.span_name for request in scenario.requests)),
        (
            scenario.project.worker_service,
            "consumer",
            [scenario.vocabulary.apply("orders.tasks.process_order")] * sum(r.queues_task for r in scenario.requests),
        ),
    ):
        found = sorted(row["name"] for row in scenario.entries(service) if row["kind"] == kind)
        expect(found == expected, f"{kind} spans of {service}: expected {expected}, found {found}")
