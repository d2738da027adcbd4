"""The data folder's disk gets full, and cannot be written: senders are told to come again, and what was acknowledged is stored once it is well again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from server_fixture import PATIENCE, Server, new_id, otlp_request, server_binary, wait_until

SERVICE = "faults"


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, timeout=PATIENCE).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)):
        pytest.skip("mounting a file system needs privileges that this process does not have")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=PATIENCE)


@pytest.fixture
def server(disk: Path) -> Iterator[Server]:
    started = Server(disk / "data").start()
    yield started
    started.kill()


class Sender:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged = 0

    def send(self, padding: int = 20_000) -> int:
        request = otlp_request(SERVICE, new_id(16), [new_id(8) for _ in range(50)], padding)
        response = requests.post(
            f"{self.server.http}/v1/traces",
            data=request.SerializeToString(),
            headers={"Content-Type": "application/x-protobuf"},
            timeout=PATIENCE,
        )
        if response.status_code == 200:
            self.acknowledged += 50
        else:
            assert response.status_code in (429, 503), response.content
            assert int(response.headers["Retry-After"]) >= 1
        return response.status_code

    def check_all_stored(self) -> None:
        wait_until(lambda: self.send(0) == 200, "requests are taken again")
        wait_until(lambda: self.server.status()["wal"]["bytes"] == 0, "nothing waits for the store")
        assert self.server.stored_spans(SERVICE) == self.acknowledged
        assert self.server.status()["store"]["quarantined_blocks"] == 0


def test_full_disk(server: Server, disk: Path) -> None:
    sender = Sender(server)
    for _ in range(200):  # 100 MB that do not compress
        if sender.send() != 200:
            break
    else:
        pytest.fail("a disk of 48 MB took 100 MB")
    for _ in range(5):
        sender.send()
    assert server.get("/healthz").status_code == 200
    assert mount("-o", "remount,size=400m", str(disk))
    sender.check_all_stored()
    assert server.stop() == 0


def test_a_log_that_cannot_be_written(server: Server) -> None:
    sender = Sender(server)
    for _ in range(3):
        assert sender.send(100) == 200
    wait_until(lambda: server.status()["wal"]["bytes"] == 0, "nothing is open for writing")
    log, away = server.data / "wal", server.data / "away"
    log.rename(away)
    assert [sender.send(100) for _ in range(3)] == [503] * 3
    assert server.get("/healthz").status_code == 200
    away.rename(log)
    sender.check_all_stored()
    assert server.stop() == 0


def test_a_read_only_disk_is_named_at_the_start(disk: Path) -> None:
    assert mount("-o", "remount,ro", str(disk))
    done = subprocess.run(
        [str(server_binary()), f"--data={disk}/data", *(f"--{name}=127.0.0.1:0" for name in ("grpc", "http", "ui"))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert f"--data={disk}/data" in done.stderr and "Read-only file system" in done.stderr
