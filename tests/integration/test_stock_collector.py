"""The example's otel-collector-config.yaml runs on nuages-server and, unchanged but for its ports, on a stock collector, and both forward the same.

The stock collector is $NUAGES_OTELCOL (`make test-otelcol` builds it); without it only nuages-server is tested.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from server_fixture import PATIENCE, ROOT, new_id, otlp_request, server_binary, wait_until
from test_server_gateway import Receiver, receiver  # noqa: F401

EXAMPLE = ROOT / "example" / "django-order-service" / "otel-collector-config.yaml"


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(params=["nuages-server", "otelcol"])
def collector(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Iterator[str]:  # noqa: F811
    """The OTLP/HTTP address of a collector that runs the example's configuration."""
    grpc_port, http_port, ui_port = free_ports(3)
    text = EXAMPLE.read_text()
    assert text.count("127.0.0.1:4317") == text.count("127.0.0.1:4318") == 1
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("127.0.0.1:4317", f"127.0.0.1:{grpc_port}").replace(":4318", f":{http_port}"))
    if request.param == "otelcol":
        if not os.environ.get("NUAGES_OTELCOL"):
            pytest.skip("NUAGES_OTELCOL names no collector: make test-otelcol")
        quiet = tmp_path / "quiet.yaml"  # its own metrics would have a fixed port
        quiet.write_text("service: {telemetry: {metrics: {level: none}}}\n")
        command = [os.environ["NUAGES_OTELCOL"], f"--config={config}", f"--config={quiet}"]
    else:
        command = [str(server_binary()), f"--config={config}", f"--data={tmp_path}", f"--ui=127.0.0.1:{ui_port}"]
    scout = {"SCOUT_ENDPOINT": f"127.0.0.1:{receiver.port}", "SCOUT_INSECURE": "true", "SCOUT_API_KEY": "key-of-test"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **scout}, stdout=log, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", http_port)) == 0

    try:
        wait_until(listens, f"{request.param} listens")
        yield f"http://127.0.0.1:{http_port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_the_examples_configuration_forwards_all_but_health_checks(collector: str, receiver: Receiver) -> None:  # noqa: F811
    routes = ["/orders/", "/health/", "/ready/", "", "/orders/{id}/"]
    trace = new_id(16)
    merged = ExportTraceServiceRequest()
    for route in routes:
        one = otlp_request("shop", trace, [new_id(8)])
        span = one.resource_spans[0].scope_spans[0].spans[0]
        span.name = route or "no route"
        if route:
            span.attributes.add(key="http.route").value.string_value = route
        merged.MergeFrom(one)
    headers = {"Content-Type": "application/x-protobuf"}
    answer = requests.post(f"{collector}/v1/traces", merged.SerializeToString(), headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: len(receiver.spans) >= 3, "three spans arrive")
    assert sorted(span.name for span in receiver.spans) == ["/orders/", "/orders/{id}/", "no route"]
    assert {span.trace_id for span in receiver.spans} == {trace}
    assert receiver.metadata[0]["authorization"] == "Bearer key-of-test"
