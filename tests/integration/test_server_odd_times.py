"""Requests that are valid and unlike all others: 500 days in one, clocks a century off, a trace of 200,000 spans. Each span is stored once and the next request is served."""

from __future__ import annotations

import time

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from server_fixture import PATIENCE, Server, new_id, otlp_request
from server_fixture import make_server as make_server
from server_fixture import nuages_server as nuages_server

DAY = 86_400 * 10**9
CENTURY = 36_525 * DAY


def send(server: Server, request: ExportTraceServiceRequest) -> str:
    """Returns what a partial success says."""
    response = requests.post(
        f"{server.http}/v1/traces",
        data=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=PATIENCE,
    )
    assert response.status_code == 200, response.content
    return ExportTraceServiceResponse.FromString(response.content).partial_success.error_message


def check_good_request(server: Server) -> None:
    trace_id, span_id = new_id(16), new_id(8)
    assert send(server, otlp_request("good", trace_id, [span_id])) == ""
    server.wait_stored("good", 1)
    assert server.trace_span_ids(trace_id) == {span_id}


def test_500_days_in_one_request(nuages_server: Server) -> None:
    request = otlp_request("days", new_id(16), [new_id(8) for _ in range(500)])
    spans = request.resource_spans[0].scope_spans[0].spans
    for day, span in enumerate(spans):
        span.trace_id = new_id(16)
        span.start_time_unix_nano -= day * DAY
        span.end_time_unix_nano -= day * DAY
    assert send(nuages_server, request) == ""
    nuages_server.wait_stored("days", 500)
    for span in spans[::100]:
        assert nuages_server.trace_span_ids(span.trace_id) == {span.span_id}
    check_good_request(nuages_server)


def test_clocks_a_century_off(nuages_server: Server) -> None:
    request = otlp_request("clocks", new_id(16), [new_id(8) for _ in range(5)])
    spans = request.resource_spans[0].scope_spans[0].spans
    now = time.time_ns()
    latest = 2**64 - 1
    times = [(0, 0), (1, CENTURY), (now, now + CENTURY), (now + CENTURY, now + CENTURY + 1), (latest, latest)]
    for span, (start, end) in zip(spans, times):
        span.start_time_unix_nano, span.end_time_unix_nano = start, end
    assert send(nuages_server, request) == "1 span rejected: 1 with a time beyond the year 2262"
    nuages_server.wait_stored("clocks", 4)
    assert nuages_server.trace_span_ids(spans[0].trace_id) == {span.span_id for span in spans[:4]}
    check_good_request(nuages_server)


def test_a_trace_of_200000_spans(nuages_server: Server) -> None:
    trace_id = new_id(16)
    for first in range(0, 200_000, 10_000):
        span_ids = [(first + i + 1).to_bytes(8, "big") for i in range(10_000)]
        assert send(nuages_server, otlp_request("long", trace_id, span_ids)) == ""
    nuages_server.wait_stored("long", 200_000)
    assert nuages_server.stored_spans("long") == 200_000
    answer = nuages_server.get(f"/api/v1/traces/{trace_id.hex()}")
    assert answer.status_code == 200
    assert not answer.json()["complete"]  # more than one answer holds, and it says so
    check_good_request(nuages_server)
