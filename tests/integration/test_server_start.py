"""How the real server starts and refuses to: one line that names the thing and the fix, exit code 2, stored data untouched."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from server_fixture import (  # noqa: F401
    PATIENCE,
    ROOT,
    Server,
    make_server,
    new_id,
    nuages_server,
    otlp_request,
    server_binary,
)
from test_server_http import post

DOCUMENT = ROOT / "docs" / "server.md"
UNIT = ROOT / "deploy" / "systemd" / "nuages-server.service"


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(server_binary()), f"--data={tmp_path / 'data'}"]
    command += ["--grpc=127.0.0.1:0", "--http=127.0.0.1:0", "--ui=127.0.0.1:0", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env={**os.environ, **environment}
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    lines = [line for line in result.stderr.splitlines() if line.startswith("nuages-server: ")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]
    assert "ready" not in result.stdout


def test_unwritable_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(run(tmp_path, f"--data={tmp_path}/file/data"), f"--data={tmp_path}/file/data", "choose")


def test_read_only_data_folder() -> None:
    assert_refused(run(Path("/proc"), "--data=/proc/self"), "--data=/proc/self", "choose")


def test_store_library_missing(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "--store-library=/no/libchdb.so"), "/no/libchdb.so", "make setup")
    assert_refused(run(tmp_path, NUAGES_CHDB_LIBRARY="/none.so"), "/none.so", "make setup")
    assert not (tmp_path / "data").exists()


def test_store_library_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "libchdb.so").write_text("not a library")
    assert_refused(run(tmp_path, f"--store-library={tmp_path}/libchdb.so"), f"{tmp_path}/libchdb.so")


@pytest.mark.parametrize("option", ["--grpc", "--http", "--ui"])
def test_taken_port(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(run(tmp_path, f"{option}={address}"), f"{option}={address}", "in use", f"{option}=127.0.0.1:0")


def test_other_machines_need_a_flag(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "--http=0.0.0.0:0"), "--http=0.0.0.0:0", "--allow-remote")


def test_wrong_options(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "--grpc=4317"), "--grpc=4317", "HOST:PORT")
    assert_refused(run(tmp_path, "--grpc=example.com:1", "--allow-remote"), "example.com", "IP address")
    assert_refused(run(tmp_path, "--nonsense"), "--nonsense", "--help")


def test_every_option_is_documented() -> None:
    text = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"(?:^|,)\s*(--[a-z-]+)", text, re.M)) - {"--help"}
    table = {
        option
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| `--")
        for option in re.findall(r"`(--[a-z-]+)`", line)
    }
    assert options == table


def test_the_systemd_unit_is_sound(tmp_path: Path) -> None:
    unit = UNIT.read_text()
    program = shlex.split(next(line for line in unit.splitlines() if line.startswith("ExecStart=")).partition("=")[2])
    document = DOCUMENT.read_text()
    assert all(f"`{word.partition('=')[0]}`" in document for word in program[1:])
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(unit.replace(program[0], str(server_binary())))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert UNIT.name not in done.stderr, done.stderr  # it may complain of the machine's own units


def test_log_lines_as_json(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server("--log-format=json", "--log-level=debug")
    (server.data / "wal").mkdir(parents=True)
    (server.data / "wal" / "00000000000000000009.wal").write_bytes(
        b"no segment at all, but long enough for a header's size"
    )
    server.start()
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.errors if line]
    assert any(line["component"] == "wal" and "quarantine" in line["message"] for line in lines)
    assert all(line["level"] and line["time"] for line in lines)


def test_version(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert result.returncode == 0
    assert result.stdout.startswith("nuages-server ")


def test_a_folder_has_one_server(nuages_server: Server, tmp_path: Path) -> None:  # noqa: F811
    assert_refused(run(tmp_path), f"--data={nuages_server.data}", "another nuages-server")
    assert nuages_server.get("/healthz").text == "ok\n"


def test_stop_and_restart_keep_everything(nuages_server: Server) -> None:  # noqa: F811
    trace, spans = new_id(16), [new_id(8) for _ in range(30)]
    for span in spans:
        assert post(nuages_server, otlp_request("kept", trace, [span]).SerializeToString()).status_code == 200
    assert nuages_server.stop() == 0
    assert not list((nuages_server.data / "wal").glob("*.wal"))  # everything is in the store
    for _ in range(2):
        nuages_server.start()
        assert nuages_server.trace_span_ids(trace) == set(spans)
        assert nuages_server.stored_spans("kept") == 30
        assert nuages_server.stop() == 0
    assert not [line for line in nuages_server.errors if " error " in line]


def test_a_full_disk_fails_requests_and_nothing_else(make_server: Callable[..., Any]) -> None:  # noqa: F811
    """A limit on the size of files stands for the full disk: writes to the log fail, the rest of the server goes on."""
    server = make_server().start()
    trace, span = new_id(16), new_id(8)
    assert post(server, otlp_request("full", trace, [span]).SerializeToString()).status_code == 200
    server.wait_stored("full", 1)
    prlimit = ["prlimit", f"--pid={server.process.pid}"]
    subprocess.run([*prlimit, "--fsize=1000:unlimited"], check=True)
    for _ in range(5):
        refused = post(server, otlp_request("full", trace, [new_id(8)], padding=20_000).SerializeToString())
        assert refused.status_code == 429
        assert b"free space" in refused.content
    assert server.trace_span_ids(trace) == {span}
    subprocess.run([*prlimit, "--fsize=unlimited:unlimited"], check=True)
    later = new_id(8)
    assert post(server, otlp_request("full", trace, [later], padding=20_000).SerializeToString()).status_code == 200
    server.wait_stored("full", 2)
    assert server.stop() == 0
    server.start()
    assert server.trace_span_ids(trace) == {span, later}
