"""The web UI in Chromium against a real nuages-server that make_traces.py filled over OTLP/gRPC.

The server is the program named by NUAGES_SERVER, else the newest build/*/native/server/nuages-server.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROUNDS, LONG_SPANS = 12, 10_000
START_SECONDS, ARRIVE_SECONDS, RUN_SECONDS = 60, 60, 600


def missing(what: str) -> None:
    """A missing program is a failure in CI and an openly reported skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def server_program() -> Path:
    if named := os.environ.get("NUAGES_SERVER"):
        return Path(named)
    built = list(ROOT.glob("build/*/native/server/nuages-server"))
    if not built:
        missing("nuages-server is not built (make server), and NUAGES_SERVER does not name one")
    return max(built, key=lambda path: path.stat().st_mtime)


class Server:
    """nuages-server on free ports with a data folder of its own; output is kept for the report."""

    def __init__(self, program: Path, data: Path) -> None:
        listeners = [f"--{name}=127.0.0.1:0" for name in ("grpc", "http", "ui")]
        self.process = subprocess.Popen(
            [str(program), f"--data={data}", *listeners],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self.addresses: dict[str, str] = {}
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.ready.wait(START_SECONDS) or self.process.poll() is not None:
            self.stop()
            pytest.fail("nuages-server did not become ready:\n" + "".join(self.output))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            words = line.split()
            if len(words) == 3 and words[0] == "listening":
                self.addresses[words[1]] = words[2]
            elif words == ["ready"]:
                self.ready.set()
        self.ready.set()

    @property
    def url(self) -> str:
        return f"http://{self.addresses['ui']}"

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(server_program(), tmp_path_factory.mktemp("nuages"))
    yield running
    assert running.stop() == 0, "".join(running.output)


def is_served(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status == 200
    except urllib.error.HTTPError:
        return False


def send_command(server: Server, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "make_traces.py"), f"--endpoint={server.addresses['grpc']}", *arguments]


@pytest.fixture(scope="module")
def traces(server: Server) -> dict[str, list[str]]:
    command = send_command(server, f"--rounds={ROUNDS}", f"--long={LONG_SPANS}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sent: dict[str, list[str]] = json.loads(done.stdout)
    end = time.monotonic() + ARRIVE_SECONDS
    for ids in sent.values():
        for trace_id in ids:
            while not is_served(f"{server.url}/api/v1/traces/{trace_id}"):
                assert time.monotonic() < end, f"trace {trace_id} was acknowledged and is not served"
                time.sleep(0.1)
    # The list reads what has been inserted, a second after the spans can be read one by one.
    wanted = sum(len(ids) for ids in sent.values())
    while listed(server) < wanted:
        assert time.monotonic() < end, f"{listed(server)} of {wanted} entries are listed"
        time.sleep(0.1)
    return sent


def listed(server: Server) -> int:
    with urllib.request.urlopen(f"{server.url}/api/v1/traces?limit=500", timeout=10) as reply:
        return len(json.load(reply)["traces"])


def test_pages_of_the_ui_are_served_offline(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/trace/0af7651916cd43dd8448eb211c80319c", timeout=10) as reply:
        page = reply.read().decode()
    if '<div id="app">' not in page:
        missing("this nuages-server was built without the UI (npm run build in ui/, then build the server)")
    assert "http://" not in page and "https://" not in page


def run_in_chromium(url: str, script: str = "run.mjs", **variables: str) -> None:
    """Runs the script against the server at `url`."""
    node = shutil.which("node", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}")
    if not node:
        missing("node is missing (make setup)")
    if not (ROOT / "ui/node_modules/playwright-core").is_dir():
        missing("playwright-core is missing (npm ci in ui/)")
    chromium = os.environ.get("NUAGES_CHROMIUM", "/usr/bin/chromium")
    if not Path(chromium).exists():
        missing(f"{chromium} is missing (apt-get install chromium)")
    done = subprocess.run(
        [str(node), str(HERE / script)],
        env={**os.environ, "NUAGES_UI_URL": url, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def test_ui_in_chromium(server: Server, traces: dict[str, list[str]]) -> None:
    run_in_chromium(server.url, NUAGES_UI_MADE="1", NUAGES_UI_SEND=shlex.join(send_command(server)))


def test_login_in_chromium(tmp_path: Path) -> None:
    program, data, password = server_program(), tmp_path / "data", "correct horse battery"
    adding = [str(program), "users", "add", "anna", f"--data={data}"]
    subprocess.run(adding, input=password, text=True, check=True, timeout=60)
    running = Server(program, data)
    try:
        run_in_chromium(running.url, "login.mjs", NUAGES_UI_PASSWORD=password)
    finally:
        running.stop()
