"""What an operator does: keys, erasing, backing up, checking; by the commands, on a running server and on a stopped one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from server_fixture import (  # noqa: F401
    PATIENCE,
    Server,
    make_server,
    new_id,
    nuages_server,
    otlp_request,
    server_binary,
    wait_until,
)

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def command(*words: str, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [str(server_binary()), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip() if code != 2 else done.stderr.strip()


def send(server: Server, request: Any, key: str | None = None) -> requests.Response:
    headers = dict(PROTOBUF)
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return requests.post(
        f"{server.http}/v1/traces", data=request.SerializeToString(), headers=headers, timeout=PATIENCE
    )


def marked(service: str, trace: bytes, marker: str) -> Any:
    request = otlp_request(service, trace, [new_id(8)])
    attribute = request.resource_spans[0].scope_spans[0].spans[0].attributes.add()
    attribute.key, attribute.value.string_value = "user.name", marker
    return request


def test_keys_are_made_used_and_taken_back_without_a_restart(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server()
    data = f"--data={server.data}"
    ingest = command("keys", "add", data, "--scopes=ingest", "--name=web workers")
    admin = command("keys", "add", data, "--scopes=admin")
    server.start()
    request = otlp_request("keyed", new_id(16), [new_id(8)])
    assert send(server, request).status_code == 401
    assert send(server, request, "wrong").status_code == 401
    assert send(server, request, admin).status_code == 401, "another scope"
    assert send(server, request, ingest).status_code == 200

    stub = TraceServiceStub(grpc.insecure_channel(server.grpc))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Export(request, timeout=PATIENCE)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "Authorization" in refused.value.details()
    other = otlp_request("keyed", new_id(16), [new_id(8)])
    stub.Export(other, timeout=PATIENCE, metadata=[("authorization", f"Bearer {ingest}")])

    for path in ("/api/v1/traces", "/metrics"):
        assert server.get(path).status_code == 401
        assert server.get(path, headers={"Authorization": f"Bearer {ingest}"}).status_code == 401
        assert server.get(path, auth=("me", admin)).status_code == 200
    assert server.get("/healthz").status_code == 200
    assert server.get("/readyz").status_code == 200
    evil = {"Authorization": f"Bearer {admin}", "Origin": "http://evil.example"}
    assert requests.post(f"{server.ui}/api/v1/checks", headers=evil, timeout=PATIENCE).status_code == 403

    number = next(line.split()[0] for line in command("keys", "list", data).splitlines() if "web workers" in line)
    command("keys", "revoke", data, number)
    fresh = command("keys", "add", data, "--scopes=ingest")
    wait_until(lambda: send(server, request, ingest).status_code == 401, "the revoked key is refused")
    wait_until(lambda: send(server, request, fresh).status_code == 200, "the new key is taken")
    metrics = server.get("/metrics", headers={"Authorization": f"Bearer {admin}"}).text
    assert f'nuages_key_received_spans_total{{key="{number}"}} 2' in metrics
    assert 'nuages_key_refused_requests_total{key="none",reason="key"}' in metrics


def test_keys_of_the_environment_and_listening_beyond_this_machine(
    make_server: Callable[..., Server],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("an-ingest-key-of-a-file\n")
    monkeypatch.setenv("NUAGES_INGEST_KEY_FILE", str(secret))
    monkeypatch.setenv("NUAGES_ADMIN_KEY", "an-admin-key-0123456789")
    server = make_server("--http=0.0.0.0:0").start()
    port = server.addresses["http"].rpartition(":")[2]
    server.addresses["http"] = f"127.0.0.1:{port}"
    request = otlp_request("environment", new_id(16), [new_id(8)])
    assert send(server, request).status_code == 401
    assert send(server, request, "an-ingest-key-of-a-file").status_code == 200


def test_a_key_above_its_rate_is_told_when_to_come_again(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server()
    key = command("keys", "add", f"--data={server.data}", "--scopes=ingest", "--spans-per-second=10")
    server.start()
    request = otlp_request("limited", new_id(16), [new_id(8) for _ in range(400)])
    assert send(server, request, key).status_code == 200
    refused = send(server, otlp_request("limited", new_id(16), [new_id(8)]), key)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    stub = TraceServiceStub(grpc.insecure_channel(server.grpc))
    with pytest.raises(grpc.RpcError) as error:
        stub.Export(request, timeout=PATIENCE, metadata=[("x-api-key", key)])
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert b"RetryInfo" in dict(error.value.trailing_metadata())["grpc-status-details-bin"]


@pytest.mark.parametrize("running", [True, False])
def test_erase_check_backup_and_restore(make_server: Callable[..., Server], tmp_path: Path, running: bool) -> None:  # noqa: F811
    server = make_server().start()
    kept, gone = new_id(16), new_id(16)
    for trace, marker in ((kept, "kept-marker"), (gone, "gone-marker")):
        assert send(server, marked("admin", trace, marker)).status_code == 200
    data = f"--data={server.data}"
    if not running:
        assert server.stop() == 0
    backup = tmp_path / "backup"
    command("backup", data, f"--to={backup}")
    answer = command("erase", data, "--attribute=user.name=gone-marker")
    assert str(backup) in answer
    assert ('"spans":1' if running else "erased 1 spans") in answer
    report = command("check", data)
    assert "BAD" not in report and '"good":false' not in report
    if running:
        assert server.trace_span_ids(gone) == set()
        assert len(server.trace_span_ids(kept)) == 1
        assert server.stop() == 0
    assert b"gone-marker" not in b"".join(path.read_bytes() for path in server.data.rglob("*") if path.is_file())
    restored = tmp_path / "restored"
    command("restore", f"--data={restored}", f"--from={backup}")
    assert "not empty" in command("restore", f"--data={restored}", f"--from={backup}", code=2)
    again = make_server(data=restored).start()
    assert len(again.trace_span_ids(gone)) == 1, "the backup is from before"
    assert len(again.trace_span_ids(kept)) == 1
    assert again.stop() == 0


def test_a_repeat_is_known_after_a_restart(nuages_server: Server) -> None:  # noqa: F811
    request = otlp_request("repeated", new_id(16), [new_id(8)])
    for _ in range(3):
        assert send(nuages_server, request).status_code == 200
        nuages_server.wait_stored("repeated", 1)
        nuages_server.kill()
        nuages_server.start()
    assert nuages_server.stored_spans("repeated") == 1
