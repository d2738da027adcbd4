"""OTLP batches as a Django application sends them, made fast enough to load a server.

A template is encoded once by opentelemetry-proto with marked ids and times; `fill()` writes fresh ones over the marks. Sixteen spans make one
trace: a request, eight middleware hooks, the view, four queries, a template and a Celery producer; about 430 bytes a span on average.
"""

from __future__ import annotations

import os
import random
import struct
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MIDDLEWARE = (
    "SecurityMiddleware",
    "SessionMiddleware",
    "CommonMiddleware",
    "CsrfViewMiddleware",
    "AuthenticationMiddleware",
    "MessageMiddleware",
    "XFrameOptionsMiddleware",
    "CustomHeaderMiddleware",
)
QUERIES = (
    (
        "SELECT FROM auth_user WHERE id = ?",
        "SELECT",
        "auth_user",
        'SELECT "auth_user"."id", "auth_user"."password", "auth_user"."last_login", "auth_user"."is_superuser", "auth_user"."username", '
        '"auth_user"."first_name", "auth_user"."last_name", "auth_user"."email", "auth_user"."is_staff", "auth_user"."is_active", '
        '"auth_user"."date_joined" FROM "auth_user" WHERE "auth_user"."id" = %s LIMIT ?',
    ),
    (
        "SELECT FROM orders_order WHERE status = ?",
        "SELECT",
        "orders_order",
        'SELECT "orders_order"."id", "orders_order"."user_id", "orders_order"."product_name", "orders_order"."amount", "orders_order"."status", '
        '"orders_order"."created_at", "auth_user"."id", "auth_user"."password", "auth_user"."last_login", "auth_user"."is_superuser", '
        '"auth_user"."username", "auth_user"."first_name", "auth_user"."last_name", "auth_user"."email", "auth_user"."is_staff", '
        '"auth_user"."is_active", "auth_user"."date_joined" FROM "orders_order" INNER JOIN "auth_user" ON ("orders_order"."user_id" = '
        '"auth_user"."id") WHERE "orders_order"."status" = %s ORDER BY "orders_order"."created_at" DESC LIMIT ?',
    ),
    (
        "INSERT INTO orders_order (...) VALUES (...)",
        "INSERT",
        "orders_order",
        'INSERT INTO "orders_order" ("user_id", "product_name", "amount", "status", "created_at") VALUES (%s, %s, %s, %s, %s) '
        'RETURNING "orders_order"."id"',
    ),
    (
        "UPDATE orders_order SET status = ? WHERE id = ?",
        "UPDATE",
        "orders_order",
        'UPDATE "orders_order" SET "status" = %s WHERE "orders_order"."id" = %s',
    ),
)
SPANS_PER_TRACE = 4 + len(MIDDLEWARE) + len(QUERIES)
HOST = "web-1.example.internal"
TEXT_WIDTH = 32
TEXT_MARK = b"~" * TEXT_WIDTH  # a text attribute that is new in every trace


def mark(index: int, width: int) -> bytes:
    """A value of `width` bytes that occurs nowhere else in a template."""
    return (b"\xf1\xe2\xd3" + struct.pack(">I", index) + b"\x9c" * width)[:width]


class Template:
    def __init__(self, spans: int) -> None:
        self.spans = spans
        self._body = self._encode()
        self._places = self._find_marks()

    def fill(self) -> bytes:
        """A batch with ids of its own and times just before now."""
        body = bytearray(self._body)
        traces = -(-self.spans // SPANS_PER_TRACE)
        trace_ids = [os.urandom(16) for _ in range(traces)]
        span_bytes = os.urandom(8 * len(self._ids))
        ids = [span_bytes[i * 8 : i * 8 + 8] for i in range(len(self._ids))]
        begin = now = time.time_ns() - 1_000_000_000
        for kind, offset, number in self._places:
            if kind == "time":
                # the end follows its start in the encoding: 2 ms on average, a few much longer
                if number % 2 == 0:
                    begin = now + number * 7_001 + random.getrandbits(24)
                    struct.pack_into("<Q", body, offset, begin)
                else:
                    struct.pack_into("<Q", body, offset, begin + int(random.expovariate(1 / 2e6)))
            elif kind == "text":
                body[offset : offset + TEXT_WIDTH] = os.urandom(TEXT_WIDTH // 2).hex().encode()
            elif kind == "trace":
                body[offset : offset + 16] = trace_ids[number]
            else:
                body[offset : offset + 8] = ids[number]
        return bytes(body)

    # ---- making the template

    def _encode(self) -> bytes:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        for key, value in (
            ("service.name", "django-order-service"),
            ("service.version", "1.0.0"),
            ("deployment.environment", "production"),
            ("host.name", HOST),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.version", "1.45.1"),
        ):
            add(resource.resource.attributes, key, value)
        scope = resource.scope_spans.add()
        scope.scope.name = "nuages.django"
        self._ids: list[bytes] = []
        for index in range(self.spans):
            trace, place = divmod(index, SPANS_PER_TRACE)
            span = scope.spans.add()
            self._ids.append(mark(len(self._ids) + 1, 8))
            span.trace_id = mark(1_000_000 + trace, 16)
            span.span_id = self._ids[index]
            if place > 0:
                span.parent_span_id = self._ids[trace * SPANS_PER_TRACE]
            span.start_time_unix_nano = struct.unpack("<Q", mark(2_000_000 + 2 * index, 8))[0]
            span.end_time_unix_nano = struct.unpack("<Q", mark(2_000_001 + 2 * index, 8))[0]
            describe(span, place)
        return request.SerializeToString()

    def _find_marks(self) -> list[tuple[str, int, int]]:
        """One scan for the common start of all marks tells every place, its kind and its number."""
        places = []
        start = b"\xf1\xe2\xd3"
        offset = self._body.find(start)
        while offset >= 0:
            number = struct.unpack_from(">I", self._body, offset + 3)[0]
            if number >= 2_000_000:
                places.append(("time", offset, number - 2_000_000))
            elif number >= 1_000_000:
                places.append(("trace", offset, number - 1_000_000))
            else:
                places.append(("span", offset, number - 1))
            offset = self._body.find(start, offset + 7)
        offset = self._body.find(TEXT_MARK)
        while offset >= 0:
            places.append(("text", offset, 0))
            offset = self._body.find(TEXT_MARK, offset + TEXT_WIDTH)
        return places


def add(attributes: object, key: str, value: str | int | bool) -> None:
    entry = attributes.add()  # type: ignore[attr-defined]
    entry.key = key
    if isinstance(value, bool):
        entry.value.bool_value = value
    elif isinstance(value, int):
        entry.value.int_value = value
    else:
        entry.value.string_value = value


def describe(span: Span, place: int) -> None:
    """What kind of span stands at this place of a trace."""
    attributes = span.attributes
    middle = 1 + len(MIDDLEWARE)
    if place == 0:
        span.name, span.kind = "POST /api/orders/", Span.SPAN_KIND_SERVER
        for key, value in (
            ("http.method", "POST"),
            ("http.target", "/api/orders/"),
            ("http.url", f"https://{HOST}/api/orders/"),
            ("http.host", HOST),
            ("http.scheme", "https"),
            ("http.route", "/api/orders/"),
            ("http.status_code", 201),
            ("http.user_agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("net.peer.ip", "10.1.2.3"),
            ("http.request.header.x_request_id", TEXT_MARK.decode()),
            ("db.query_count", len(QUERIES)),
            ("db.potential_n_plus_one", False),
            ("db.max_query_repetitions", 1),
        ):
            add(attributes, key, value)
    elif place < middle:
        name = MIDDLEWARE[place - 1]
        span.name, span.kind = f"{name}.__call__", Span.SPAN_KIND_INTERNAL
        for key, value in (
            ("nuages.kind", "middleware"),
            ("code.namespace", f"django.middleware.{name.lower()}.{name}"),
            ("code.function", "__call__"),
            ("code.filepath", "/app/venv/lib/python3.11/site-packages/django/utils/deprecation.py"),
            ("code.lineno", 120 + place),
        ):
            add(attributes, key, value)
    elif place == middle:
        span.name, span.kind = "OrderViewSet.create", Span.SPAN_KIND_INTERNAL
        for key, value in (
            ("nuages.kind", "view"),
            ("code.namespace", "orders.views.OrderViewSet"),
            ("code.function", "create"),
            ("code.filepath", "/app/orders/views.py"),
            ("code.lineno", 61),
        ):
            add(attributes, key, value)
    elif place <= middle + len(QUERIES):
        number = place - middle - 1
        label, operation, table, statement = QUERIES[number]
        span.name, span.kind = label, Span.SPAN_KIND_CLIENT
        for key, value in (
            ("db.system", "postgresql"),
            ("db.name", "orders"),
            ("db.statement", statement),
            ("db.operation", operation),
            ("db.sql.table", table),
            ("nuages.db.fingerprint", 7_446_796_884_179_441_557 + number),
            ("nuages.db.label", label),
            ("nuages.db.alias", "default"),
            ("net.peer.name", "db.example.internal"),
            ("net.peer.port", 5432),
        ):
            add(attributes, key, value)
    elif place == middle + len(QUERIES) + 1:
        span.name, span.kind = "orders/confirmation.txt", Span.SPAN_KIND_INTERNAL
        add(attributes, "nuages.kind", "template")
        add(attributes, "django.template.name", "orders/confirmation.txt")
    else:
        span.name, span.kind = "celery.apply_async: process_order", Span.SPAN_KIND_PRODUCER
        for key, value in (
            ("celery.task_name", "orders.tasks.process_order"),
            ("messaging.system", "celery"),
            ("messaging.destination", "celery"),
            ("messaging.message.id", TEXT_MARK.decode()),
        ):
            add(attributes, key, value)
