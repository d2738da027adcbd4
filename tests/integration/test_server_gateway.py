"""The collector's YAML: pipelines that forward, change, filter and debug; the queue on the disk; reload; validate."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
import requests
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from server_fixture import (  # noqa: F401
    PATIENCE,
    ROOT,
    Server,
    make_server,
    new_id,
    otlp_request,
    server_binary,
    wait_until,
)
from test_server_json import otlp_json, random_request

REQUESTS: dict[str, type[Message]] = {
    "trace.v1.TraceService": ExportTraceServiceRequest,
    "logs.v1.LogsService": ExportLogsServiceRequest,
    "metrics.v1.MetricsService": ExportMetricsServiceRequest,
}
PATHS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}


class Receiver:
    """An OTLP/gRPC receiver of all signals on a port that stays its own while it is down."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.answer: grpc.StatusCode = grpc.StatusCode.OK
        self._server: grpc.Server | None = None

    def start(self) -> Receiver:
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        for service, kind in REQUESTS.items():
            handler = grpc.unary_unary_rpc_method_handler(self._take, kind.FromString, lambda _: b"")
            name = f"opentelemetry.proto.collector.{service}"
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()
        return self

    def _take(self, request: Any, context: grpc.ServicerContext) -> bytes:
        if self.answer is not grpc.StatusCode.OK:
            context.abort(self.answer, "as the test wants it")
        self.metadata.append(dict(context.invocation_metadata()))
        self.requests.append(request)
        return b""

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait(PATIENCE)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            if isinstance(request, ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.stop()


BASE = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:0"}}, http: {{endpoint: "127.0.0.1:0"}}}}}}}}
processors:
  batch: {{timeout: 50ms, send_batch_size: 1000}}
  {processors}
exporters:
  otlp:
    endpoint: 127.0.0.1:{port}
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}
    {otlp}
  {exporters}
service:
  pipelines:
    traces: {{receivers: [otlp], processors: [{chain}], exporters: [{targets}]}}
    logs: {{receivers: [otlp], exporters: [otlp]}}
    metrics: {{receivers: [otlp], exporters: [otlp]}}
"""


@pytest.fixture
def gateway(make_server: Callable[..., Server], tmp_path: Path, receiver: Receiver) -> Callable[..., Server]:  # noqa: F811
    """gateway(**parts) -> a started Server with BASE as its configuration, in tmp_path/otel.yaml."""

    def make(until: str = "ready", **parts: str) -> Server:
        write_config(tmp_path, receiver.port, **parts)
        server = make_server(f"--config={tmp_path / 'otel.yaml'}", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0")
        return server.start(until)

    return make


def write_config(folder: Path, port: int, **parts: str) -> None:
    fields = {"processors": "", "otlp": "", "exporters": "", "chain": "", "targets": "otlp", **parts}
    (folder / "otel.yaml").write_text(BASE.format(port=port, **fields))


def send(server: Server, request: Message, path: str = "traces") -> requests.Response:
    headers = {"Content-Type": "application/x-protobuf"}
    body = request.SerializeToString()
    answer = requests.post(f"{server.http}/v1/{path}", data=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.content
    return answer


def arrived(receiver: Receiver, count: int) -> None:
    wait_until(lambda: len(receiver.spans) >= count, f"{count} spans at the receiver, now {len(receiver.spans)}")


def test_every_signal_is_forwarded_as_it_came(gateway: Callable[..., Server], receiver: Receiver) -> None:
    server = gateway()
    for path, kind in PATHS.items():
        for seed in range(15 if path == "traces" else 80):
            request = random_request(seed, kind)
            if not has_items(request):
                continue
            for body, type_ in ((request.SerializeToString(), "x-protobuf"), (json.dumps(otlp_json(request)), "json")):
                before = len(receiver.requests)
                headers = {"Content-Type": f"application/{type_}"}
                answer = requests.post(f"{server.http}/v1/{path}", data=body, headers=headers, timeout=PATIENCE)
                assert answer.status_code == 200, answer.content
                if answer.content not in (b"", b"{}"):
                    continue
                wait_until(lambda n=before: len(receiver.requests) > n, f"{path} {seed} forwarded")  # type: ignore[misc]
                assert receiver.requests[-1].SerializeToString() == request.SerializeToString()
    assert {type(request) for request in receiver.requests} == set(PATHS.values())


def has_items(request: Any) -> bool:
    def inside(message: Any) -> bool:
        names = {"spans", "log_records", "data_points"}
        return any(
            field.name in names or (field.message_type is not None and any(inside(one) for one in listed(value)))
            for field, value in message.ListFields()
        )

    def listed(value: Any) -> Any:
        return value if hasattr(value, "__len__") and not isinstance(value, (str, bytes, Message)) else [value]

    return inside(request)


def test_without_the_store_nothing_is_stored_and_it_says_so(
    gateway: Callable[..., Server], receiver: Receiver, tmp_path: Path
) -> None:
    server = gateway(until="not storing: this configuration stores nothing")
    server.wait_line("ready")
    send(server, otlp_request("gate", new_id(16), [new_id(8)]))
    arrived(receiver, 1)
    answer = server.get("/api/v1/traces")
    assert answer.status_code == 501
    assert "stores nothing: no pipeline has the exporter nuages" in answer.json()["error"]["message"]
    assert "stores nothing" in server.get("/readyz").text and server.get("/healthz").text == "ok\n"
    assert 'nuages_exporter_sent_items_total{exporter="otlp"} 1' in server.get("/metrics").text
    assert server.stop() == 0
    assert not (tmp_path / "data" / "store").exists()
    assert not list((tmp_path / "data" / "queue" / "otlp").glob("*.wal"))  # delivered: nothing comes twice


def test_store_and_forward_with_bearer_token(
    gateway: Callable[..., Server], receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    parts = {
        "otlp": "headers: {X-Tenant: shop}\n    auth: {authenticator: bearertokenauth}",
        "exporters": "nuages: {}\n  debug: {verbosity: detailed}",
        "targets": "otlp, nuages, debug",
        "chain": "batch",
    }
    write_config(tmp_path, receiver.port, **parts)
    text = (tmp_path / "otel.yaml").read_text()
    text = text.replace("service:\n", "service:\n  extensions: [bearertokenauth, health_check]\n")
    text += f"extensions:\n  bearertokenauth: {{filename: {tmp_path / 'token'}}}\n"
    text += "  health_check: {endpoint: '127.0.0.1:0'}\n"
    server = Server(tmp_path / "data", f"--config={tmp_path / 'otel.yaml'}", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0")
    (tmp_path / "otel.yaml").write_text(text)
    server.start()
    try:
        trace, spans = new_id(16), [new_id(8) for _ in range(30)]
        send(server, otlp_request("both", trace, spans))
        arrived(receiver, 30)
        server.wait_stored("both", 30)
        assert receiver.metadata[0]["authorization"] == "Bearer s3cret" and receiver.metadata[0]["x-tenant"] == "shop"
        health = requests.get(f"http://{server.addresses['health']}/", timeout=PATIENCE)
        assert health.json()["status"] == "Server available"
        assert server.stop() == 0
        assert any("debug: traces: 30 spans" in line for line in server.errors)
    finally:
        server.kill()


def test_filters_and_attributes(gateway: Callable[..., Server], receiver: Receiver) -> None:
    processors = """filter:
    traces:
      span:
        - 'attributes["http.route"] == "/health/" and kind == SPAN_KIND_SERVER'
        - 'IsMatch(name, "^GET /static/")'
        - 'resource.attributes["service.name"] == "noise" or not (status.code != STATUS_CODE_OK)'
  attributes:
    actions:
      - {key: env, value: prod, action: insert}
      - {key: secret, action: delete}
      - {key: tries, value: 3, action: upsert}
      - {key: copied, from_attribute: user, action: upsert}
      - {key: absent, value: x, action: update}"""
    server = gateway(processors=processors, chain="filter, attributes")
    request = otlp_request("kept", new_id(16), [new_id(8) for _ in range(5)])
    keep, health, static, ok, both = request.resource_spans[0].scope_spans[0].spans
    set_attributes(keep, {"secret": "s", "user": "u", "env": "mine"})
    set_attributes(health, {"http.route": "/health/"})
    static.name, ok.status.code = "GET /static/a.css", 1
    set_attributes(both, {"http.route": "/health/"})
    both.kind = 3  # not a server's
    noise = otlp_request("noise", new_id(16), [new_id(8)])
    request.MergeFrom(noise)
    answer = send(server, request)
    assert answer.content == b""  # what a filter drops is no refusal
    arrived(receiver, 2)
    got = {span.span_id: span for span in receiver.spans}
    assert set(got) == {keep.span_id, both.span_id}
    values = {item.key: item.value for item in got[keep.span_id].attributes}
    assert set(values) == {"env", "user", "tries", "copied"}
    assert values["env"].string_value == "mine" and values["copied"].string_value == "u"
    assert values["tries"].int_value == 3
    assert len(receiver.requests[0].resource_spans) == 1
    assert "nuages_filtered_spans_total 4" in server.get("/metrics").text
    bad = otlp_request("partial", new_id(16), [new_id(8), bytes(8)])
    assert b"1 span rejected" in send(server, bad).content
    arrived(receiver, 3)


def set_attributes(span: Any, values: dict[str, str]) -> None:
    for key, value in values.items():
        item = span.attributes.add()
        item.key, item.value.string_value = key, value


def test_an_outage_and_a_kill_lose_nothing(gateway: Callable[..., Server], receiver: Receiver, tmp_path: Path) -> None:
    receiver.stop()
    server = gateway(chain="batch")
    sent = []
    for _ in range(20):
        sent.append(new_id(8))
        send(server, otlp_request("outage", new_id(16), [sent[-1]]))
    server.kill()
    server.start()
    for _ in range(20):
        sent.append(new_id(8))
        send(server, otlp_request("outage", new_id(16), [sent[-1]]))
    receiver.start()
    wait_until(lambda: {span.span_id for span in receiver.spans} == set(sent), "all spans at the receiver")
    assert len(receiver.requests) < 40  # merged to batches
    assert server.stop() == 0
    assert not list((tmp_path / "data" / "queue" / "otlp").glob("*.wal"))


def test_a_full_queue_pushes_back(gateway: Callable[..., Server], receiver: Receiver) -> None:
    receiver.answer = grpc.StatusCode.UNAVAILABLE
    server = gateway(otlp="sending_queue: {queue_size: 3}")
    for _ in range(3):
        send(server, otlp_request("full", new_id(16), [new_id(8)]))
    with grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            TraceServiceStub(channel).Export(otlp_request("full", new_id(16), [new_id(8)]), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the queue of the exporter otlp is full (3 requests)" in caught.value.details()
        receiver.answer = grpc.StatusCode.OK
        arrived(receiver, 3)
        TraceServiceStub(channel).Export(otlp_request("full", new_id(16), [new_id(8)]), timeout=PATIENCE)
    arrived(receiver, 4)


def test_what_the_receiver_refuses_for_good_is_dropped_and_counted(
    gateway: Callable[..., Server], receiver: Receiver
) -> None:
    receiver.answer = grpc.StatusCode.INVALID_ARGUMENT
    server = gateway()
    send(server, otlp_request("refused", new_id(16), [new_id(8), new_id(8)]))
    line = 'nuages_exporter_dropped_items_total{exporter="otlp"} 2'
    wait_until(lambda: line in server.get("/metrics").text, "two spans counted as dropped")
    receiver.answer = grpc.StatusCode.OK
    send(server, otlp_request("refused", new_id(16), [new_id(8)]))
    arrived(receiver, 1)


def test_send_batch_max_size_and_memory_limiter(gateway: Callable[..., Server], receiver: Receiver) -> None:
    processors = "batch/small: {timeout: 10ms, send_batch_size: 10, send_batch_max_size: 40}"
    server = gateway(processors=processors, chain="batch/small")
    spans = [new_id(8) for _ in range(100)]
    send(server, otlp_request("split", new_id(16), spans))
    arrived(receiver, 100)
    assert [span.span_id for span in receiver.spans] == spans
    assert [len(r.resource_spans[0].scope_spans[0].spans) for r in receiver.requests] == [40, 40, 20]
    server.stop()


def test_the_memory_limiter_refuses(gateway: Callable[..., Server], receiver: Receiver) -> None:
    processors = "memory_limiter: {check_interval: 1s, limit_mib: 2, spike_limit_mib: 1}"
    server = gateway(processors=processors, chain="memory_limiter")
    body = otlp_request("memory", new_id(16), [new_id(8)]).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf"}
    answer = requests.post(f"{server.http}/v1/traces", data=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 429 and answer.headers["Retry-After"] and b"memory_limiter" in answer.content


def test_reload_keeps_connections(gateway: Callable[..., Server], receiver: Receiver, tmp_path: Path) -> None:
    server = gateway()
    second = Receiver().start()
    failures: list[Exception] = []
    done = threading.Event()
    sent: list[bytes] = []

    def keep_sending() -> None:
        with grpc.insecure_channel(server.grpc) as channel:
            stub = TraceServiceStub(channel)
            while not done.is_set():
                span = new_id(8)
                try:
                    stub.Export(otlp_request("reload", new_id(16), [span]), timeout=PATIENCE)
                except grpc.RpcError as error:
                    failures.append(error)
                    return
                sent.append(span)

    session = requests.Session()
    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        wait_until(lambda: len(receiver.spans) > 20, "spans arrive")
        write_config(tmp_path, second.port, chain="batch")
        reload(server)
        wait_until(lambda: len(second.spans) > 20, "spans arrive at the other receiver")
        (tmp_path / "otel.yaml").write_text("receivers: {otlp: [}")
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any("not reloaded" in line for line in server.errors), "the refusal in the log")
        before = len(second.spans)
        wait_until(lambda: len(second.spans) > before, "all goes on")
    finally:
        done.set()
        thread.join(PATIENCE)
        session.close()
    assert not failures
    wait_until(lambda: {s.span_id for s in receiver.spans + second.spans} >= set(sent), "nothing is lost")
    assert server.stop() == 0
    second.stop()


def reload(server: Server) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    server.wait_line("reloaded")


def validate(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(server_binary()), "validate", f"--config={path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **environment})


def test_validate_names_every_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("""\
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:0", nonsense: 1}
  jaeger: {}
processors:
  batch: {timeout: 5q}
  filter: {traces: {span: ['name = "x"']}}
exporters:
  otlp: {endpoint: "${env:NUAGES_TEST_NOWHERE}"}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [otlp, nuages]}
    metrics: {receivers: [otlp], processors: [filter], exporters: [otlp]}
""")
    answer = validate(path)
    assert answer.returncode == 2 and answer.stdout == ""
    lines = [line.removeprefix(f"{path}:") for line in answer.stderr.splitlines()]
    for number, words in (
        (4, "receivers::otlp::protocols::grpc::nonsense is not known; known here: endpoint"),
        (5, "unknown component 'jaeger'; known here: otlp"),
        (7, "processors::batch::timeout is '5q' but must be a duration"),
        (8, "'name = \"x\"' is wrong at character 6"),
        (10, "the environment variable NUAGES_TEST_NOWHERE is not set"),
        (13, "names 'nuages', which the section exporters does not define; defined are: otlp"),
        (14, "has filter, which filters spans only"),
    ):
        assert any(line.startswith(f"{number}: ") and words in line for line in lines), (number, words, lines)
    started = subprocess.run([str(server_binary()), f"--config={path}"], capture_output=True, text=True, timeout=60)
    assert started.returncode == 2 and "nonsense is not known" in started.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no service"),
        ("[1, 2]", "the file must be a map of keys"),
        ("a: [", "not valid YAML"),
        ("a: " + "[" * 20_000, "YAML"),
        ("receivers: {otlp: 3}", "receivers::otlp must be a map of keys"),
        ("service: {}\nservice: {}", "service is given twice"),
        ("just text", "the file must be a map of keys"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "c is not known"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    answer = validate(path)
    assert answer.returncode == 2 and words in answer.stderr


def test_the_examples_configurations(tmp_path: Path) -> None:
    for name, stores in (("otel-collector-config.yaml", False), ("nuages.yaml", True)):
        path = ROOT / "example" / "django-order-service" / name
        answer = validate(path, SCOUT_ENDPOINT="collector:4317", SCOUT_API_KEY="key")
        assert answer.returncode == 0, answer.stderr
        assert ("nothing is stored" in answer.stdout) != stores
