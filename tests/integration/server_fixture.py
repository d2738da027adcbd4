"""Runs the real nuages-server for tests: a temporary folder, free ports, stopped by its process id.

The program is $NUAGES_SERVER or the newest build/*/native/server/nuages-server; nothing is built here. Without it the tests that need it are
skipped and say so; with CI set they fail. Import the fixtures by name: `from server_fixture import nuages_server`.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds; an event that takes longer is a failure


def server_binary() -> Path:
    named = os.environ.get("NUAGES_SERVER")
    found = [Path(named)] if named else list(ROOT.glob("build/*/native/server/nuages-server"))
    found = [path for path in found if path.is_file()]
    if not found:
        message = "nuages-server is not built: run `make server`, or set NUAGES_SERVER to the program"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return max(found, key=lambda path: path.stat().st_mtime)


class Server:
    """One nuages-server process after another on the same data folder."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.arguments = arguments
        self.addresses: dict[str, str] = {}
        self.process: subprocess.Popen[str] | None = None
        self.errors: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()

    @property
    def grpc(self) -> str:
        return self.addresses["grpc"]

    @property
    def http(self) -> str:
        return f"http://{self.addresses['http']}"

    @property
    def ui(self) -> str:
        return f"http://{self.addresses['ui']}"

    def start(self, until: str = "ready") -> Server:
        """Starts the program and returns when it has printed a line that begins with `until`."""
        command = [str(server_binary()), f"--data={self.data}"]
        for option in ("--grpc", "--http", "--ui"):
            if not any(argument.startswith(option) for argument in self.arguments):
                command.append(f"{option}=127.0.0.1:0")
        self._lines = queue.Queue()
        self.process = subprocess.Popen(
            [*command, *self.arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for stream, sink in ((self.process.stdout, self._lines.put), (self.process.stderr, self.errors.append)):
            threading.Thread(target=self._read, args=(stream, sink), daemon=True).start()
        self.wait_line(until)
        return self

    def _read(self, stream: Any, sink: Callable[[Any], None]) -> None:
        for line in stream:
            sink(line.rstrip("\n"))
        if stream is not None and sink == self._lines.put:
            sink(None)

    def wait_line(self, beginning: str) -> str:
        while True:
            line = self._lines.get(timeout=PATIENCE)
            assert line is not None, f"nuages-server ended before {beginning!r}: {self.errors}"
            if line.startswith("listening "):
                _, name, address = line.split()
                self.addresses[name] = address
            if line.startswith(beginning):
                return line

    def stop(self) -> int:
        """Graceful stop; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=PATIENCE)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.ui + path, timeout=PATIENCE, **options)

    def status(self) -> dict[str, Any]:
        return dict(self.get("/api/v1/status").json())

    def stored_spans(self, service: str) -> int:
        """Rows in the store, so a span stored twice counts twice."""
        services = self.get("/api/v1/services").json()["services"]
        return sum(int(entry["span_count"]) for entry in services if entry["name"] == service)

    def trace_span_ids(self, trace_id: bytes) -> set[bytes]:
        response = self.get(f"/api/v1/traces/{trace_id.hex()}")
        if response.status_code == 404:
            return set()
        assert response.status_code == 200, response.text
        return {bytes.fromhex(span["span_id"]) for span in response.json()["spans"]}

    def wait_stored(self, service: str, count: int) -> None:
        wait_until(lambda: self.stored_spans(service) >= count, f"{count} spans of {service} in the store")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """make_server(*arguments) -> Server, not started; all are ended after the test."""
    made: list[Server] = []

    def make(*arguments: str, data: Path | None = None) -> Server:
        made.append(Server(data or tmp_path / "data", *arguments))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture
def nuages_server(make_server: Callable[..., Server]) -> Server:
    """A started server of its own."""
    return make_server().start()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One started server for all tests of a module; give each test's spans their own service name."""
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.kill()


def otlp_request(service: str, trace_id: bytes, span_ids: list[bytes], padding: int = 0) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    attribute = resource_spans.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", service
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "test"
    now = time.time_ns()
    for span_id in span_ids:
        span = scope_spans.spans.add(trace_id=trace_id, span_id=span_id, name="work", kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = now, now + 1_000_000
        if padding:
            value = span.attributes.add()
            value.key, value.value.string_value = "padding", os.urandom(padding // 2).hex()
    return request


def new_id(size: int) -> bytes:
    return os.urandom(size - 1) + b"\x01"
