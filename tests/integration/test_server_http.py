"""OTLP/HTTP and the UI and API port of the real server."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from typing import Callable

import pytest
import requests
from google.rpc import status_pb2
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from server_fixture import (  # noqa: F401
    PATIENCE,
    Server,
    make_server,
    new_id,
    otlp_request,
    shared_server,
    wait_until,
)

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def post(server: Server, body: bytes, path: str = "/v1/traces", **headers: str) -> requests.Response:
    merged = {**PROTOBUF, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(server.http + path, data=body, headers=merged, timeout=PATIENCE)


def problem(response: requests.Response) -> str:
    assert response.headers["Content-Type"] == "application/x-protobuf"
    return str(status_pb2.Status.FromString(response.content).message)


@pytest.mark.parametrize(
    ("encoding", "encode"), [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_spans_are_stored(shared_server: Server, encoding: str, encode: Callable[[bytes], bytes]) -> None:  # noqa: F811
    trace, spans = new_id(16), [new_id(8) for _ in range(50)]
    body = otlp_request(f"http-{encoding}", trace, spans).SerializeToString()
    response = post(shared_server, encode(body), Content_Encoding=encoding)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-protobuf"
    assert ExportTraceServiceResponse.FromString(response.content) == ExportTraceServiceResponse()
    shared_server.wait_stored(f"http-{encoding}", 50)
    assert shared_server.trace_span_ids(trace) == set(spans)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_official_exporter(shared_server: Server, compression: Compression) -> None:  # noqa: F811
    service = f"http-exporter-{compression.value}"
    exporter = OTLPSpanExporter(endpoint=f"{shared_server.http}/v1/traces", compression=compression)
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    for _ in range(20):
        with provider.get_tracer("test").start_as_current_span("root"):
            pass
    assert provider.force_flush()
    provider.shutdown()
    shared_server.wait_stored(service, 20)


def test_chunked_bodies_and_expect_continue(shared_server: Server) -> None:  # noqa: F811
    body = otlp_request("chunked", new_id(16), [new_id(8)]).SerializeToString()
    chunks = (body[at : at + 7] for at in range(0, len(body), 7))
    url = shared_server.http + "/v1/traces"
    assert requests.post(url, data=chunks, headers=PROTOBUF, timeout=PATIENCE).status_code == 200
    with raw(shared_server.addresses["http"]) as peer:
        body = otlp_request("chunked", new_id(16), [new_id(8)]).SerializeToString()
        head = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n"
        peer.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert peer.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n")
        peer.sendall(body)
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    shared_server.wait_stored("chunked", 2)


def test_partial_success(shared_server: Server) -> None:  # noqa: F811
    response = post(shared_server, otlp_request("http-partial", new_id(16), [new_id(8), bytes(8)]).SerializeToString())
    assert response.status_code == 200
    answer = ExportTraceServiceResponse.FromString(response.content)
    assert answer.partial_success.rejected_spans == 1


def test_bad_requests(shared_server: Server) -> None:  # noqa: F811
    good = otlp_request("bad", new_id(16), [new_id(8)]).SerializeToString()
    for response, status, words in (
        (post(shared_server, b"hello"), 400, "ExportTraceServiceRequest"),
        (post(shared_server, good[:-1]), 400, "malformed"),
        (post(shared_server, b"not gzip", Content_Encoding="gzip"), 400, "not valid gzip"),
        (post(shared_server, gzip.compress(good)[:-3], Content_Encoding="gzip"), 400, "not valid gzip"),
        (post(shared_server, good, Content_Encoding="br"), 415, '"br" is not supported'),
        (post(shared_server, good, Content_Type="text/plain"), 415, "text/plain"),
        (post(shared_server, b"no", path="/v1/metrics"), 400, "ExportMetricsServiceRequest"),
        (post(shared_server, good, path="/nowhere"), 404, "/nowhere"),
        (post(shared_server, bytes(65 << 20)), 413, "67108864"),
        (post(shared_server, gzip.compress(bytes(80 << 20)), Content_Encoding="gzip"), 413, "decompressed"),
        (requests.get(shared_server.http + "/v1/traces", timeout=PATIENCE), 405, "GET"),
    ):
        assert response.status_code == status, response.content
        assert words in problem(response)
    assert shared_server.stored_spans("bad") == 0
    assert post(shared_server, good).status_code == 200


def test_back_pressure_is_retryable(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--max-wal-mib=1").start()
    response = post(server, otlp_request("pressure", new_id(16), [new_id(8)] * 40, padding=60_000).SerializeToString())
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert "write-ahead log" in problem(response)


def test_only_this_machine_is_let_in(shared_server: Server) -> None:  # noqa: F811
    body = otlp_request("foreign", new_id(16), [new_id(8)]).SerializeToString()
    for header, value, named in (
        ("Host", "evil.example", "evil.example"),
        ("Origin", "https://evil.example", "evil.example"),
        ("X-Forwarded-For", "10.0.0.1", "x-forwarded-for"),
    ):
        headers = {header: value}
        response = requests.post(
            shared_server.http + "/v1/traces", data=body, headers={**PROTOBUF, **headers}, timeout=PATIENCE
        )
        assert response.status_code == 403, headers
        assert named in problem(response)
        for path in ("/api/v1/traces", "/"):
            response = shared_server.get(path, headers=headers)
            assert response.status_code == 403
            assert response.json()["error"]["code"] == "denied"
    assert shared_server.stored_spans("foreign") == 0
    assert (
        shared_server.get("/", headers={"Host": "localhost:4319", "Origin": "http://localhost:4319"}).status_code == 200
    )


def test_the_ui_port(shared_server: Server) -> None:  # noqa: F811
    page = shared_server.get("/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    plain = shared_server.get("/", headers={"Accept-Encoding": "identity"})
    assert plain.text == page.text
    if "ETag" in page.headers:  # the UI is built in
        assert shared_server.get("/traces/abc").text == page.text  # a page of the single-page application
        assert shared_server.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    missing = shared_server.get("/missing.js")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"
    assert requests.post(shared_server.ui + "/", timeout=PATIENCE).status_code == 405
    head = requests.head(shared_server.ui + "/", timeout=PATIENCE)
    assert head.status_code == 200 and head.content == b""
    assert shared_server.get("/healthz").text == "ok\n"
    assert shared_server.get("/readyz").status_code == 200
    assert requests.head(shared_server.ui + "/healthz", timeout=PATIENCE).status_code == 200
    assert shared_server.get("/api/v1/status").headers["X-Content-Type-Options"] == "nosniff"
    assert shared_server.get("/api/v1/nothing").status_code == 404
    with raw(shared_server.addresses["ui"]) as peer:
        peer.sendall(b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(peer).startswith(b"HTTP/1.1 400")
    for target in ("/%ff.js", "/api/v1/traces?name=%ff", "/api/v1/traces?%ff=1"):  # not UTF-8: never echoed
        assert shared_server.get(target).json()["error"]["code"] == "invalid"


def test_status_counts(shared_server: Server) -> None:  # noqa: F811
    before = shared_server.status()["received"]
    post(shared_server, otlp_request("counted", new_id(16), [new_id(8), new_id(8), bytes(8)]).SerializeToString())
    after = shared_server.status()["received"]
    assert after["spans"] == before["spans"] + 2
    assert after["rejected"] == before["rejected"] + 1


def raw(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def read_all(peer: socket.socket) -> bytes:
    data = b""
    while part := peer.recv(65536):
        data += part
    return data


@pytest.mark.parametrize("port", ["http", "ui"])
def test_garbage_and_slow_peers(make_server: Callable[..., Server], port: str) -> None:  # noqa: F811
    server = make_server("--peer-timeout=0.5").start()
    address = server.addresses[port]
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
    silent, half_head, half_body = raw(address), raw(address), raw(address)
    half_head.sendall(head)
    half_body.sendall(head + b"Content-Length: 100\r\n\r\nabc")
    for peer in (silent, half_head, half_body):
        assert read_all(peer) == b""  # the server hangs up, each in its time
    for garbage in (bytes(range(256)) * 4, b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 10 + b"x\r\n\r\n"):
        with raw(address) as peer:
            peer.sendall(garbage)
            assert read_all(peer).startswith(b"HTTP/1.1 400")
    with raw(address) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000)
        assert read_all(peer).startswith(b"HTTP/1.1 431")
    with raw(address) as peer:  # the connection ends inside the body
        peer.sendall(head + b"Content-Length: 100\r\n\r\nabc")
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer).startswith(b"HTTP/1.1 400")
    assert server.get("/healthz").text == "ok\n"
    assert server.stop() == 0


def refused(address: str) -> socket.socket:
    """A connection whose request was refused and answered, and that the peer keeps open."""
    peer = raw(address)
    peer.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
    assert read_all(peer).startswith(b"HTTP/1.1 413")
    return peer


def test_a_refused_peer_that_trickles_is_dropped(make_server: Callable[..., Server]) -> None:  # noqa: F811
    with refused(make_server("--peer-timeout=0.5").start().addresses["http"]) as peer:
        end = time.monotonic() + PATIENCE
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                peer.send(b"x")
                time.sleep(0.05)


def test_refused_peers_do_not_delay_the_stop(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=600", "--stop-timeout=600").start()
    with refused(server.addresses["http"]):
        assert server.stop() == 0


def test_an_unfinished_body_does_not_hold_the_stop(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=600", "--stop-timeout=600").start()
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
    with raw(server.addresses["http"]) as half_head, raw(server.addresses["http"]) as half_body:
        half_head.sendall(head)
        half_body.sendall(head + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        assert half_body.recv(100).startswith(b"HTTP/1.1 100")  # the server is reading the body
        assert server.stop() == 0  # within PATIENCE, a tenth of the timeouts


def test_metrics(shared_server: Server) -> None:  # noqa: F811
    def metrics() -> dict[str, int]:
        response = shared_server.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return {
            name: int(value)
            for name, value in (line.split() for line in response.text.splitlines() if not line.startswith("#"))
        }

    before = metrics()
    post(shared_server, otlp_request("metered", new_id(16), [new_id(8), new_id(8), bytes(8)]).SerializeToString())
    inserted = before["nuages_inserted_spans_total"] + 2
    wait_until(lambda: metrics()["nuages_inserted_spans_total"] >= inserted, "both spans are inserted")
    after = metrics()
    assert after["nuages_received_spans_total"] == before["nuages_received_spans_total"] + 2
    assert after["nuages_rejected_spans_total"] == before["nuages_rejected_spans_total"] + 1
    assert after["nuages_quarantined_blocks_total"] == 0
    assert after["nuages_disk_free_bytes"] > 0 and after["nuages_store_ready"] == 1


def test_errors_of_the_ui_port_are_json(shared_server: Server) -> None:  # noqa: F811
    response = requests.post(shared_server.ui + "/api/v1/traces", data=bytes(2 << 20), timeout=PATIENCE)
    assert response.status_code == 413
    assert json.loads(response.text)["error"]["code"] == "invalid"
