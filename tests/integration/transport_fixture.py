"""Real peers for the transport tests: an authority made by openssl, OTLP receivers over gRPC and HTTP in every kind of socket, and a proxy.

Nothing here imitates the agent; what is sent and how it is answered is all real bytes on real sockets.
"""

from __future__ import annotations

import gzip
import json
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Callable, Optional

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

PATIENCE = 30.0  # seconds; an event that takes longer is a failure

SETUP = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
import nuages
nuages.install(hooks="none")
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
def start(exporter, **options):
    global provider, processor, tracer
    provider = TracerProvider(resource=Resource.create({"service.name": "test"}))
    processor = BatchSpanProcessor(exporter, **options)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("scope")
def report(flushed=None):
    print(json.dumps({"flushed": flushed, **processor.pipeline.counters()}), flush=True)
"""


def send_one(
    run_python: Any, exporter: str, *, flush_ms: int = 20_000, **environment: str
) -> tuple[dict[str, Any], str]:
    """One span through the exporter expression; (counters and whether the flush succeeded, what was logged)."""
    done = run_python(
        SETUP + f'start({exporter})\ntracer.start_span("one").end()\nreport(processor.force_flush({flush_ms}))\n',
        **environment,
    )
    return json.loads(done.stdout), done.stderr


# ---- certificates


@dataclass
class Authority:
    """A certificate authority of its own, with a server and a client certificate signed by it."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder, timeout=60)

    def make(self) -> Authority:
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.openssl(
            "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2"
        )
        names = "DNS:localhost,DNS:collector.test,IP:127.0.0.1,IP:::1"
        for who, extension in (("server", f"subjectAltName={names}"), ("client", "extendedKeyUsage=clientAuth")):
            (self.folder / f"{who}.ext").write_text(extension)
            self.openssl("req", *new_key, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
            self.openssl(
                *("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
                *("-out", f"{who}.pem", "-days", "2", "-extfile", f"{who}.ext"),
            )
        return self

    def grpc_credentials(self, mutual: bool = False) -> grpc.ServerCredentials:
        read = lambda name: (self.folder / name).read_bytes()  # noqa: E731
        return grpc.ssl_server_credentials(
            [(read("server.key"), read("server.pem"))], read("ca.pem") if mutual else None, mutual
        )

    def server_context(self, mutual: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.pem"), self.path("server.key"))
        if mutual:
            context.load_verify_locations(self.path("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


# ---- receivers


@dataclass
class Received:
    """What arrived, by either protocol, and how the coming calls shall be answered."""

    port: int = 0
    names: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    calls: int = 0
    # for gRPC: called with (call number, context) before the answer; for HTTP: (call number) -> (status, headers, body) or None
    answer: Optional[Callable[..., Any]] = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, request: Any, headers: dict[str, str]) -> None:
        with self.changed:
            self.headers.append(headers)
            self.names += [s.name for r in request.resource_spans for c in r.scope_spans for s in c.spans]
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE), (
                f"{what} did not happen; got {self.names}, {self.calls} calls"
            )


@contextmanager
def grpc_receiver(
    address: str = "127.0.0.1:0", credentials: Optional[grpc.ServerCredentials] = None, options: Any = ()
) -> Iterator[Received]:
    state = Received()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            with state.changed:
                state.calls += 1
                state.changed.notify_all()
            response = trace_service_pb2.ExportTraceServiceResponse()
            if state.answer is not None:
                response = state.answer(state.calls, context) or response
            state.add(request, dict(context.invocation_metadata()))
            return response

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            with state.changed:
                state.metrics.append(request)
                state.changed.notify_all()
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    state.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield state
    finally:
        server.stop(None)


class _Http(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


@contextmanager
def http_receiver(
    address: Any = ("127.0.0.1", 0), context: Optional[ssl.SSLContext] = None, paths: tuple[str, ...] = ("/v1/traces",)
) -> Iterator[Received]:
    """`address`: (host, port), or a path for a Unix socket."""
    state = Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "peer"

        def log_message(self, *_: Any) -> None:
            return None

        def do_GET(self) -> None:
            self.reply(404, {}, b"not here")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with state.changed:
                state.calls += 1
                number = state.calls
                state.changed.notify_all()
            answer = state.answer(number) if state.answer is not None else None
            if answer is not None:
                return self.reply(*answer)
            if self.path == "/v1/metrics":
                with state.changed:
                    state.metrics.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(self.plain(body)))
                    state.changed.notify_all()
                return self.reply(200, {"Content-Type": "application/x-protobuf"}, b"")
            if self.path not in paths:
                return self.reply(404, {}, b"no such path")
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(self.plain(body))
            state.add(request, {key.lower(): value for key, value in self.headers.items()} | {":path": self.path})
            self.reply(200, {"Content-Type": "application/x-protobuf"}, b"")

        def plain(self, body: bytes) -> bytes:
            encoding = self.headers.get("content-encoding", "identity")
            return {"gzip": gzip.decompress, "deflate": zlib.decompress, "identity": bytes}[encoding](body)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    unix = isinstance(address, str)
    kind = type(
        "Server",
        (_Http,),
        {"address_family": socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET},
    )
    server = kind(address, Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None
    state.port = 0 if unix else server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


# ---- a proxy


@dataclass
class Proxy:
    port: int = 0
    requests: list[str] = field(default_factory=list)  # first lines
    authorization: list[str] = field(default_factory=list)


@contextmanager
def proxy(target_port: int, password: Optional[str] = None) -> Iterator[Proxy]:
    """An HTTP proxy with CONNECT and plain forwarding that takes every name to one local port, as a proxy with a resolver of its own would."""
    state = Proxy()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, sink):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                data = self.request.recv(65536)
                if not data:
                    return
                head += data
            lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
            state.requests.append(lines[0])
            given = next(
                (line.partition(":")[2].strip() for line in lines if line.lower().startswith("proxy-authorization:")),
                "",
            )
            state.authorization.append(given)
            if password is not None and given != password:
                self.request.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
            upstream = socket.create_connection(("127.0.0.1", target_port))
            if lines[0].startswith("CONNECT "):
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:  # http://name:port/path becomes /path
                method, url, version = lines[0].split(" ")
                path = "/" + url.split("/", 3)[3]
                upstream.sendall(head.replace(lines[0].encode(), f"{method} {path} {version}".encode(), 1))
            other = threading.Thread(target=pump, args=(upstream, self.request), daemon=True)
            other.start()
            pump(self.request, upstream)
            other.join()

    server = _Http(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_program(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    import os

    script = folder / "program.py"
    script.write_text(SETUP + code)
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
