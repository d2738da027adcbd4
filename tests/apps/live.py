"""Real servers for bookshop.live on a Unix socket, and clients that talk to them the way browsers do, rudely where asked to."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

from client import BOOKSHOP, environment

PATIENCE = 30.0
BIN = Path(sys.executable).parent
SERVERS = {
    "uvicorn": ["-m", "uvicorn", "bookshop.live:{application}", "--uds={socket}", "--ws=wsproto", "--lifespan=off"],
    "daphne": ["-m", "daphne", "-u", "{socket}", "bookshop.live:{application}", "-v", "0"],
    "hypercorn": ["-m", "hypercorn", "--bind=unix:{socket}", "bookshop.live:{application}"],
    "gunicorn": [
        "-m",
        "gunicorn",
        "bookshop.live:{application}",
        "--bind=unix:{socket}",
        "--worker-class=uvicorn_worker.UvicornWorker",
        "--no-control-socket",
    ],
    "gunicorn wsgi": ["-m", "gunicorn", "bookshop.live:wsgi", "--bind=unix:{socket}", "--no-control-socket"],
}


class Server:
    """One server process; `answers` once it listens."""

    def __init__(self, name: str, folder: Path, endpoint: str | None, application: str = "application", **extra):
        self.socket = folder / "socket"
        self.signal = folder / "signal"
        os.mkfifo(self.signal)
        self.log = folder / "log"
        arguments = [word.format(socket=self.socket, application=application) for word in SERVERS[name]]
        traced = {"NUAGES_AUTO": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment(
                    PYTHONPATH=BOOKSHOP,
                    DJANGO_SETTINGS_MODULE="bookshop.live_settings",
                    LIVE_SIGNAL=self.signal,
                    **{"OTEL_SERVICE_NAME": name, **(traced if endpoint else {}), **extra},
                ),
            )
        self._wait()

    def _wait(self):
        import time

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def connect(self):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(PATIENCE)
        try:
            made.connect(str(self.socket))
        except OSError:
            made.close()
            raise
        return made

    def http(self):
        """An http.client connection, kept alive between requests."""
        connection = http.client.HTTPConnection("testserver")
        connection.sock = self.connect()
        return connection

    def get(self, path, **headers):
        connection = self.http()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def curl(self, path, *options):
        return subprocess.run(
            [
                "curl",
                "-sS",
                "--max-time",
                "30",
                "--unix-socket",
                str(self.socket),
                f"http://testserver{path}",
                *options,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def begin(self, path):
        """A request whose answer the caller reads, or not."""
        made = self.connect()
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: testserver\r\n\r\n".encode())
        return made

    def websocket(self, path):
        return WebSocket(self.connect(), path)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()


class WebSocket:
    def __init__(self, made, path):
        from wsproto import ConnectionType, WSConnection
        from wsproto.events import Request

        self.socket = made
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.socket.sendall(self.protocol.send(Request(host="testserver", target=path)))
        self.opening = self._event()  # AcceptConnection, or RejectConnection

    def _event(self):
        while True:
            for event in self.protocol.events():
                return event
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)

    def send(self, text):
        from wsproto.events import TextMessage

        self.socket.sendall(self.protocol.send(TextMessage(data=text)))

    def read(self):
        """The next text, or what closed the connection."""
        event = self._event()
        return getattr(event, "data", None) if hasattr(event, "data") else type(event).__name__

    def close(self, code=1000):
        from wsproto.events import CloseConnection

        self.socket.sendall(self.protocol.send(CloseConnection(code=code)))
        assert type(self._event()).__name__ == "CloseConnection"
        self.socket.close()
