"""The demo's requests, and the traces that came of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from demo_api import Api, ApiError, Json, poll
from demo_processes import ProcessFailed
from demo_rewrite import Vocabulary
from demo_stack import Answer, DemoError, Project

ABOVE, BELOW = "1500.00", "99.99"


@dataclass
class Sent:
    """One request: what was asked, the name its SERVER span must have, and what was answered."""

    key: str
    method: str
    path: str
    span_name: str
    body: dict[str, str] | None = None
    expected_status: int = 200
    queues_task: bool = False
    answer: Answer | None = None
    trace_id: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def requests_of(vocabulary: Vocabulary, with_low_value: bool) -> list[Sent]:
    def order(amount: str) -> dict[str, str]:
        return {"product_name": "Widget", "amount": amount, "status": "pending"}

    def post(key: str, amount: str) -> Sent:
        return Sent(
            key, "POST", "/api/orders/", "POST /api/orders/", order(amount), expected_status=201, queues_task=True
        )

    requests = [
        Sent("list", "GET", "/orders/", "GET /orders/"),
        Sent("detail", "GET", "/orders/1/", "GET /orders/{order_id}/"),
        Sent("page", "GET", "/orders/1/html/", "GET /orders/{order_id}/html/"),
        post("above", ABOVE),
        *([post("below", BELOW)] if with_low_value else []),
        Sent("slow", "GET", "/orders/slow/", "GET /orders/slow/"),
        Sent("loop", "GET", "/orders/with-users/", "GET /orders/with-users/"),
    ]
    for request in requests:
        request.path, request.span_name = vocabulary.apply(request.path), vocabulary.apply(request.span_name)
    return requests


class Scenario:
    def __init__(self, project: Project, api: Api, vocabulary: Vocabulary, with_low_value: bool) -> None:
        self.project = project
        self.api = api
        self.vocabulary = vocabulary
        self.requests = requests_of(vocabulary, with_low_value)
        self.since = 0

    def send(self) -> None:
        self.since = time.time_ns()
        for request in self.requests:
            request.answer = self.project.request(request.method, request.path, request.body)
            if request.answer.status != request.expected_status:
                raise ProcessFailed(self._web(), f"answered {request} with {request.answer.status}")

    def entries(self, service: str) -> list[Json]:
        """The server's rows for one service since the first request, oldest first."""
        rows = self.api.traces(service=service, start=str(self.since))
        return sorted(rows, key=lambda row: int(row["start"]))

    def wait(self, timeout: float, alive: Callable[[], None]) -> None:
        """Until every request has its trace, whole and with its task. Fills in `trace_id`."""

        def attempt() -> bool | None:
            rows = [row for row in self.entries(self.project.service) if row["kind"] == "server"]
            return True if self._assign(rows) and all(map(self._whole, self.requests)) else None

        try:
            poll(attempt, "the traces of the requests", timeout, alive)
        except TimeoutError as error:
            missing = ", ".join(str(request) for request in self.requests if not request.trace_id) or "a task's trace"
            raise DemoError(f"{error}; missing: {missing}") from None

    def _assign(self, rows: list[Json]) -> bool:
        # Requests went out one after the other, so those of one name have their traces in the same order.
        by_name: dict[str, list[Json]] = {}
        for row in rows:
            by_name.setdefault(row["name"], []).append(row)
        for request in self.requests:
            same = by_name.get(request.span_name)
            request.trace_id = same.pop(0)["trace_id"] if same else ""
        return all(request.trace_id for request in self.requests)

    def _whole(self, request: Sent) -> bool:
        try:
            trace = self.api.trace(request.trace_id, follow=True)
        except ApiError:
            return False
        ids = {span["span_id"] for span in trace["spans"]}
        orphans = [span for span in trace["spans"] if span["parent_span_id"] and span["parent_span_id"] not in ids]
        tasks = [span for span in trace["spans"] if span["kind"] == "consumer"]
        return not orphans and (not request.queues_task or len(tasks) == 1)

    def by_key(self, key: str) -> Sent:
        return next(request for request in self.requests if request.key == key)

    def _web(self):
        assert self.project.web is not None
        return self.project.web
