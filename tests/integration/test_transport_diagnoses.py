"""A wrong port, scheme or protocol: each is said in one line that names the endpoint and the fix (R16.06, R16.07)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from transport_fixture import Authority, free_port, grpc_receiver, http_receiver, send_one


@pytest.fixture(scope="module")
def authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca")).make()


def diagnose(run_python: Any, exporter: str, **environment: str) -> str:
    """The first line that a user sees when the first export fails."""
    counters, _ = send_one(run_python, exporter, flush_ms=500, **environment)
    assert counters["flushed"] is False and counters["exported"] == 0
    return str(counters["last_error"])


def test_grpc_to_an_http_receiver(run_python: Any) -> None:
    with http_receiver() as receiver:
        line = diagnose(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
    assert f"127.0.0.1:{receiver.port} speaks HTTP/1.1, not gRPC" in line
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in line


def test_http_to_a_grpc_receiver(run_python: Any) -> None:
    with grpc_receiver() as receiver:
        line = diagnose(run_python, f'Http("http://127.0.0.1:{receiver.port}/v1/traces")')
    assert f"127.0.0.1:{receiver.port} speaks gRPC, not OTLP/HTTP" in line
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in line


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
@pytest.mark.parametrize("receiver", ["grpc", "http"])
def test_plaintext_to_a_tls_receiver(run_python: Any, authority: Authority, protocol: str, receiver: str) -> None:
    receiver_of = grpc_receiver(credentials=authority.grpc_credentials())
    if receiver == "http":
        receiver_of = http_receiver(context=authority.server_context())
    with receiver_of as peer:
        line = diagnose(run_python, f"{protocol}()", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{peer.port}")
    assert "speaks TLS" in line and f"https://127.0.0.1:{peer.port}" in line


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
@pytest.mark.parametrize("receiver", ["grpc", "http"])
def test_tls_to_a_plaintext_receiver(run_python: Any, protocol: str, receiver: str) -> None:
    with grpc_receiver() if receiver == "grpc" else http_receiver() as peer:
        line = diagnose(run_python, f"{protocol}()", OTEL_EXPORTER_OTLP_ENDPOINT=f"https://127.0.0.1:{peer.port}")
    assert "http://" in line and "TLS" in line


def test_grpc_to_a_tls_receiver_that_has_no_http2(run_python: Any, authority: Authority) -> None:
    with http_receiver(context=authority.server_context()) as peer:
        line = diagnose(
            run_python,
            f'Grpc("https://127.0.0.1:{peer.port}")',
            OTEL_EXPORTER_OTLP_CERTIFICATE=authority.path("ca.pem"),
        )
    assert "gRPC" in line and "4317" in line


def test_nobody_listens(run_python: Any) -> None:
    port = free_port()
    line = diagnose(run_python, f'Grpc("http://127.0.0.1:{port}")')
    assert f"127.0.0.1:{port}" in line and "refused" in line.lower()


def test_the_name_does_not_exist(run_python: Any) -> None:
    line = diagnose(run_python, 'Grpc("http://nowhere.invalid:4317")')
    assert "nowhere.invalid" in line and "resolve" in line.lower()


def test_a_port_that_accepts_and_says_nothing(run_python: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        line = diagnose(
            run_python, f'Grpc("http://127.0.0.1:{silent.getsockname()[1]}")', OTEL_EXPORTER_OTLP_TIMEOUT="0.2"
        )
    assert "no answer" in line and "200 ms" in line


def test_a_key_that_is_refused(run_python: Any) -> None:
    import grpc

    with grpc_receiver() as receiver:
        receiver.answer = lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown key")
        line = diagnose(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
    assert "UNAUTHENTICATED: unknown key" in line and "OTEL_EXPORTER_OTLP_HEADERS" in line


def test_a_web_server_that_says_yes_to_everything(run_python: Any) -> None:
    with http_receiver() as receiver:
        receiver.answer = lambda _: (200, {"Content-Type": "text/html"}, b"<html>hello</html>")
        _, log = send_one(run_python, f'Http("http://127.0.0.1:{receiver.port}/v1/traces")')
    assert "text/html" in log and "4318" in log
