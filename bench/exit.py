"""How long a server takes to end after SIGTERM when the collector is dead: refuses connections, or accepts and never answers.

Real servers over tests/apps/forks, each with queued spans; untraced in the same run, because the servers' own stops take their time. The exit may be
later than the untraced one by the shutdown timeout (default 5 s) and 0.2 s at most.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
from common import BenchError, median, table

sys.path.insert(0, str(common.ROOT / "tests" / "integration"))

from fork_cells import APP, http_get, uwsgi_get

REQUESTS = 20
TIMEOUT = 5.0


def servers(python: Path, path: Path) -> dict[str, list[str]]:
    bin_ = python.parent
    gunicorn = [
        str(bin_ / "gunicorn"),
        f"--bind=unix:{path}",
        "--workers=2",
        "--log-level=error",
        "--no-control-socket",
    ]
    return {
        "gunicorn sync": [*gunicorn, "shop.wsgi:application"],
        "gunicorn gthread": [*gunicorn, "--worker-class=gthread", "--threads=4", "shop.wsgi:application"],
        "gunicorn uvicorn": [*gunicorn, "--worker-class=uvicorn_worker.UvicornWorker", "shop.asgi:application"],
        "uWSGI": [
            *[str(bin_ / "uwsgi"), "--virtualenv", str(bin_.parent), "--wsgi", "shop.wsgi:application"],
            *["--master", "--processes", "2", "--uwsgi-socket", str(path), "--die-on-term", "--disable-logging"],
        ],
        "uvicorn": [str(python), "-m", "uvicorn", "shop.asgi:application", f"--uds={path}", "--log-level=error"],
        "daphne": [str(python), "-m", "daphne", "-u", str(path), "shop.asgi:application", "-v", "0"],
    }


def seconds_to_end(name: str, command: list[str], path: Path, endpoint: str | None) -> float:
    environment = {
        **common.clean_environment(),
        "PYTHONPATH": str(APP),
        "FORKS_LEDGER": os.devnull,
        "FORKS_INIT": "auto",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        **(
            {"NUAGES_AUTO": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {"OTEL_SDK_DISABLED": "true"}
        ),
    }
    get = uwsgi_get if name == "uWSGI" else http_get
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, cwd=path.parent, stdin=null, stdout=null, stderr=null)
    try:
        done = 0
        deadline = time.monotonic() + 60
        while done < REQUESTS:
            try:
                get(path, f"/work/{done}/")
                done += 1
            except (OSError, IndexError, ValueError) as error:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise BenchError(f"{name} does not answer: {error}") from error
                time.sleep(0.05)
        time.sleep(1)  # the first batch meets the dead collector
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        return time.monotonic() - begin
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def program() -> None:
    parser = argparse.ArgumentParser(description="Exit after SIGTERM with a dead collector.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    options = parser.parse_args()
    with socket.socket() as silent, socket.socket() as refusing, tempfile.TemporaryDirectory() as folder:
        silent.bind((common.LOOPBACK, 0))
        silent.listen(128)
        refusing.bind((common.LOOPBACK, 0))  # bound, so that nobody else listens there
        endpoints = {
            "untraced": None,
            "refuses": f"http://{common.LOOPBACK}:{refusing.getsockname()[1]}",
            "never answers": f"http://{common.LOOPBACK}:{silent.getsockname()[1]}",
        }
        taken: dict[tuple[str, str], list[float]] = {}
        path = Path(folder) / "socket"
        for _ in range(options.rounds):
            for name, command in servers(options.python, path).items():
                for what, endpoint in endpoints.items():
                    path.unlink(missing_ok=True)
                    taken.setdefault((name, what), []).append(seconds_to_end(name, command, path, endpoint))
        print(
            common.machine_facts(
                [common.package_versions(options.python, ["Django", "gunicorn", "uWSGI", "uvicorn", "daphne"])]
            )
        )
        print(f"run       {options.rounds} rounds; shutdown timeout {TIMEOUT} s; median [worst]\n")
        rows = []
        for name in servers(options.python, path):
            cells = [taken[name, what] for what in endpoints]
            late = max(max(cells[1]), max(cells[2])) - median(cells[0])
            rows.append([name, *(f"{median(each):.2f} [{max(each):.2f}]" for each in cells), f"{late:.2f}"])
        print(table(("server", *endpoints, "worst - untraced"), rows))


if __name__ == "__main__":
    common.main(program)
