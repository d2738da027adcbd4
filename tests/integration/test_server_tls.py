"""TLS on every port: gRPC, HTTP and the UI; a renewed certificate is taken without a restart; client certificates on request."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Callable

import grpc
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from server_fixture import PATIENCE, Server, make_server, new_id, otlp_request, wait_until  # noqa: F401


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=PATIENCE)


class Authority:
    """Makes certificates for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self.key = folder / "ca.key"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", "/CN=test authority", "-keyout", str(self.key), "-out", str(self.certificate)),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        key, request, made = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
        extensions = self.folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self.key)),
            *("-CAcreateserial", "-days", "1", "-extfile", str(extensions), "-out", str(made)),
        )
        return made, key


def subject(server: Server, authority: Authority, name: str) -> str:
    host, port = server.addresses[name].rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with socket.create_connection((host, int(port)), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            certificate = secure.getpeercert()
            assert certificate is not None
            return str(certificate["subject"][0][0][1])


def test_every_port_speaks_tls_and_a_renewed_certificate_is_taken(
    make_server: Callable[..., Server],  # noqa: F811
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("first")
    server = make_server(f"--tls-cert={certificate}", f"--tls-key={key}").start()
    trusted = str(authority.certificate)
    request = otlp_request("secure", new_id(16), [new_id(8) for _ in range(3000)])
    response = requests.post(
        f"https://{server.addresses['http']}/v1/traces",
        data=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
        verify=trusted,
        timeout=PATIENCE,
    )
    assert response.status_code == 200
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    stub = TraceServiceStub(grpc.secure_channel(server.grpc, credentials))
    for _ in range(3):
        stub.Export(otlp_request("secure", new_id(16), [new_id(8) for _ in range(3000)]), timeout=PATIENCE)
    with requests.Session() as session:  # kept alive, and one that the client ends
        for path in ("/api/v1/status", "/", "/api/v1/nothing"):
            session.get(f"https://{server.addresses['ui']}{path}", verify=trusted, timeout=PATIENCE)
        status = session.get(
            f"https://{server.addresses['ui']}/api/v1/status",
            verify=trusted,
            timeout=PATIENCE,
            headers={"Connection": "close"},
        )
        assert status.json()["received"]["spans"] == 12000
    for name in ("grpc", "http", "ui"):
        assert subject(server, authority, name) == "first"
    with socket.create_connection(tuple(server.addresses["ui"].split(":")), PATIENCE) as plain:  # type: ignore[arg-type]
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")

    renewed, renewed_key = authority.issue("second")
    certificate.write_text("half a certif")  # a writer that was cut off
    requests.get(f"https://{server.addresses['ui']}/healthz", verify=trusted, timeout=PATIENCE)
    renewed_key.replace(key)
    renewed.replace(certificate)
    for name in ("grpc", "http", "ui"):
        wait_until(lambda name=name: subject(server, authority, name) == "second", f"{name} has the new certificate")
    stub.Export(request, timeout=PATIENCE)
    assert server.stop() == 0


def test_client_certificates_on_request(make_server: Callable[..., Server], tmp_path: Path) -> None:  # noqa: F811
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    client, client_key = authority.issue("client")
    trusted = str(authority.certificate)
    server = make_server(f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={trusted}").start()
    url = f"https://{server.addresses['ui']}/healthz"
    assert requests.get(url, verify=trusted, cert=(str(client), str(client_key)), timeout=PATIENCE).status_code == 200
    try:
        requests.get(url, verify=trusted, timeout=PATIENCE)
    except requests.ConnectionError:
        pass
    else:
        raise AssertionError("a client without a certificate was let in")
