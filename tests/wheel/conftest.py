"""An OTLP/HTTP receiver and programs in a fresh interpreter: all that the smoke tests need besides pytest and opentelemetry-proto."""

from __future__ import annotations

import gzip
import os
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# Nothing of the machine's own tracing, TLS or proxy set-up may reach a program.
FOREIGN = (
    "OTEL_",
    "NUAGES_",
    "DJANGO_",
    "SSL_CERT_",
    "CURL_CA_",
    "REQUESTS_CA_",
    "GRPC_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)
HERE = Path(__file__).resolve().parent


class Receiver:
    """Keeps what is posted to it; with a certificate (PEM file with its key) it speaks TLS."""

    def __init__(self, certificate: str = "") -> None:
        self.requests: list[Any] = []
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                with receiver.changed:
                    receiver.requests.append(ExportTraceServiceRequest.FromString(body))
                    receiver.changed.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http{'s' * bool(certificate)}://127.0.0.1:{self.server.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> Any:
        (found,) = [span for span in self.spans() if span.name == name]
        return found

    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[0].resource_spans[0].resource)

    def tree(self) -> list[str]:
        """Names indented by depth, in order of start."""
        spans = sorted(self.spans(), key=lambda span: span.start_time_unix_nano)
        known = {span.span_id for span in spans}
        lines: list[str] = []

        def walk(parent: bytes, depth: int) -> None:
            for span in spans:
                if span.parent_span_id == parent or (depth == 0 and span.parent_span_id not in known):
                    lines.append("  " * depth + span.name)
                    walk(span.span_id, depth + 1)

        walk(b"-", 0)
        return lines

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def attributes(message: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(item) for item in value.array_value.values]
        return getattr(value, kind) if kind else None

    return {item.key: plain(item.value) for item in message.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed")
    key, pem = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    new = (openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(pem))
    subprocess.run([*new, *subject], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return str(pem)


@pytest.fixture
def tls_receiver(certificate: str) -> Iterator[Receiver]:
    made = Receiver(certificate)
    yield made
    made.close()


@pytest.fixture
def program(tmp_path: Path, receiver: Receiver) -> Callable[..., Any]:
    """program(code, **environment): the code in a new interpreter that exports to the receiver; fails when it exits other than `status`."""

    def run(
        code: str, *, status: int = 0, command: tuple[str, ...] = (), options: tuple[str, ...] = (), **environment: str
    ) -> Any:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(code))
        base = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        done = subprocess.run(
            [*command, sys.executable, *options, str(script)],
            env={
                **base,
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",
                "PYTHONPATH": str(HERE / "shop"),
                "DJANGO_SETTINGS_MODULE": "shop_settings",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=90,
            cwd=tmp_path,
        )
        assert done.returncode == status, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def pytest_collection_modifyitems(items: list[Any]) -> None:
    from nuages import _fallback

    reason = _fallback.problem()
    for item in items:
        native = "test_fallback" not in str(item.path) or item.get_closest_marker("native") is not None
        if native and reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"no native core here: {reason}"))
