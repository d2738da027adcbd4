"""The demo's own traces in Chromium: a real Django application, the agent, the server and the browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from test_ui import ROOT, run_in_chromium, server_program

DEMO_SECONDS = 180


class Demo:
    """tools/demo.py, ended as Ctrl-C ends it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools/demo.py")],
            env={**os.environ, "NUAGES_SERVER": str(server_program()), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self.url = ""
        self.known = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if match := re.match(r"\s*UI\s+(http://\S+)", line):
                self.url = match[1]
                self.known.set()
        self.known.set()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def demo() -> Iterator[Demo]:
    running = Demo()
    try:
        assert running.known.wait(DEMO_SECONDS), "".join(running.output)
        assert running.url, "".join(running.output)
        yield running
    finally:
        code = running.stop()
    assert code == 0, "".join(running.output)


def test_demo_in_chromium(demo: Demo) -> None:
    run_in_chromium(demo.url)
