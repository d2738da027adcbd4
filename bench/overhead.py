"""What tracing costs a Django request: untraced, nuages, nuages at 10 %, the official OpenTelemetry packages, ddtrace; interleaved, in one run.

Each variant is the example application under gunicorn with one sync worker and a PostgreSQL database of its own (`--database sqlite3`: a file);
all send to one nuages-server, ddtrace to a program that answers like its agent and throws everything away. For each route, rounds of requests go
to the variants in turn. A variant's CPU in a round is what its worker process used from the start of its turn to the start of its next one, so that
what the exporter thread does after the requests is counted. "untraced again" is a second untraced process: the difference to the first is the noise
of the measurement. The 95 % interval is that of the median (order statistics).

The workers run on one core; this client, the database and the server on another, when there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import common
from common import BenchError, Server, cpu_seconds, median, median_interval, percentile, spread, table
from postgres import Postgres

EXAMPLE = common.ROOT / "example" / "django-order-service"
EXPORT_DELAY_MS = 1000
APP_CORE = 0
PACKAGES = (
    "Django",
    "djangorestframework",
    "celery",
    "gunicorn",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-instrumentation-django",
    "ddtrace",
)


@dataclass(frozen=True)
class Route:
    name: str
    method: str
    path: str
    status: int
    body: dict[str, str] | None = None

    def message(self) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        head = f"{self.method} {self.path} HTTP/1.0\r\nHost: localhost\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


ROUTES = (
    Route("trivial: no query, JSON", "GET", "/health/", 200),
    Route("detail: 1 query, JSON", "GET", "/orders/7/", 200),
    Route("list: 1 query with JOIN, 25 rows, JSON", "GET", "/orders/", 200),
    Route("page: 1 query, 25 rows, template", "GET", "/orders/html/", 200),
    Route("DRF list: 3 queries, 25 rows", "GET", "/api/orders/", 200),
    Route("26 queries, JSON", "GET", "/orders/with-users/", 200),
    Route(
        "create: DRF, INSERT, Celery task sent",
        "POST",
        "/api/orders/",
        201,
        {"product_name": "Turbine", "amount": "1499.00"},
    ),
)


@dataclass
class Variant:
    name: str
    application: str
    environment: dict[str, str]
    launcher: tuple[str, ...] = ()  # a program of the environment that starts gunicorn
    port: int = 0
    worker: int = 0
    marks: list[float] = field(default_factory=list)  # the worker's CPU clock at the start of each turn, and at the end
    latencies: list[float] = field(default_factory=list)

    @property
    def service(self) -> str:
        return "bench-" + "-".join(self.name.replace("%", "percent").split())

    def cpu_per_request(self, requests: int) -> list[float]:
        return [(after - before) / requests for before, after in zip(self.marks, self.marks[1:])]


def variants(sink: str) -> list[Variant]:
    traced = "myproject.wsgi:application"
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    return [
        Variant("untraced", "untraced_wsgi:application", {}),
        Variant("nuages", traced, {"NUAGES_AUTO": "1"}),
        Variant("nuages at 10 %", traced, {"NUAGES_AUTO": "1", **tenth}),
        Variant("nuages like official", traced, {"NUAGES_AUTO": "1", "NUAGES_HOOKS": "request,orm,celery"}),
        Variant("official", traced, {}),
        Variant(
            "ddtrace", "untraced_wsgi:application", {"DD_TRACE_AGENT_URL": f"http://{sink}", **quiet}, ("ddtrace-run",)
        ),
        Variant("untraced again", "untraced_wsgi:application", {}),
    ]


def start(
    variant: Variant,
    python: Path,
    folder: Path,
    processes: common.ProcessSet,
    server: Server,
    postgres: Postgres | None = None,
) -> None:
    own = folder / variant.service
    own.mkdir()
    environment = {
        **common.clean_environment(),
        "PYTHONPATH": str(common.ROOT / "bench"),
        "PYTHONUNBUFFERED": "1",
        **({"DB_ENGINE": "sqlite3", "DB_NAME": str(own / "orders.sqlite3")} if postgres is None else {}),
        **(postgres.database(variant.service.replace("-", "_")) if postgres is not None else {}),
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_FILESYSTEM_FOLDER": str(own / "queue"),
        "OTEL_SERVICE_NAME": variant.service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{server.grpc}",
        "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_DELAY_MS),
    }
    for command in (["migrate", "--verbosity=0"], ["seed_demo", "--orders=25"]):
        common.run([str(python), "manage.py", *command], cwd=EXAMPLE, env=environment)
    with socket.socket() as probe:
        probe.bind((common.LOOPBACK, 0))
        variant.port = probe.getsockname()[1]
    command = [
        *(str(python.with_name(program)) for program in (*variant.launcher, "gunicorn")),
        variant.application,
        f"--config={common.ROOT / 'bench' / 'gunicorn_conf.py'}",
        f"--bind={common.LOOPBACK}:{variant.port}",
    ]
    process = processes.start(
        variant.service,
        common.pinned(command, APP_CORE if len(os.sched_getaffinity(0)) > 1 else None),
        {**environment, **variant.environment},
        EXAMPLE,
    )
    variant.worker = int(process.wait_for(r"worker (\d+) is up", timeout=60)[0][1])


def request(port: int, message: bytes, status: int) -> float:
    """One request on a connection of its own, as a sync worker wants it. Returns the seconds until the answer was complete."""
    begin = time.perf_counter()
    with socket.create_connection((common.LOOPBACK, port), timeout=30) as connection:
        connection.sendall(message)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    end = time.perf_counter()
    line = answer.split(b"\r\n", 1)[0].split()
    if len(line) < 2 or int(line[1]) != status:
        raise BenchError(f"expected status {status}, got {answer[:300]!r}")
    return end - begin


def measure(route: Route, all_variants: list[Variant], rounds: int, requests: int) -> None:
    message = route.message()
    for variant in all_variants:
        variant.marks.clear()
        variant.latencies.clear()
        for _ in range(20):  # warm: imports, caches, the first queries' analysis
            request(variant.port, message, route.status)
    for _ in range(rounds):
        for variant in all_variants:
            variant.marks.append(cpu_seconds(variant.worker))
            variant.latencies.extend(request(variant.port, message, route.status) for _ in range(requests))
    time.sleep(2 * EXPORT_DELAY_MS / 1000)  # the last turn's spans leave, as in the gaps between turns
    for variant in all_variants:
        variant.marks.append(cpu_seconds(variant.worker))


def stored_when_settled(server: Server) -> dict[str, int]:
    """Spans per service once everything sent has arrived."""
    time.sleep(2 * EXPORT_DELAY_MS / 1000)
    common.wait_until(server.drained, "the server stored everything")
    return server.stored()


def report(all_variants: list[Variant], requests: int, spans: dict[str, float]) -> list[list[str]]:
    """Each round is compared with the mean of its own two untraced turns: a slow minute of the machine does not count against anybody."""
    per_round = {variant.name: variant.cpu_per_request(requests) for variant in all_variants}
    base = [(a + b) / 2 for a, b in zip(per_round["untraced"], per_round["untraced again"])]
    rows = []
    for variant in all_variants:
        cpu = per_round[variant.name]
        count = spans.get(variant.service, 0)
        ratios = [mine / theirs for mine, theirs in zip(cpu, base)]
        low, high = median_interval(ratios)
        added = median([mine - theirs for mine, theirs in zip(cpu, base)])
        rows.append(
            [
                variant.name,
                f"{count:.1f}",
                spread(cpu, 1e3),
                f"{median(ratios):.3f} [{low:.3f} - {high:.3f}]",
                f"{added * 1e6:+.0f}",
                f"{added * 1e6 / count:.1f}" if count else "",
                f"{median(variant.latencies) * 1e3:.2f}",
                f"{percentile(variant.latencies, 0.99) * 1e3:.2f}",
            ]
        )
    return rows


HEADER = (
    "variant",
    "spans/request",
    "CPU ms/request [quartiles]",
    "ratio to untraced [95 %]",
    "added us",
    "us/span",
    "p50 ms",
    "p99 ms",
)


def program() -> None:
    parser = argparse.ArgumentParser(description="Django request overhead: untraced, nuages, official packages.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="per variant, route and round")
    parser.add_argument("--route", default="", help="only routes whose name contains this")
    parser.add_argument("--keep-venv", action="store_true", help="do not reinstall into build/bench-venv")
    parser.add_argument("--python", type=Path, help="an environment that has the agent and bench/requirements.txt")
    parser.add_argument("--database", choices=("postgresql", "sqlite3"), default="postgresql")
    options = parser.parse_args()
    python = options.python or (common.VENV / "bin" / "python" if options.keep_venv else common.prepare_venv())
    facts = common.machine_facts([common.package_versions(python, PACKAGES)])
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        folder, processes = stack.enter_context(common.scratch())
        if len(cores) > 1:
            os.sched_setaffinity(0, set(cores) - {APP_CORE})
        server = Server(processes, folder)
        sink = processes.start("sink", [str(python), str(common.ROOT / "bench" / "datadog_sink.py")], dict(os.environ))
        postgres = stack.enter_context(Postgres(processes)) if options.database == "postgresql" else None
        os.sched_setaffinity(0, set(cores))
        all_variants = variants(sink.wait_for(r"^listening (\S+)$", timeout=60)[0][1])
        for variant in all_variants:
            start(variant, python, folder, processes, server, postgres)
        if len(cores) > 1:
            os.sched_setaffinity(0, set(cores) - {APP_CORE})
        print(facts)
        print(f"run       {options.rounds} rounds of {options.requests} requests per variant and route\n", flush=True)
        for route in ROUTES:
            if options.route not in route.name:
                continue
            before = stored_when_settled(server)
            measure(route, all_variants, options.rounds, options.requests)
            after = stored_when_settled(server)
            sent = options.rounds * options.requests + 20
            spans = {name: (count - before.get(name, 0)) / sent for name, count in after.items()}
            print(f"{route.name} ({route.method} {route.path})\n")
            print(table(HEADER, report(all_variants, options.requests, spans)), flush=True)
            print()
        memory = []
        for variant in all_variants:
            used = common.memory_bytes(variant.worker)
            memory.append(
                [
                    variant.name,
                    f"{used['rss'] / 2**20:.1f}",
                    f"{used['pss'] / 2**20:.1f}",
                    str(common.threads(variant.worker)),
                ]
            )
        print("Memory of the worker afterwards\n")
        print(table(("variant", "RSS MiB", "PSS MiB", "threads"), memory))


if __name__ == "__main__":
    common.main(program)
