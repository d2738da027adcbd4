"""Ways to a receiver: plain, TLS, mutual TLS, IPv6, Unix socket, proxy; gRPC and HTTP; what arrives is what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transport_fixture import Authority, grpc_receiver, http_receiver, proxy, send_one


@pytest.fixture(scope="module")
def authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca")).make()


def sent(report: tuple[dict[str, Any], str], receiver: Any) -> None:
    counters, log = report
    assert counters["flushed"] is True, log
    assert (counters["exported"], counters["failed"]) == (1, 0)
    assert receiver.names == ["one"]


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_http(run_python: Any, compression: str) -> None:
    with http_receiver() as receiver:
        report = send_one(
            run_python,
            "Http()",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}",
            OTEL_EXPORTER_OTLP_COMPRESSION=compression,
            OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20key,X-Tenant=a%2Cb",
        )
        sent(report, receiver)
        (headers,) = receiver.headers
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["user-agent"].startswith("OTel-OTLP-Exporter-Nuages/")
        assert (headers["authorization"], headers["x-tenant"]) == ("Bearer key", "a,b")
        assert headers.get("content-encoding", "none") == compression


def test_grpc_with_gzip_and_headers(run_python: Any) -> None:
    with grpc_receiver() as receiver:
        exporter = f'Grpc("127.0.0.1:{receiver.port}", insecure=True, headers={{"Authorization": "Bearer key"}})'
        sent(send_one(run_python, exporter, OTEL_EXPORTER_OTLP_COMPRESSION="gzip"), receiver)
        assert receiver.headers[0]["authorization"] == "Bearer key"


def test_the_protocol_variable_chooses_the_exporter(run_python: Any) -> None:
    with http_receiver() as receiver:
        run_python(
            "import nuages\nnuages.install(automatic=True, hooks='none')\nfrom opentelemetry import trace\n"
            "trace.get_tracer('x').start_span('one').end()\n",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}",
        )
        assert receiver.names == ["one"]


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
def test_tls_with_an_authority_of_ones_own(run_python: Any, authority: Authority, protocol: str) -> None:
    receiver_of = grpc_receiver(credentials=authority.grpc_credentials())
    if protocol == "Http":
        receiver_of = http_receiver(context=authority.server_context())
    with receiver_of as receiver:
        endpoint = f"https://localhost:{receiver.port}"
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": authority.path("ca.pem"),
        }
        sent(send_one(run_python, f"{protocol}()", **variables), receiver)
        # verified: without the authority nothing is sent, and the line says what to do
        counters, log = send_one(run_python, f"{protocol}()", flush_ms=300, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        assert counters["flushed"] is False and receiver.names == ["one"]
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in log


def test_the_certificate_must_be_for_the_host(run_python: Any, authority: Authority) -> None:
    with grpc_receiver(credentials=authority.grpc_credentials()) as receiver:
        counters, log = send_one(
            run_python,
            f'Grpc("https://127.0.0.2:{receiver.port}")',
            flush_ms=300,
            OTEL_EXPORTER_OTLP_CERTIFICATE=authority.path("ca.pem"),
        )
        assert counters["flushed"] is False and not receiver.names
        assert "127.0.0.2" in log


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
def test_mutual_tls(run_python: Any, authority: Authority, protocol: str) -> None:
    receiver_of = grpc_receiver(credentials=authority.grpc_credentials(mutual=True))
    if protocol == "Http":
        receiver_of = http_receiver(context=authority.server_context(mutual=True))
    with receiver_of as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{receiver.port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": authority.path("ca.pem"),
        }
        own = {
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": authority.path("client.key"),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": authority.path("client.pem"),
        }
        sent(send_one(run_python, f"{protocol}()", **variables, **own), receiver)
        counters, log = send_one(run_python, f"{protocol}()", flush_ms=300, **variables)
        assert counters["flushed"] is False
        assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" in log


def test_the_http_exporters_arguments_for_certificates(run_python: Any, authority: Authority) -> None:
    with http_receiver(context=authority.server_context(mutual=True)) as receiver:
        files = {"certificate_file": "ca.pem", "client_key_file": "client.key", "client_certificate_file": "client.pem"}
        arguments = ", ".join(f"{name}={authority.path(file)!r}" for name, file in files.items())
        sent(send_one(run_python, f'Http("https://localhost:{receiver.port}/v1/traces", {arguments})'), receiver)


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
def test_ipv6(run_python: Any, protocol: str) -> None:
    receiver_of = grpc_receiver("[::1]:0") if protocol == "Grpc" else http_receiver(("::1", 0))
    with receiver_of as receiver:
        endpoint = f"http://[::1]:{receiver.port}"
        sent(send_one(run_python, f"{protocol}()", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint), receiver)


@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
def test_unix_socket(run_python: Any, tmp_path: Path, protocol: str) -> None:
    path = str(tmp_path / "otlp.sock")
    receiver_of = grpc_receiver(f"unix:{path}") if protocol == "Grpc" else http_receiver(path)
    with receiver_of as receiver:
        sent(send_one(run_python, f"{protocol}()", OTEL_EXPORTER_OTLP_ENDPOINT=f"unix://{path}"), receiver)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("protocol", ["Grpc", "Http"])
def test_proxy(run_python: Any, authority: Authority, protocol: str, scheme: str) -> None:
    tls = scheme == "https"
    if protocol == "Grpc":
        receiver_of = grpc_receiver(credentials=authority.grpc_credentials() if tls else None)
    else:
        receiver_of = http_receiver(context=authority.server_context() if tls else None)
    with receiver_of as receiver, proxy(receiver.port, password="Basic bWU6c2VjcmV0") as between:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://collector.test:{receiver.port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": authority.path("ca.pem") if tls else "",
            f"{scheme}_proxy": f"http://me:secret@127.0.0.1:{between.port}",
        }
        sent(send_one(run_python, f"{protocol}()", **variables), receiver)
        first = "POST http://collector.test" if (protocol, scheme) == ("Http", "http") else "CONNECT collector.test"
        assert between.requests[0].startswith(first)
        # who is not to go through the proxy does not
        counters, log = send_one(run_python, f"{protocol}()", flush_ms=200, **variables, no_proxy=".test")
        assert counters["flushed"] is False and len(between.requests) == 1
        assert "collector.test" in log and "secret" not in log


def test_a_proxy_that_refuses_is_named_without_its_password(run_python: Any) -> None:
    with grpc_receiver() as receiver, proxy(receiver.port, password="Basic other") as between:
        counters, log = send_one(
            run_python,
            'Grpc("http://collector.test:4317")',
            flush_ms=300,
            https_proxy=f"http://me:secret@127.0.0.1:{between.port}",
        )
        assert counters["flushed"] is False
        assert "the proxy refused" in log and "no_proxy" in log and "secret" not in log


def test_loopback_needs_no_proxy(run_python: Any) -> None:
    with grpc_receiver() as receiver:
        variables = {"https_proxy": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
        sent(send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")', **variables), receiver)
