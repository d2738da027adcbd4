"""OTLP/gRPC of the real server, with the stock Python gRPC client and the official exporter."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import grpc
import pytest
import requests
from google.rpc import status_pb2
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from server_fixture import (  # noqa: F401
    PATIENCE,
    Server,
    make_server,
    new_id,
    nuages_server,
    otlp_request,
    shared_server,
)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def channel(shared_server: Server) -> Iterator[grpc.Channel]:  # noqa: F811
    with grpc.insecure_channel(shared_server.grpc) as opened:
        yield opened


def raw_call(channel: grpc.Channel, method: str, body: bytes) -> bytes:
    call = channel.unary_unary(method, request_serializer=lambda data: data, response_deserializer=lambda data: data)
    return bytes(call(body, timeout=PATIENCE))


def failure(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_spans_are_stored(shared_server: Server, channel: grpc.Channel, compression: grpc.Compression) -> None:  # noqa: F811
    trace, spans = new_id(16), [new_id(8) for _ in range(50)]
    service = f"stored-{compression.name}"
    response = TraceServiceStub(channel).Export(
        otlp_request(service, trace, spans), compression=compression, timeout=PATIENCE
    )
    assert response == ExportTraceServiceResponse()
    shared_server.wait_stored(service, 50)
    assert shared_server.trace_span_ids(trace) == set(spans)


def test_official_exporter(shared_server: Server) -> None:  # noqa: F811
    for compression in (None, grpc.Compression.Gzip):
        service = f"exporter-{compression}"
        exporter = OTLPSpanExporter(endpoint=f"http://{shared_server.grpc}", compression=compression)
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(BatchSpanProcessor(exporter))
        with provider.get_tracer("test").start_as_current_span("root", attributes={"ä": [1, 2]}) as root:
            root.add_event("event", {"k": True})
        assert provider.force_flush()
        provider.shutdown()
        shared_server.wait_stored(service, 1)
        trace = shared_server.get(f"/api/v1/traces/{root.get_span_context().trace_id:032x}").json()
        assert trace["spans"][0]["attributes"]["ä"] == [1, 2]
        assert trace["spans"][0]["events"][0]["name"] == "event"


def test_many_calls_at_once_on_one_connection(shared_server: Server, channel: grpc.Channel) -> None:  # noqa: F811
    stub, trace = TraceServiceStub(channel), new_id(16)
    bodies = [[new_id(8) for _ in range(5)] for _ in range(200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda ids: stub.Export(otlp_request("many", trace, ids), timeout=PATIENCE), bodies))
    shared_server.wait_stored("many", 1000)
    assert shared_server.stored_spans("many") == 1000
    assert shared_server.trace_span_ids(trace) == {span for ids in bodies for span in ids}


def test_a_batch_larger_than_the_flow_control_window(shared_server: Server, channel: grpc.Channel) -> None:  # noqa: F811
    trace, spans = new_id(16), [new_id(8) for _ in range(400)]
    request = otlp_request("large", trace, spans, padding=60_000)
    assert request.ByteSize() > 20_000_000
    TraceServiceStub(channel).Export(request, timeout=PATIENCE)
    shared_server.wait_stored("large", 400)


def test_bad_spans_give_partial_success(shared_server: Server, channel: grpc.Channel) -> None:  # noqa: F811
    request = otlp_request("partial", new_id(16), [new_id(8), bytes(8), b"short"])
    response = TraceServiceStub(channel).Export(request, timeout=PATIENCE)
    assert response.partial_success.rejected_spans == 2
    assert "2 with a span id" in response.partial_success.error_message
    shared_server.wait_stored("partial", 1)


def test_a_repeated_body_is_stored_once(shared_server: Server, channel: grpc.Channel) -> None:  # noqa: F811
    request = otlp_request("repeated", new_id(16), [new_id(8)])
    before = shared_server.status()["received"]["repeated"]
    for _ in range(3):
        TraceServiceStub(channel).Export(request, timeout=PATIENCE)
    shared_server.wait_stored("repeated", 1)
    assert shared_server.status()["received"]["repeated"] == before + 2
    assert shared_server.stored_spans("repeated") == 1


def test_unknown_methods(channel: grpc.Channel) -> None:
    error = failure(lambda: raw_call(channel, "/some.Service/Method", b""))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "/some.Service/Method" in error.details()


@pytest.mark.parametrize("body", [b"hello", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"{}", b"\x00"])
def test_bodies_that_are_not_protobuf(channel: grpc.Channel, body: bytes) -> None:
    error = failure(lambda: raw_call(channel, EXPORT, body))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in error.details()


def test_every_truncation_is_refused(channel: grpc.Channel) -> None:
    body = otlp_request("truncated", new_id(16), [new_id(8)]).SerializeToString()
    for size in range(1, len(body)):
        assert failure(lambda n=size: raw_call(channel, EXPORT, body[:n])).code() == grpc.StatusCode.INVALID_ARGUMENT


def test_oversized_messages(shared_server: Server, channel: grpc.Channel) -> None:  # noqa: F811
    error = failure(lambda: raw_call(channel, EXPORT, bytes(65 << 20)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "67108864" in error.details()
    # Not retryable: a message that is too large stays too large.
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == 8 and not status.details
    bomb = otlp_request("bomb", new_id(16), [new_id(8)])
    bomb.resource_spans[0].scope_spans[0].spans[0].name = "x" * (80 << 20)
    error = failure(lambda: TraceServiceStub(channel).Export(bomb, compression=grpc.Compression.Gzip, timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "decompressed" in error.details()
    assert raw_call(channel, EXPORT, b"") == b""  # the connection goes on


def test_health_check(channel: grpc.Channel) -> None:
    assert raw_call(channel, "/grpc.health.v1.Health/Check", b"") == b"\x08\x01"


def curl(*arguments: str) -> str:
    command = ["curl", "-sS", "-i", "--max-time", "20", "--http2-prior-knowledge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_wrong_content_type(shared_server: Server) -> None:  # noqa: F811
    url = f"http://{shared_server.grpc}{EXPORT}"
    answer = curl("-H", "content-type: application/json", "-d", "{}", url)
    assert answer.startswith("HTTP/2 415")
    assert "grpc-status: 3" in answer
    assert 'content-type "application/json" is not application/grpc' in answer
    assert curl(url).startswith("HTTP/2 405")


def test_unknown_encoding(shared_server: Server) -> None:  # noqa: F811
    url = f"http://{shared_server.grpc}{EXPORT}"
    answer = curl("-H", "content-type: application/grpc", "-H", "grpc-encoding: snappy", "--data-binary", "@-", url)
    assert "grpc-status: 3" in answer  # an empty body has no message
    assert "ended inside its message" in answer


def test_http1_on_the_grpc_port_is_told_where_to_go(shared_server: Server) -> None:  # noqa: F811
    response = requests.post(f"http://{shared_server.grpc}/v1/traces", data=b"x", timeout=PATIENCE)
    assert response.status_code == 400
    assert shared_server.http in response.text


def connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def test_garbage_and_half_open_connections(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=0.5").start()
    silent = connect(server.grpc)
    preface_only = connect(server.grpc)
    preface_only.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    garbage = connect(server.grpc)
    garbage.sendall(bytes(range(256)) * 20)
    # Settings, then a request that never ends: headers of a POST, no data.
    unfinished = connect(server.grpc)
    unfinished.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
    for peer in (silent, preface_only, garbage, unfinished):
        while peer.recv(65536):  # the server ends each of them
            pass
        peer.close()
    with grpc.insecure_channel(server.grpc) as channel:
        assert raw_call(channel, EXPORT, b"") == b""
    assert server.stop() == 0


def test_back_pressure_is_retryable(make_server: Callable[..., Server]) -> None:  # noqa: F811
    # Random text does not compress, so this request alone would pass the limit of the log.
    server = make_server("--max-wal-mib=1").start()
    request = otlp_request("pressure", new_id(16), [new_id(8) for _ in range(40)], padding=60_000)
    with grpc.insecure_channel(server.grpc) as channel:
        error = failure(lambda: TraceServiceStub(channel).Export(request, timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert [detail.type_url for detail in status.details] == ["type.googleapis.com/google.rpc.RetryInfo"]
        TraceServiceStub(channel).Export(otlp_request("pressure", new_id(16), [new_id(8)]), timeout=PATIENCE)


def test_an_unfinished_request_does_not_hold_the_stop(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=600", "--stop-timeout=600").start()
    begun = threading.Event()

    def never_ending() -> Iterator[bytes]:
        begun.set()
        ended.wait()
        yield b""

    ended = threading.Event()
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.stream_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        waiting = call.future(never_ending(), timeout=PATIENCE)
        assert begun.wait(PATIENCE)
        assert server.stop() == 0
        assert waiting.exception() is not None
        ended.set()


def test_stop_lets_running_calls_end(nuages_server: Server) -> None:  # noqa: F811
    """Clients that send all the time while the server stops: each call is acknowledged and stored, or fails."""
    trace, acknowledged, first = new_id(16), [], threading.Event()

    def send() -> None:
        with grpc.insecure_channel(nuages_server.grpc) as channel:
            stub = TraceServiceStub(channel)
            while True:
                span = new_id(8)
                try:
                    stub.Export(otlp_request("stop", trace, [span]), timeout=PATIENCE)
                except grpc.RpcError:
                    return
                acknowledged.append(span)
                if len(acknowledged) > 100:
                    first.set()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert first.wait(PATIENCE)
    assert nuages_server.stop() == 0
    for thread in threads:
        thread.join(PATIENCE)
    assert not list((nuages_server.data / "wal").glob("*.wal"))
    nuages_server.start()
    stored = nuages_server.trace_span_ids(trace)
    assert set(acknowledged) <= stored
    assert nuages_server.stored_spans("stop") == len(stored)
