"""Every request and every task is exported exactly once: gunicorn with four workers, preload on and off, and a Celery prefork worker.

The export delay is longer than the test, so what arrives has been flushed by the graceful stop of each process and by nothing else.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from demo_processes import ProcessSet
from demo_stack import EXAMPLE, Project

REQUESTS = 24  # of each kind
CLIENTS = 8
NEVER = str(10 * 60 * 1000)  # milliseconds


class CountingServer(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC receiver that keeps what it is sent, repeats included."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: list[str] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        with self._lock:
            for resource_spans in request.resource_spans:
                service = attributes(resource_spans.resource)["service.name"]
                for scope_spans in resource_spans.scope_spans:
                    self.spans += scope_spans.spans
                    self.services += [service] * len(scope_spans.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def of_kind(self, kind: int) -> list[Span]:
        with self._lock:
            return [span for span in self.spans if span.kind == kind]

    def stop(self) -> None:
        self._server.stop(grace=None).wait()


def attributes(record: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in record.attributes
    }


def number_of(span: Span) -> str:
    """The `n=` of the request's URL."""
    found = attributes(span)
    url = found.get("http.url") or found.get("http.target") or ""
    return parse_qs(urlsplit(url).query)["n"][0]


@pytest.fixture
def counting() -> Iterator[CountingServer]:
    server = CountingServer()
    yield server
    server.stop()


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no-preload"])
def test_every_request_and_task_once(preload: bool, counting: CountingServer, tmp_path: Path) -> None:
    with ProcessSet(tmp_path) as processes:
        project = Project(
            EXAMPLE,
            tmp_path / "run",
            processes,
            counting.url,
            workers=4,
            gunicorn_options=("--preload",) if preload else (),
            extra_environment={"OTEL_BSP_SCHEDULE_DELAY": NEVER},
        )
        project.prepare()
        # Celery's folder transport has two races: two processes that declare a queue, and a reader that finds a message half written. So
        # the worker declares the queue alone, and reads only when all is written.
        project.start_worker()
        assert project.worker is not None
        project.worker.stop()
        project.start_web()
        order_ids = send_requests(project)
        assert project.web is not None
        assert project.web.stop() == 0, project.web.tail()
        project.start_worker()
        project.worker.wait_for(r"orders\.tasks\.process_order\[\S+\] succeeded", timeout=60, count=REQUESTS)
        assert project.worker.stop() == 0, project.worker.tail()

    assert [span for span, count in Counter((s.trace_id, s.span_id) for s in counting.spans).items() if count > 1] == []
    servers = counting.of_kind(Span.SPAN_KIND_SERVER)
    assert Counter(map(number_of, servers)) == Counter(str(n) for n in range(2 * REQUESTS))
    consumers = counting.of_kind(Span.SPAN_KIND_CONSUMER)
    assert Counter(attributes(span)["order.id"] for span in consumers) == Counter(order_ids)
    producers = {(span.trace_id, span.span_id) for span in counting.of_kind(Span.SPAN_KIND_PRODUCER)}
    assert Counter((link.trace_id, link.span_id) for span in consumers for link in span.links) == Counter(producers)
    assert len(producers) == REQUESTS
    check_alike(counting, servers, consumers)


def send_requests(project: Project) -> list[int]:
    """Half reads, half orders, all at once. Returns the ids of the new orders."""

    def send(n: int) -> int | None:
        if n % 2:
            answer = project.request("GET", f"/orders/?n={n}")
            assert answer.status == 200, answer.body
            return None
        order = {"product_name": f"Widget {n}", "amount": "1500.00"}
        answer = project.request("POST", f"/api/orders/?n={n}", order)
        assert answer.status == 201, answer.body
        return int(answer.json["id"])

    with futures.ThreadPoolExecutor(CLIENTS) as clients:
        return [order_id for order_id in clients.map(send, range(2 * REQUESTS)) if order_id is not None]


def check_alike(counting: CountingServer, servers: list[Span], consumers: list[Span]) -> None:
    """The traces of like requests hold the same spans: none lost inside, none from elsewhere, parents all present."""
    traces: dict[bytes, list[Span]] = defaultdict(list)
    for span in counting.spans:
        traces[span.trace_id].append(span)
    shapes = defaultdict(set)
    for entry in servers + consumers:
        spans = traces.pop(entry.trace_id)
        ids = {span.span_id for span in spans}
        assert [span.name for span in spans if span.parent_span_id and span.parent_span_id not in ids] == []
        shapes[entry.name].add(tuple(sorted(span.name for span in spans)))
    assert {name: len(found) for name, found in shapes.items()} == dict.fromkeys(shapes, 1), shapes
    assert [span.name for spans in traces.values() for span in spans] == []  # nothing without an entry span
