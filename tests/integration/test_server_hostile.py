"""What hostile and broken peers do to the ports, over real sockets: each gets an exact error, memory stays bounded, acknowledged spans are stored, and
the next good request is served."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Callable

import hpack
import pytest
import requests
import zstandard
from server_fixture import PATIENCE, Server, make_server, new_id, otlp_request  # noqa: F401

SERVICE = "hostile"
EXPORT = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
REFUSED_STREAM, CANCEL = 7, 8
MEBIBYTE = 1 << 20


def memory(server: Server, name: str) -> int:
    """A line of /proc/PID/status in bytes: VmRSS, or VmHWM, the most it ever was."""
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:  # noqa: F811
    """A server that holds an acknowledged span before, and must hold it and a later one afterwards."""
    server = make_server("--peer-timeout=5").start()
    trace, first, second = new_id(16), new_id(8), new_id(8)
    good = {"headers": {"Content-Type": "application/x-protobuf"}, "timeout": PATIENCE}
    url = f"{server.http}/v1/traces"
    assert requests.post(url, otlp_request(SERVICE, trace, [first]).SerializeToString(), **good).status_code == 200
    yield server
    assert requests.post(url, otlp_request(SERVICE, trace, [second]).SerializeToString(), **good).status_code == 200
    with Connection(server) as connection:
        assert connection.call(1, otlp_request(SERVICE, new_id(16), [new_id(8)]).SerializeToString()) == b"0"
    server.wait_stored(SERVICE, 3)
    assert server.trace_span_ids(trace) == {first, second}
    assert server.stop() == 0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b"".join(
    header(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", EXPORT),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


def grpc_message(body: bytes) -> bytes:
    return b"\x00" + len(body).to_bytes(4, "big") + body


class Connection:
    """HTTP/2 by hand. A thread reads and counts what the server says, so that it never waits for us."""

    def __init__(self, server: Server) -> None:
        host, port = server.grpc.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.resets: list[int] = []  # error codes
        self.goaway: int | None = None
        self.headers: dict[int, bytes] = {}  # by stream, trailers too: a line each
        self._hpack = hpack.Decoder()
        self.ended: set[int] = set()
        self.closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False when the server has hung up."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def _read(self) -> None:
        data = b""
        try:
            while part := self.socket.recv(1 << 18):
                data += part
                while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                    size = int.from_bytes(data[:3], "big")
                    self._take(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size])
                    data = data[9 + size :]
        except OSError:
            pass
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        with self._changed:
            if kind == RST_STREAM:
                self.resets.append(int.from_bytes(payload, "big"))
            elif kind == GOAWAY:
                self.goaway = int.from_bytes(payload[4:8], "big")
            elif kind == HEADERS:
                self.headers[stream] = self.headers.get(stream, b"") + b"".join(
                    b"%b: %b\n" % pair for pair in self._hpack.decode(payload, raw=True)
                )
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self.ended.add(stream)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), f"not within {PATIENCE} s: {what}"

    def open(self, stream: int) -> bytes:
        return frame(HEADERS, END_HEADERS, stream, HEAD)

    def call(self, stream: int, body: bytes) -> bytes:
        """One call; its grpc-status."""
        parts = grpc_message(body)
        frames = [parts[i : i + 16384] for i in range(0, len(parts), 16384)]
        data = [frame(DATA, END_STREAM if i + 1 == len(frames) else 0, stream, part) for i, part in enumerate(frames)]
        assert self.send(self.open(stream) + b"".join(data))
        self.wait(lambda: stream in self.ended or self.closed, f"an answer on stream {stream}")
        lines = self.headers[stream].decode().splitlines()
        self.message = next((line for line in lines if line.startswith("grpc-message: ")), "")
        return next(line for line in lines if line.startswith("grpc-status: ")).split()[1].encode()


def test_10_000_streams_at_once(server: Server) -> None:
    before = memory(server, "VmRSS")
    with Connection(server) as connection:
        for first in range(0, 10_000, 500):
            assert connection.send(b"".join(connection.open(2 * i + 1) for i in range(first, first + 500)))
        connection.wait(lambda: len(connection.resets) >= 10_000 - 128, "all but 128 streams are refused")
        assert set(connection.resets) == {REFUSED_STREAM} and connection.goaway is None
        # One of the 128 that were taken goes on as if nothing had happened.
        body = grpc_message(otlp_request("others", new_id(16), [new_id(8)]).SerializeToString())
        assert connection.send(frame(DATA, END_STREAM, 1, body))
        connection.wait(lambda: 1 in connection.ended, "the first stream is answered")
        assert b"grpc-status: 0" in connection.headers[1]
    assert memory(server, "VmHWM") - before < 64 * MEBIBYTE


def test_10_000_calls_one_after_the_other_on_one_connection(server: Server) -> None:
    before = memory(server, "VmRSS")
    with Connection(server) as connection:
        empty = frame(DATA, END_STREAM, 0, grpc_message(b""))
        for first in range(0, 10_000, 100):
            streams = [2 * i + 1 for i in range(first, first + 100)]
            whole = (connection.open(s) + empty[:5] + s.to_bytes(4, "big") + empty[9:] for s in streams)
            assert connection.send(b"".join(whole))
            connection.wait(lambda: len(connection.ended) >= streams[-1] // 2 + 1, "all are answered")  # noqa: B023
        assert connection.resets == [] and connection.goaway is None
        assert all(b"grpc-status: 0" in text for text in connection.headers.values())
    assert memory(server, "VmHWM") - before < 64 * MEBIBYTE


def test_rapid_reset(server: Server) -> None:
    before = memory(server, "VmRSS")
    with Connection(server) as connection:
        cancel = CANCEL.to_bytes(4, "big")
        for first in range(0, 50_000, 500):
            pairs = (
                connection.open(2 * i + 1) + frame(RST_STREAM, 0, 2 * i + 1, cancel) for i in range(first, first + 500)
            )
            if not connection.send(b"".join(pairs)):
                break
        connection.wait(lambda: connection.closed, "the server hangs up")
        assert connection.goaway not in (None, 0)
    assert memory(server, "VmHWM") - before < 64 * MEBIBYTE


def test_lengths_of_4_gigabytes(server: Server) -> None:
    before = memory(server, "VmRSS")
    headers = {"Content-Type": "application/x-protobuf"}
    four = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 of 4294967295 bytes
    for body in (four, b"\x0a\x06" + four, b"\x0a\x08\x12\x06" + four, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
        answer = requests.post(f"{server.http}/v1/traces", body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 400 and b"not a valid" in answer.content, answer.content
        with Connection(server) as connection:
            assert connection.call(1, body) == b"3" and "not a valid" in connection.message
    with Connection(server) as connection:
        assert connection.send(connection.open(1) + frame(DATA, 0, 1, b"\x00\xff\xff\xff\xff" + bytes(100)))
        connection.wait(lambda: 1 in connection.ended, "an answer")
        assert b"grpc-status: 8" in connection.headers[1] and b"4294967295 bytes" in connection.headers[1]
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
    with connect(server) as peer:
        peer.sendall(head + b"Content-Length: 4294967296\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 413")
    with connect(server) as peer:  # says 4 GB and sends more than is allowed
        peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n" + bytes((64 << 20) + 1))
        assert peer.recv(4096).startswith(b"HTTP/1.1 413")
    assert memory(server, "VmHWM") - before < 256 * MEBIBYTE


def connect(server: Server) -> socket.socket:
    host, port = server.addresses["http"].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def test_bombs(server: Server) -> None:
    """A gigabyte of zeros in a megabyte, sixteen times at once: unpacked only up to the limit of a body, two at a time."""
    before = memory(server, "VmRSS")
    zeros = bytes(MEBIBYTE)
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    bombs = {
        "gzip": gzip.compress(zeros, 9) * 1024,
        "zstd": b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush(),
    }
    answers: list[requests.Response] = []

    def drop(encoding: str) -> None:
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": encoding}
        answers.append(requests.post(f"{server.http}/v1/traces", bombs[encoding], headers=headers, timeout=PATIENCE))

    threads = [threading.Thread(target=drop, args=(encoding,)) for encoding in bombs for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [413] * 16, [answer.content for answer in answers]
    assert all(b"larger than the limit" in answer.content for answer in answers)
    assert memory(server, "VmHWM") - before < 400 * MEBIBYTE


def test_deep_nesting(server: Server) -> None:
    before = memory(server, "VmRSS")
    value = b"\x0a\x01x"
    for _ in range(20_000):  # AnyValue{array_value{values: ...}}
        value = b"\x0a" + varint(len(value)) + value
        value = b"\x2a" + varint(len(value)) + value
    request = otlp_request("deep", new_id(16), [new_id(8), new_id(8)])
    span = request.resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    attribute = b"\x0a\x01k\x12" + varint(len(value)) + value
    span += b"\x4a" + varint(len(attribute)) + attribute
    inner = b"\x12" + varint(len(span)) + span  # ScopeSpans.spans
    resource_spans = b"\x12" + varint(len(inner)) + inner  # ResourceSpans.scope_spans
    whole = b"\x0a" + varint(len(resource_spans)) + resource_spans
    headers = {"Content-Type": "application/x-protobuf"}
    answer = requests.post(f"{server.http}/v1/traces", whole, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200 and b"1 span" in answer.content, answer.content
    deep = "[" * 100_000
    for text in ('{"resourceSpans":' + deep, '{"unknown":' + deep + "]" * 100_000 + "}"):
        answer = requests.post(
            f"{server.http}/v1/traces", text, headers={"Content-Type": "application/json"}, timeout=PATIENCE
        )
        assert answer.status_code == 400, answer.content
    assert memory(server, "VmHWM") - before < 64 * MEBIBYTE


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_an_attribute_of_10_megabytes(server: Server) -> None:
    text = "0123456789abcdef" * (10 * MEBIBYTE // 16)
    trace = new_id(16)
    request = otlp_request("large", trace, [new_id(8)])
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="large").value.string_value = text
    headers = {"Content-Type": "application/x-protobuf"}
    answer = requests.post(f"{server.http}/v1/traces", request.SerializeToString(), headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200 and answer.content == b""
    server.wait_stored("large", 1)
    spans = json.loads(server.get(f"/api/v1/traces/{trace.hex()}").text)["spans"]
    assert text in json.dumps(spans)
    assert memory(server, "VmHWM") < 900 * MEBIBYTE


def test_500_days_in_one_request(server: Server) -> None:
    request = otlp_request("days", new_id(16), [new_id(8) for _ in range(500)])
    for number, span in enumerate(request.resource_spans[0].scope_spans[0].spans):
        span.start_time_unix_nano -= number * 86_400_000_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + 1000
        span.trace_id = new_id(16)
    with Connection(server) as connection:
        assert connection.call(1, request.SerializeToString()) == b"0"
    server.wait_stored("days", 500)
    oldest = request.resource_spans[0].scope_spans[0].spans[-1]
    assert server.trace_span_ids(oldest.trace_id) == {oldest.span_id}


def test_half_open_peers_and_slowloris(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=1", "--max-connections=300").start()
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n"
    silent = [connect(server) for _ in range(100)]
    slow = [connect(server) for _ in range(100)]
    for peer in slow:
        peer.sendall(head)
    end = time.monotonic() + PATIENCE
    while slow:  # a byte of a header now and then keeps none of them alive
        assert time.monotonic() < end, f"{len(slow)} slow peers are still served"
        for peer in list(slow):
            try:
                peer.sendall(b"X")
            except OSError:
                slow.remove(peer)
        time.sleep(0.1)
    for peer in silent:
        assert peer.recv(1) == b""
    answer = requests.post(
        f"{server.http}/v1/traces",
        otlp_request(SERVICE, new_id(16), [new_id(8)]).SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200
    assert server.stop() == 0


def test_a_grpc_request_that_trickles_is_reset(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--peer-timeout=0.5").start()
    with Connection(server) as connection:
        assert connection.send(connection.open(1) + frame(DATA, 0, 1, b"\x00\x00\x10\x00\x00"))
        end = time.monotonic() + PATIENCE
        while not connection.resets:
            assert time.monotonic() < end, "a megabyte that comes byte by byte is still waited for"
            assert connection.send(frame(DATA, 0, 1, b"x"))
            time.sleep(0.05)
        assert connection.resets == [CANCEL] and connection.goaway is None
        assert connection.call(3, b"") == b"0"
    assert server.stop() == 0
