"""Fixtures for all Python tests: programs in a fresh interpreter, and an OTLP/gRPC receiver to export to."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import pytest

# Nothing of the developer's own tracing set-up may reach a test; where the programs under test are, may.
PROGRAMS = ("NUAGES_SERVER", "NUAGES_CHDB_LIBRARY", "NUAGES_OTELCOL", "NUAGES_TEST_GUIDE", "NUAGES_UPDATE_GOLDEN")
for name in list(os.environ):
    if name.startswith(("OTEL_", "NUAGES_")) and name not in PROGRAMS:
        del os.environ[name]

# Pretends that the official exporter, grpc and the instrumentation packages are not installed.
HIDE_OFFICIAL = """
from importlib.machinery import PathFinder
_find = PathFinder.find_spec
def _without_official(name, path=None, target=None):
    hidden = ("grpc", "google.rpc", "opentelemetry.exporter", "opentelemetry.instrumentation", "opentelemetry.proto")
    return None if any(name == one or name.startswith(one + ".") for one in hidden) else _find(name, path, target)
PathFinder.find_spec = _without_official
"""


_first_failures: list[Any] = []


def pytest_runtest_logreport(report: Any) -> None:
    if report.outcome == "rerun":
        _first_failures.append(report)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What passed only when it was repeated (`--reruns`, as `make check` does) is shown like a failure: it is a defect all the same."""
    for report in _first_failures:
        terminalreporter.section(f"FAILED ONCE: {report.nodeid}", sep="_", yellow=True)
        terminalreporter.line(report.longreprtext)


@pytest.fixture
def run_python(tmp_path: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_python(code, **environment): the code in a new interpreter; fails the test when it exits non-zero."""

    def run(
        code: str, *, timeout: float = 60, check: bool = True, hide_official: bool = False, **environment: str
    ) -> Any:
        script = tmp_path / "program.py"
        script.write_text((HIDE_OFFICIAL if hide_official else "") + textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
        )
        if check:
            assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@dataclass
class Received:
    request: Any
    metadata: dict[str, str]


@dataclass
class OtlpServer:
    """What an OTLP/gRPC receiver got, and how it shall answer."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    calls: int = 0
    failures: list[tuple[Any, str]] = field(default_factory=list)  # (grpc.StatusCode, detail), one for each coming call
    hold: Optional[threading.Event] = None  # set: calls wait for it before they are answered
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[Any]:
        return [
            span
            for one in list(self.received)
            for resource in one.request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans())

    def wait_for(self, count: int, timeout: float = 20) -> list[Any]:
        with self.changed:
            self.changed.wait_for(lambda: len(self.spans()) >= count, timeout)
        assert len(self.spans()) >= count, f"only {self.names()} arrived"
        return self.spans()


def start_otlp_server() -> tuple[Any, OtlpServer]:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    state = OtlpServer()

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            state.calls += 1
            if state.hold is not None:
                state.hold.wait()
            if state.failures:
                code, detail = state.failures.pop(0)
                with state.changed:
                    state.changed.notify_all()
                context.abort(code, detail)
            with state.changed:
                state.received.append(Received(request, dict(context.invocation_metadata())))
                state.changed.notify_all()
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    state.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, state


@pytest.fixture
def otlp_server() -> Iterator[OtlpServer]:
    server, state = start_otlp_server()
    yield state
    if state.hold is not None:
        state.hold.set()
    server.stop(None)
