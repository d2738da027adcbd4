"""The cells of the fork matrix: how each is run, and the receiver that counts what arrives.

Produced is what the processes wrote into their ledger (tests/apps/forks/ledger.py), received what an OTLP/gRPC receiver got: both as (trace id, span
name, pid of the process), compared as multisets. Processes are told apart by service.name, so cells run side by side. A server that cuts requests
off when it stops owes only the spans of those it had answered; what arrives of the others must be theirs and come once, too.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parents[1] / "apps" / "forks"
BIN = Path(sys.executable).parent
PATIENCE = 90.0  # seconds; an event that takes longer is a failure
INCIDENTAL = ("CONNECT", "urls.resolve")  # as often as Django likes: not in the ledger
NEVER = str(10 * 60 * 1000)  # milliseconds: only the end of a process, or half a queue, sends spans

Produced = tuple[str, str, int]  # trace id, name, pid


class Receiver:
    """Counts the spans of each service, repeats included."""

    def __init__(self) -> None:
        import grpc
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

        self.changed = threading.Condition(threading.RLock())
        self._spans: dict[str, list[tuple[bytes, Produced]]] = defaultdict(list)
        receiver = self

        class Service(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                receiver._take(request)
                return trace_service_pb2.ExportTraceServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _take(self, request: Any) -> None:
        with self.changed:
            for resource_spans in request.resource_spans:
                resource = {item.key: item.value for item in resource_spans.resource.attributes}
                arrived = self._spans[resource["service.name"].string_value]
                pid = resource["process.pid"].int_value
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        if span.name in INCIDENTAL:
                            continue
                        arrived.append((span.span_id, (span.trace_id.hex(), span.name, pid)))
            self.changed.notify_all()

    def of(self, service: str) -> list[tuple[bytes, Produced]]:
        with self.changed:
            return list(self._spans[service])

    def stop(self) -> None:
        self._server.stop(grace=None).wait()


@dataclass
class Result:
    produced: int = 0
    received: int = 0
    repeated: int = 0
    seconds: float = 0.0
    lost: Counter[Produced] = field(default_factory=Counter)
    unknown: Counter[Produced] = field(default_factory=Counter)
    error: str = ""

    @property
    def ok(self) -> bool:
        return not (self.error or self.lost or self.unknown or self.repeated) and self.produced > 0

    def summary(self) -> str:
        text = []
        for what, spans in (("lost", self.lost), ("not in the ledger", self.unknown)):
            by_kind = Counter((pid, name) for _, name, pid in spans.elements())
            text += [f"{what}: {count} x {name} of process {pid}" for (pid, name), count in by_kind.items()]
        return "\n".join([*text, f"repeated: {self.repeated}"])


class Run:
    """What a cell's function works with."""

    def __init__(self, name: str, folder: Path, endpoint: str) -> None:
        self.name = name
        self.folder = folder
        self.ledger = folder / "ledger"
        self.socket = folder / "socket"
        self.log = folder / "log"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "NUAGES_", "DJANGO_"))},
            "PYTHONPATH": str(APP),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "FORKS_LEDGER": str(self.ledger),
            "FORKS_QUEUE": str(folder / "queue"),
            "FORKS_INIT": "module",
            "FORKS_DELAY": NEVER,
            "OTEL_BSP_SCHEDULE_DELAY": NEVER,
            "OTEL_SERVICE_NAME": name,
            # Whoever ends before a busy machine's receiver has answered leaves the batch to the next process, and it arrives twice.
            "NUAGES_SHUTDOWN_TIMEOUT": "30",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "30",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process,otel",
        }
        self.cut_off: set[int] | None = None  # requests without an answer, of a server that does not finish them
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                ["env", "--default-signal=INT,HUP,TERM", *command],  # whoever runs pytest may have ignored them
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def python(self, *arguments: str, expect: int = 0, options: tuple[str, ...] = (), **environment: str) -> None:
        process = self.start([sys.executable, *options, *arguments], **environment)
        code = process.wait(PATIENCE)
        assert code == expect, f"exit code {code}, expected {expect}: {self.tail()}"

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def wait_logged(self, text: str, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.log.read_text(errors="replace").count(text) < count:
            assert time.monotonic() < deadline, f"not {count} times in the log: {text!r}"
            time.sleep(0.02)

    def kill_all(self) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else's processes
            except ProcessLookupError:
                pass
            process.wait()

    def produced(self) -> tuple[Counter[Produced], Counter[Produced]]:
        """What must arrive, and what may arrive besides."""
        must: Counter[Produced] = Counter()
        may: Counter[Produced] = Counter()
        for line in self.ledger.read_text().splitlines() if self.ledger.exists() else ():
            trace_id, name, pid, request = json.loads(line)
            (may if self.cut_off is not None and request in self.cut_off else must)[trace_id, name, pid] += 1
        return must, may


Work = Callable[[Run], None]


def execute(name: str, work: Work, folder: Path, receiver: Receiver) -> Result:
    begin = time.monotonic()
    folder.mkdir()
    run = Run(name, folder, receiver.url)
    error = ""
    try:
        work(run)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}\n{run.tail()}"
    deadline = time.monotonic() + (1 if error else 15)
    with receiver.changed:
        # processes that nobody waits for (multiprocessing's fork server) end a little later
        receiver.changed.wait_for(lambda: not compare(run, receiver).lost, deadline - time.monotonic())
    run.kill_all()
    result = compare(run, receiver)
    result.error = error
    result.seconds = time.monotonic() - begin
    if not result.ok and not error:
        result.error = f"{result.summary()}\n{run.tail()}"
    return result


def begins(name: str) -> bool:
    """Whether a request has such a span before its view: itself, not named after its route yet, and the middleware on the way in."""
    return name == "GET" or name.endswith("process_request")


def compare(run: Run, receiver: Receiver) -> Result:
    must, may = run.produced()
    arrived = receiver.of(run.name)
    once = Counter(dict(arrived).values())
    extra = once & may
    unknown = once - must - may
    if run.cut_off:
        # A request that was cut off before its view, which writes the ledger, has what a request has by then; so has one whose view still began in its
        # thread. There are no more such traces than requests that were cut off.
        owed = {trace_id for trace_id, _, _ in must}
        early = Counter({each: count for each, count in unknown.items() if each[0] not in owed and begins(each[1])})
        if len({trace_id for trace_id, _, _ in early}) <= len(run.cut_off) and set(early.values()) <= {1}:
            unknown -= early
    return Result(
        produced=must.total() + extra.total(),
        received=once.total(),
        repeated=len(arrived) - once.total(),
        lost=must - once,
        unknown=unknown,
    )


# ---- web servers, over Unix sockets: no port can be taken by somebody else


def http_get(path: Path, url: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(_read_all(connection).split(b" ", 2)[1])


def uwsgi_get(path: Path, url: str, script: str = "") -> int:
    """The uwsgi protocol: a 4-byte head and the CGI variables."""
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": script + url,
        "SCRIPT_NAME": script,
        "PATH_INFO": url,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "CONTENT_LENGTH": "",
    }
    body = b"".join(struct.pack("<H", len(part)) + part.encode() for pair in variables.items() for part in pair)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
        return int(_read_all(connection).split(b" ", 2)[1])


def _read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(1 << 16):
        answer += chunk
    if not answer:
        raise ConnectionResetError("the server closed the connection without an answer")
    return answer


class Clients:
    """Four threads that send requests until they are stopped; what a stopping or reloading server refuses is sent again."""

    def __init__(self, run: Run, get: Callable[[Path, str], int]) -> None:
        self._run, self._get = run, get
        self._numbers = itertools.count()
        self.asked: set[int] = set()
        self.answered: set[int] = set()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failures: list[str] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                number = next(self._numbers)
                self.asked.add(number)
            try:
                status = self._get(self._run.socket, f"/work/{number}/")
            except (OSError, IndexError, ValueError):
                self._stop.wait(0.02)
                continue
            with self._changed:
                if status == 200:
                    self.answered.add(number)
                else:
                    self._failures.append(f"status {status}")
                self._changed.notify_all()

    def wait_for(self, more: int, server: subprocess.Popen[bytes]) -> None:
        with self._changed:
            target = len(self.answered) + more
            deadline = time.monotonic() + PATIENCE
            while len(self.answered) < target:
                self._changed.wait(1)
                assert not self._failures, f"{self._failures[:3]}: {self._run.tail()}"
                assert server.poll() is None, f"the server ended: {self._run.tail()}"
                assert time.monotonic() < deadline, f"{len(self.answered)} of {target} answers: {self._run.tail()}"

    @contextmanager
    def running(self) -> Iterator[Clients]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def serve(
    run: Run,
    command: list[str],
    *,
    get: Callable[[Path, str], int] = http_get,
    requests: int = 60,
    reload: bool = False,
    stop: int = signal.SIGTERM,
    codes: tuple[int, ...] = (0,),
    finishes: bool = True,
    loaded: tuple[str, int] = ("", 0),
    **environment: str,
) -> None:
    """Requests, a reload in the middle of them, more requests, and a stop while they still come. `finishes`: what it has begun before it ends.
    `loaded`: how often its log says what when all workers have loaded the application; uWSGI interrupts them while they do."""
    server = run.start(command, **environment)
    clients = Clients(run, get)
    with clients.running():
        for round_ in range(1, 3 if reload else 2):
            run.wait_logged(loaded[0], loaded[1] * round_)
            clients.wait_for(requests, server)
            if reload and round_ == 1:
                server.send_signal(signal.SIGHUP)
        answered = set(clients.answered)
        server.send_signal(stop)
        code = server.wait(PATIENCE)
    assert code in codes, f"exit code {code}: {run.tail()}"
    if not finishes:
        run.cut_off = clients.asked - answered
    served = {json.loads(line)[3] for line in run.ledger.read_text().splitlines()}
    assert clients.answered <= served, f"not in the ledger: {clients.answered - served}"
