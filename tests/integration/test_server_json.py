"""OTLP/JSON of the real server, zstd on both protocols, logs and metrics, gRPC health."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from typing import Any

import grpc
import pytest
import requests
import zstandard
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from server_fixture import PATIENCE, Server, make_server, new_id, otlp_request, shared_server  # noqa: F401

EXPORT = "/opentelemetry.proto.collector.{}/Export"
IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def post(server: Server, body: bytes | str, path: str = "/v1/traces", **headers: str) -> requests.Response:
    merged = {"Content-Type": "application/json"}
    merged.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.post(server.http + path, data=body, headers=merged, timeout=PATIENCE)


def otlp_json(message: Message, **options: Any) -> Any:
    """protobuf's own JSON, with OTLP's hexadecimal ids."""

    def ids(value: Any) -> Any:
        if isinstance(value, list):
            return [ids(element) for element in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64decode(inner).hex() if json_format_name(key) in IDS else ids(inner)
            for key, inner in value.items()
        }

    return ids(json_format.MessageToDict(message, **options))


def json_format_name(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)


NUMBERS = {
    FieldDescriptor.TYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1],
    FieldDescriptor.TYPE_SFIXED64: [0, 7, -(2**63)],
    FieldDescriptor.TYPE_FIXED64: [0, 1, 1_700_000_000_000_000_000, 2**63 - 1],
    FieldDescriptor.TYPE_UINT64: [0, 127, 128, 2**64 - 1],
    FieldDescriptor.TYPE_UINT32: [0, 1, 2**32 - 1],
    FieldDescriptor.TYPE_FIXED32: [0, 257, 2**32 - 1],
    FieldDescriptor.TYPE_SINT32: [0, -1, 2**31 - 1, -(2**31)],
    FieldDescriptor.TYPE_BOOL: [True, False],
    FieldDescriptor.TYPE_DOUBLE: [0.0, -0.0, 1.5, 1e300, 5e-324, 0.1, float("inf"), float("-inf"), float("nan")],
    FieldDescriptor.TYPE_STRING: ["", "n", "é \u2028 \U0001f600", '"\\/\n\t\x00\x7f', "x" * 300],
    FieldDescriptor.TYPE_BYTES: [b"", b"\xff\xef", bytes(range(256))],
}
# Newer than the field tables, or of no use in an export request.
UNKNOWN = {"string_value_strindex", "key_strindex"}


def fill(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Random content for any OTLP message; spans get good ids."""
    for field in message.DESCRIPTOR.fields:
        if field.name in UNKNOWN or chance.random() < 0.3:
            continue
        if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
            continue
        name = json_format_name(field.name)
        count = chance.randrange(3) if field.is_repeated else 1
        for _ in range(count):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                if depth > 8:
                    continue
                inner = getattr(message, field.name)
                if field.is_repeated:
                    inner = inner.add()
                else:
                    inner.SetInParent()
                fill(inner, chance, depth + 1)
                continue
            if name in IDS:
                value: Any = chance.randbytes(IDS[name] - 1) + b"\x01"
            elif field.type == FieldDescriptor.TYPE_ENUM:
                value = chance.choice(field.enum_type.values).number
            else:
                value = chance.choice(NUMBERS[field.type])
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    if message.DESCRIPTOR.name == "Span":
        message.trace_id, message.span_id = chance.randbytes(15) + b"\x01", chance.randbytes(7) + b"\x01"


def random_request(seed: int, kind: type[Message] = ExportTraceServiceRequest) -> Message:
    request = kind()
    fill(request, random.Random(seed))
    if isinstance(request, ExportTraceServiceRequest):  # at least one span, and all different
        scope = request.resource_spans.add().scope_spans.add()
        scope.spans.add(trace_id=new_id(16), span_id=new_id(8), name=f"seed {seed}")
    return request


@pytest.mark.parametrize(
    "options", [{}, {"preserving_proto_field_name": True, "use_integers_for_enums": True}], ids=["camel", "proto"]
)
def test_json_becomes_the_same_bytes_as_protobuf(shared_server: Server, options: dict[str, bool]) -> None:  # noqa: F811
    """The server recognises a repeated request by the hash of its protobuf bytes: equal bytes, or it counts no repeat."""
    for seed in range(120):
        request = random_request(seed)
        body = request.SerializeToString()
        answer = post(shared_server, body, Content_Type="application/x-protobuf")
        assert answer.status_code == 200, (seed, answer.content)
        before = shared_server.status()["received"]
        answer = post(shared_server, json.dumps(otlp_json(request, **options), ensure_ascii=seed % 2 == 0).encode())
        assert answer.status_code == 200, (seed, answer.text)
        after = shared_server.status()["received"]
        assert after["spans"] == before["spans"], f"seed {seed} was taken for a new request"
        assert after["repeated"] > before["repeated"]


def test_json_in_any_order_and_form(shared_server: Server) -> None:  # noqa: F811
    trace, span = new_id(16), new_id(8)
    text = f"""{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"events": [], "kind": 3, "unknown": {{"a": [null]}},
        "endTimeUnixNano": 1700000000000002000, "startTimeUnixNano": "1700000000000001000",
        "attributes": [{{"value": {{"intValue": 42}}, "key": "n"}}, {{"key": "d", "value": {{"doubleValue": "NaN"}}}}],
        "spanId": "{span.hex().upper()}", "traceId": "{trace.hex().upper()}", "name": "upper", "parentSpanId": ""}}]}}],
        "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "json-form"}}}}]}}}}]}}"""
    answer = post(shared_server, text, Content_Type="application/JSON; charset=utf-8")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {}
    shared_server.wait_stored("json-form", 1)
    (stored,) = shared_server.get(f"/api/v1/traces/{trace.hex()}").json()["spans"]
    assert stored["name"] == "upper" and stored["kind"] == "client" and stored["duration"] == 1000
    assert stored["attributes"] == {"n": 42, "d": {"$double": "NaN"}}


def test_answers_to_json_are_json(shared_server: Server) -> None:  # noqa: F811
    bad = otlp_request("json-partial", new_id(16), [new_id(8), new_id(8), bytes(8), b"short"])
    answer = post(shared_server, json.dumps(otlp_json(bad)))
    assert answer.json() == {
        "partialSuccess": {
            "rejectedSpans": "2",
            "errorMessage": "2 spans rejected: 2 with a span id that is not 8 bytes or is zero",
        }
    }
    deep = '{"x":' + "[" * 100_000
    for body, options, status, words in (
        ('{"resourceSpans":[{"scopeSpans":{}}]}', {}, 400, "resourceSpans[0].scopeSpans[0] (byte 32): an array must"),
        ("", {}, 400, "the text ends here"),
        (deep, {}, 400, "nested too deeply"),
        (b"\xff", {}, 400, "an object must stand here"),
        (b'{"' + b"x" * (65 << 20), {}, 413, "67108864"),
        ("{}", {"Content_Encoding": "br"}, 415, '"br" is not supported'),
        ("{}", {"path": "/nowhere"}, 404, "/nowhere"),
    ):
        answer = post(shared_server, body, **options)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["code"] in (3, 5) and words in answer.json()["message"]


@pytest.mark.parametrize("stated", [True, False])
def test_zstd(shared_server: Server, stated: bool) -> None:  # noqa: F811
    compressor = zstandard.ZstdCompressor(write_content_size=stated)
    service = f"zstd-{stated}"
    trace, spans = new_id(16), [new_id(8) for _ in range(50)]
    half = otlp_request(service, trace, spans[:25]).SerializeToString()
    answer = post(
        shared_server, compressor.compress(half), Content_Type="application/x-protobuf", Content_Encoding="zstd"
    )
    assert answer.status_code == 200
    half = otlp_request(service, trace, spans[25:]).SerializeToString()
    assert grpc_over_curl(shared_server, compressor.compress(half), "zstd").endswith("grpc-status: 0")
    shared_server.wait_stored(service, 50)
    assert shared_server.trace_span_ids(trace) == set(spans)


def test_zstd_bombs_and_damage(shared_server: Server) -> None:  # noqa: F811
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(80 << 20))
    body = otlp_request("zstd-bad", new_id(16), [new_id(8)]).SerializeToString()
    damaged = zstandard.ZstdCompressor().compress(body)[:-3]
    for data, status, code, words in (
        (bomb, 413, 8, "larger than the limit of 67108864 bytes when decompressed"),
        (damaged, 400, 3, "not valid zstd data"),
        (b"hello", 400, 3, "not valid zstd data"),
    ):
        answer = post(shared_server, data, Content_Encoding="zstd")
        assert answer.status_code == status and words in answer.json()["message"]
        told = grpc_over_curl(shared_server, data, "zstd")
        assert f"grpc-status: {code}" in told and words in told
    assert "is not supported; use gzip, deflate, zstd or none" in grpc_over_curl(shared_server, b"x", "br")
    assert post(shared_server, body, Content_Type="application/x-protobuf").status_code == 200


def grpc_over_curl(server: Server, message: bytes, encoding: str) -> str:
    """grpcio has no zstd: the frame by hand. Headers and trailers."""
    url = f"http://{server.grpc}{EXPORT.format('trace.v1.TraceService')}"
    headers = ("content-type: application/grpc", "te: trailers", f"grpc-encoding: {encoding}")
    command = ["curl", "-sS", "-i", "--max-time", "60", "--http2-prior-knowledge", "--data-binary", "@-", url]
    for header in headers:
        command += ["-H", header]
    frame = b"\x01" + len(message).to_bytes(4, "big") + message
    answer = subprocess.run(command, input=frame, capture_output=True, check=False)
    return answer.stdout.decode(errors="replace").replace("\r", "").strip()


@pytest.mark.parametrize(
    ("path", "request_type", "response_type", "count"),
    [
        ("logs", ExportLogsServiceRequest, ExportLogsServiceResponse, "rejected_log_records"),
        ("metrics", ExportMetricsServiceRequest, ExportMetricsServiceResponse, "rejected_data_points"),
    ],
)
def test_logs_and_metrics_are_counted_and_said_to_be_dropped(
    shared_server: Server,  # noqa: F811
    path: str,
    request_type: type[Message],
    response_type: type[Message],
    count: str,
) -> None:
    def counted() -> int:
        name = {"logs": "nuages_dropped_log_records_total", "metrics": "nuages_dropped_data_points_total"}[path]
        lines = shared_server.get("/metrics").text.splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + " "))

    service = {"logs": "logs.v1.LogsService", "metrics": "metrics.v1.MetricsService"}[path]
    for seed in range(30):
        request = random_request(seed, request_type)
        before = counted()
        answer = post(shared_server, json.dumps(otlp_json(request)), path=f"/v1/{path}")
        assert answer.status_code == 200, (seed, answer.text)
        by_json = json_format.ParseDict(answer.json(), response_type())
        body = request.SerializeToString()
        answer = post(shared_server, body, path=f"/v1/{path}", Content_Type="application/x-protobuf")
        by_http = response_type.FromString(answer.content)
        with grpc.insecure_channel(shared_server.grpc) as channel:
            call = channel.unary_unary(
                "/" + EXPORT.format(service).lstrip("/"), lambda data: data, response_type.FromString
            )
            by_grpc = call(body, timeout=PATIENCE)
        assert by_json == by_http == by_grpc
        items = getattr(by_grpc.partial_success, count)
        assert counted() == before + 3 * items
        assert (items == 0) == (by_grpc.partial_success.error_message == "")
        if items:
            assert (
                by_grpc.partial_success.error_message == f"no pipeline of this server takes {path}: they were dropped"
            )
    answer = post(shared_server, b"\x0a\x05", path=f"/v1/{path}", Content_Type="application/x-protobuf")
    assert answer.status_code == 400


def test_grpc_health(shared_server: Server) -> None:  # noqa: F811
    def check(service: str) -> bytes:
        body = b"\x0a" + bytes([len(service)]) + service.encode()
        call = channel.unary_unary("/grpc.health.v1.Health/Check", lambda data: data, lambda data: data)
        return bytes(call(body, timeout=PATIENCE))

    with grpc.insecure_channel(shared_server.grpc) as channel:
        for signal in ("", "trace.v1.TraceService", "logs.v1.LogsService", "metrics.v1.MetricsService"):
            assert check(signal and f"opentelemetry.proto.collector.{signal}") == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check("shop.Orders")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND and "shop.Orders" in caught.value.details()
