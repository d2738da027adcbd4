"""Stands in for the package `mocket` while tools/upstream_tests.py runs: the native exporter sends from C++, where a mock of Python's sockets
does not reach, so the answers that a test registers are given by a real HTTP server on the port of their URL. Only what those tests use.
"""

from __future__ import annotations

import functools
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from urllib.parse import urlsplit


class Response:
    def __init__(self, body: str = "", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body, self.status, self.headers = body, status, headers or {}


class Request:
    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


class Mocket:
    requests: list[Request] = []
    answers: list[Any] = []
    servers: list[ThreadingHTTPServer] = []

    @classmethod
    def request_list(cls) -> list[Request]:
        return list(cls.requests)

    @classmethod
    def last_request(cls) -> Request | None:
        return cls.requests[-1] if cls.requests else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        Mocket.requests.append(Request("POST", self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        # the last answer serves every further request, as in mocket
        answer = Mocket.answers.pop(0) if len(Mocket.answers) > 1 else Mocket.answers[0]
        if isinstance(answer, Exception):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body.encode())

    def log_message(self, *arguments: Any) -> None:
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None


class Entry:
    POST = "POST"

    @classmethod
    def register(cls, method: str, url: str, *answers: Any) -> None:
        if not Mocket.servers:
            server = Server(("127.0.0.1", urlsplit(url).port or 80), Handler)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            Mocket.servers.append(server)
        Mocket.answers[:] = answers

    @classmethod
    def single_register(cls, method: str, url: str, body: str = "", status: int = 200, **options: Any) -> None:
        cls.register(method, url, Response(body, status, options.get("headers")))


class Mocketizer:
    def __enter__(self) -> Mocketizer:
        Mocket.requests, Mocket.answers = [], []
        return self

    def __exit__(self, *error: Any) -> None:
        while Mocket.servers:
            server = Mocket.servers.pop()
            server.shutdown()
            server.server_close()


def mocketize(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with Mocketizer():
            return function(*args, **kwargs)

    return wrapped
