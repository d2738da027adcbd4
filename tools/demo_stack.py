"""What the demo runs: nuages-server, and an example project under gunicorn with a Celery worker, all in one temporary folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from demo_processes import Process, ProcessSet

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "example" / "django-order-service"
LOOPBACK = "127.0.0.1"
WORKERS = 2
TASK_PROCESSES = 2


class DemoError(Exception):
    """Something the user can act upon, in one line or with the tail of a log."""


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as servers do: a port whose last connections are still closing is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def clean_environment() -> dict[str, str]:
    """The user's environment without what would change the demo."""
    prefixes = (
        "OTEL_",
        "NUAGES_",
        "DJANGO_",
        "DB_",
        "CELERY_",
        "GUNICORN_",
        "DEMO_",
        "PYTHONPATH",
        "APP_VERSION",
        "ENVIRONMENT",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    if library := os.environ.get("NUAGES_CHDB_LIBRARY"):
        kept["NUAGES_CHDB_LIBRARY"] = library
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class Server:
    """nuages-server on its usual ports, or on others when those are taken."""

    def __init__(self, processes: ProcessSet, folder: Path, say: Callable[[str], None]) -> None:
        binary = Path(os.environ.get("NUAGES_SERVER", ROOT / "build/release/native/server/nuages-server"))
        if not binary.is_file():
            raise DemoError(f"{binary} does not exist: run `make server`, or set NUAGES_SERVER to the program")
        wanted = {"grpc": 4317, "http": 4318, "ui": 4319}
        ports = {name: port if port_is_free(port) else 0 for name, port in wanted.items()}
        if taken := [str(port) for name, port in wanted.items() if not ports[name]]:
            say(f"port {', '.join(taken)} taken: using free ones")
        addresses = [f"--{name}={LOOPBACK}:{port}" for name, port in ports.items()]
        self.process = processes.start(
            "server", [str(binary), f"--data={folder / 'store'}", *addresses], clean_environment()
        )
        self.process.wait_for(r"^ready$", timeout=60)
        self.address = {name: self.process.wait_for(rf"^listening {name} (\S+)$")[0][1] for name in wanted}

    @property
    def otlp(self) -> str:
        return f"http://{self.address['grpc']}"

    @property
    def ui(self) -> str:
        return f"http://{self.address['ui']}"


@dataclass
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Project:
    """A Django project laid out like the example: `start()` migrates, seeds, and runs gunicorn and a Celery prefork worker."""

    folder: Path
    scratch: Path
    processes: ProcessSet
    otlp: str
    port: int = 0
    service: str = "django-order-service"
    worker_service: str = "django-celery-worker"
    agent: bool = True
    gunicorn_options: tuple[str, ...] = ()
    workers: int = WORKERS
    extra_environment: dict[str, str] = field(default_factory=dict)
    base: str = ""
    web: Process | None = None
    worker: Process | None = None

    def environment(self, service: str, agent: bool) -> dict[str, str]:
        return {
            **clean_environment(),
            "DB_ENGINE": "sqlite3",
            "DB_NAME": str(self.scratch / "orders.sqlite3"),
            "CELERY_BROKER_URL": "filesystem://",
            "CELERY_FILESYSTEM_FOLDER": str(self.scratch / "queue"),
            "ALLOWED_HOSTS": f"localhost,{LOOPBACK}",
            "GUNICORN_BIND": f"{LOOPBACK}:{self.port}",
            "GUNICORN_WORKERS": str(self.workers),
            "OTEL_SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp,
            "OTEL_BSP_SCHEDULE_DELAY": "500",  # milliseconds; somebody is waiting for the spans
            "NUAGES_AUTO": "1" if agent else "0",
            **({} if agent else {"OTEL_SDK_DISABLED": "true"}),
            **self.extra_environment,
        }

    def prepare(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        for command in (["migrate", "--verbosity=0"], ["seed_demo"]):
            done = subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=self.folder,
                env=self.environment(self.service, agent=False),
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode != 0:
                raise DemoError(f"manage.py {' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")

    def start_worker(self) -> None:
        # The worker first: it declares the queue, which two processes must not do at once with Celery's folder transport.
        command = ["-A", "myproject", "worker", "--pool=prefork", f"--concurrency={TASK_PROCESSES}", "--loglevel=info"]
        self.worker = self._start(f"{self.scratch.name}-celery", "celery", command, self.worker_service)
        self.worker.wait_for(r"celery@\S+ ready", timeout=60)
        self.worker.wait_for("OpenTelemetry initialized in Celery worker", timeout=60, count=TASK_PROCESSES)

    def start_web(self) -> None:
        command = ["myproject.wsgi:application", "--config", "gunicorn.conf.py", *self.gunicorn_options]
        command.append("--no-control-socket")  # it would be in the user's home
        self.web = self._start(f"{self.scratch.name}-gunicorn", "gunicorn", command, self.service)
        self.base = self.web.wait_for(r"Listening at: (http://\S+)", timeout=60)[0][1]
        self.web.wait_for(r"Worker \d+ initialized", timeout=60, count=self.workers)

    def _start(self, name: str, program: str, arguments: list[str], service: str) -> Process:
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        return self.processes.start(name, command, self.environment(service, self.agent), self.folder)

    def request(self, method: str, path: str, body: object = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=60) as response:
                return Answer(response.status, response.read())
        except HTTPError as error:
            return Answer(error.code, error.read())

    def stop(self) -> None:
        """Gracefully, so that everything recorded is sent."""
        for process in (self.web, self.worker):
            if process is not None:
                process.stop()
