"""Sends the traces of a Django order service to an OTLP/gRPC endpoint, without Django.

make_traces.py [--endpoint 127.0.0.1:4317] [--rounds 1] [--long SPANS]: prints the trace ids as JSON. Names and
attributes are those of the agent, so whatever reads them (server, UI) can be tried without an application.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, Optional

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

WEB, WORKER = "django-order-service", "django-order-service-celery"
SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL
PRODUCER, CONSUMER = Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER

SELECT_USER = (
    'SELECT "auth_user"."id", "auth_user"."username" FROM "auth_user" WHERE "auth_user"."id" = ? LIMIT ?',
    "SELECT FROM auth_user WHERE id = ?",
)
SELECT_ORDERS = (
    'SELECT "orders"."id", "orders"."user_id", "orders"."amount" FROM "orders" ORDER BY "orders"."created_at" DESC',
    "SELECT FROM orders",
)
SELECT_ORDER = ('SELECT "orders"."id" FROM "orders" WHERE "orders"."id" = ? LIMIT ?', "SELECT FROM orders WHERE id = ?")
INSERT_ORDER = (
    'INSERT INTO "orders" ("user_id", "product_name", "amount", "status") VALUES (?, ?, ?, ?) RETURNING "orders"."id"',
    "INSERT INTO orders (...) VALUES (...)",
)
UPDATE_ORDER = (
    'UPDATE "orders" SET "status" = ? WHERE "orders"."id" = ?',
    "UPDATE orders SET status = ? WHERE id = ?",
)


def any_value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def fingerprint(statement: str) -> int:
    """FNV-1a as a signed 64-bit integer: stands for the agent's fingerprint, equal for equal statements."""
    state = 0xCBF29CE484222325
    for byte in statement.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state - 2**64 if state >= 2**63 else state


class TraceBuilder:
    """One trace; times are milliseconds after its start."""

    def __init__(self, service: str, start_ns: int) -> None:
        self.service = service
        self.start_ns = start_ns
        self.trace_id = os.urandom(16)
        self.spans: list[Span] = []

    def at(self, ms: float) -> int:
        return self.start_ns + int(ms * 1_000_000)

    def span(
        self, parent: Optional[Span], name: str, kind: Any, start: float, end: float, attributes: dict[str, Any]
    ) -> Span:
        span = Span(
            trace_id=self.trace_id,
            span_id=os.urandom(8),
            parent_span_id=parent.span_id if parent else b"",
            name=name,
            kind=kind,
            start_time_unix_nano=self.at(start),
            end_time_unix_nano=self.at(end),
            attributes=key_values(attributes),
        )
        self.spans.append(span)
        return span

    def request(self, method: str, route: str, end: float, status: int, attributes: dict[str, Any]) -> Span:
        common = {
            "http.method": method,
            "http.target": route,
            "http.route": route,
            "http.host": "127.0.0.1:8000",
            "http.scheme": "http",
            "http.status_code": status,
            "nuages.sampling.ratio": 1.0,
        }
        root = self.span(None, f"{method} {route}", SERVER, 0, end, {**common, **attributes})
        if status >= 500:
            root.status.code = Status.STATUS_CODE_ERROR
        for number, name in enumerate(("SecurityMiddleware", "SessionMiddleware", "AuthenticationMiddleware")):
            start = 0.1 + number * 0.2
            self.span(root, f"{name}.process_request", INTERNAL, start, start + 0.1, {"nuages.kind": "middleware"})
        return root

    def sql(self, parent: Span, query: tuple[str, str], start: float, end: float) -> Span:
        statement, label = query
        attributes = {
            "db.system": "sqlite",
            "db.name": "db.sqlite3",
            "db.statement": statement,
            "db.operation": statement.split(" ", 1)[0],
            "nuages.db.label": label,
            "nuages.db.alias": "default",
            "nuages.db.fingerprint": fingerprint(statement),
        }
        return self.span(parent, label, CLIENT, start, end, attributes)

    def view(self, root: Span, name: str, start: float, end: float, line: int) -> Span:
        attributes = {
            "nuages.kind": "view",
            "code.function": name.rsplit(".", 1)[-1],
            "code.filepath": "orders/views.py",
            "code.lineno": line,
        }
        return self.span(root, name, INTERNAL, start, end, attributes)

    def resource_spans(self) -> ResourceSpans:
        result = ResourceSpans()
        result.resource.attributes.extend(
            key_values({"service.name": self.service, "service.version": "1.0.0", "nuages.version": "0.1.0"})
        )
        scope = ScopeSpans(spans=self.spans)
        scope.scope.name = "nuages"
        result.scope_spans.append(scope)
        return result


def create_order(start_ns: int, amount: float) -> list[TraceBuilder]:
    """POST /api/orders/ and the Celery task it sends: two traces joined by a link."""
    web = TraceBuilder(WEB, start_ns)
    root = web.request("POST", "/api/orders/", 38, 201, {"db.query_count": 2})
    view = web.view(root, "OrderViewSet.create", 1, 37, 88)
    web.span(view, "serializer.is_valid", INTERNAL, 1.5, 3, {"nuages.kind": "serializer"})
    web.sql(view, SELECT_USER, 4, 6)
    save = web.span(view, "serializer.save", INTERNAL, 7, 21, {"nuages.kind": "serializer"})
    web.sql(save, INSERT_ORDER, 9, 18)
    task_attributes = {"celery.task_name": "orders.tasks.process_order", "messaging.destination": "celery"}
    producer = web.span(view, "celery.apply_async: process_order", PRODUCER, 26, 33, task_attributes)

    worker = TraceBuilder(WORKER, web.at(90))
    task = worker.span(None, "orders.tasks.process_order", CONSUMER, 0, 152, task_attributes)
    link = task.links.add(trace_id=web.trace_id, span_id=producer.span_id)
    link.attributes.extend(key_values({"nuages.link": "celery"}))
    worker.sql(task, SELECT_ORDER, 1, 3)
    if amount > 1000:
        worker.span(task, "validate_high_value_order", INTERNAL, 4, 64, {"order.amount": amount})
    worker.sql(task, UPDATE_ORDER, 66, 72)
    worker.span(task, "send_confirmation_email", INTERNAL, 74, 150, {})
    return [web, worker]


def list_orders(start_ns: int, count: int) -> TraceBuilder:
    """A list view that reads each order's user on its own, with the finding the agent makes of it."""
    trace = TraceBuilder(WEB, start_ns)
    n_plus_one = {"db.query_count": count + 1, "db.potential_n_plus_one": True, "db.max_query_repetitions": count}
    root = trace.request("GET", "/orders/", 12 + count * 3, 200, n_plus_one)
    view = trace.view(root, "orders.views.get_all_orders_with_users", 1, 11 + count * 3, 41)
    trace.sql(view, SELECT_ORDERS, 2, 5)
    for number in range(count):
        trace.sql(view, SELECT_USER, 6 + number * 3, 7.5 + number * 3)
    event = root.events.add(name="nuages.n_plus_one", time_unix_nano=trace.at(11 + count * 3))
    event.attributes.extend(
        key_values(
            {
                "db.statement": SELECT_USER[0],
                "db.fingerprint": fingerprint(SELECT_USER[0]),
                "count": count,
                "code.filepath": "orders/views.py",
                "code.lineno": 47,
                "code.function": "get_all_orders_with_users",
                "django.relation": "Order.user",
                "suggestion": 'select_related("user")',
                "duration_ns": count * 1_500_000,
            }
        )
    )
    return trace


def failing_detail(start_ns: int) -> TraceBuilder:
    trace = TraceBuilder(WEB, start_ns)
    root = trace.request("GET", "/orders/{order_id}/", 12, 500, {"db.query_count": 1})
    view = trace.view(root, "orders.views.order_detail", 1, 10, 61)
    trace.sql(view, SELECT_ORDER, 2, 4)
    view.status.code = Status.STATUS_CODE_ERROR
    view.status.message = "ZeroDivisionError: division by zero"
    event = view.events.add(name="exception", time_unix_nano=trace.at(9))
    stack = 'Traceback (most recent call last):\n  File "orders/views.py", line 64, in order_detail\n    total / 0\n'
    event.attributes.extend(
        key_values(
            {
                "exception.type": "ZeroDivisionError",
                "exception.message": "division by zero <script>alert(1)</script>",
                "exception.stacktrace": stack + "ZeroDivisionError: division by zero",
            }
        )
    )
    return trace


def slow(start_ns: int) -> TraceBuilder:
    trace = TraceBuilder(WEB, start_ns)
    root = trace.request("GET", "/orders/slow/", 1240, 200, {"db.query_count": 1})
    view = trace.view(root, "orders.views.slow_orders", 1, 1238, 90)
    trace.sql(view, SELECT_ORDERS, 3, 900)
    trace.span(view, "orders/slow.html", INTERNAL, 905, 1230, {"nuages.kind": "template"})
    return trace


def long_report(start_ns: int, spans: int) -> TraceBuilder:
    """One request with so many spans that a page that draws all of them stands still."""
    trace = TraceBuilder(WEB, start_ns)
    root = trace.request("GET", "/reports/long/", spans + 10, 200, {"db.query_count": spans})
    for number in range(spans // 10):
        row = trace.span(root, f"build_row {number}", INTERNAL, 5 + number * 10, 14 + number * 10, {"row": number})
        for column in range(9):
            query = (f'SELECT * FROM "table_{column}" WHERE "id" = ?', f"SELECT FROM table_{column} WHERE id = ?")
            trace.sql(row, query, 5 + number * 10 + column, 5.5 + number * 10 + column)
    return trace


def make(now_ns: int, rounds: int, long_spans: int) -> dict[str, list[TraceBuilder]]:
    traces: dict[str, list[TraceBuilder]] = {"create": [], "create_low": [], "list": [], "detail": [], "slow": []}
    for number in range(rounds):
        base = now_ns - (number * 60 + 5) * 1_000_000_000
        traces["create"] += create_order(base, 1500.0)
        traces["create_low"] += create_order(base - 1_000_000_000, 99.99)
        traces["list"].append(list_orders(base - 2_000_000_000, 25))
        traces["detail"].append(failing_detail(base - 3_000_000_000))
        traces["slow"].append(slow(base - 5_000_000_000))
    if long_spans:
        traces["long"] = [long_report(now_ns - 20_000_000_000, long_spans)]
    return traces


def send(endpoint: str, traces: dict[str, list[TraceBuilder]]) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        for builders in traces.values():
            for builder in builders:
                request = ExportTraceServiceRequest(resource_spans=[builder.resource_spans()])
                reply = stub.Export(request, timeout=30, wait_for_ready=True)
                if reply.partial_success.rejected_spans:
                    raise SystemExit(f"the server refused spans: {reply.partial_success}")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", default="127.0.0.1:4317")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--long", type=int, default=0, metavar="SPANS")
    options = parser.parse_args(arguments)
    traces = make(time.time_ns(), options.rounds, options.long)
    send(options.endpoint, traces)
    print(json.dumps({name: [b.trace_id.hex() for b in builders] for name, builders in traces.items()}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
