"""What the benchmark programs share: the machine's facts, the server under test, CPU clocks, statistics and tables.

Every program runs its variants interleaved in one run, because a shared machine is never the same twice: what counts are the ratios, and the
spread says how far to trust them. CPU time is read from the kernel's clock of each process (nanoseconds, all its threads, ended ones included).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from demo_processes import ProcessSet  # noqa: E402 - needs the line above

LOOPBACK = "127.0.0.1"
VENV = ROOT / "build" / "bench-venv"


class BenchError(Exception):
    """Something the user can act upon."""


# ---- the environment of the variants


def prepare_venv() -> Path:
    """An environment of its own with the official packages and this checkout's agent. Returns its python."""
    python = VENV / "bin" / "python"
    if not python.is_file():
        run([sys.executable, "-m", "venv", str(VENV)])
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "-r", str(ROOT / "bench" / "requirements.txt")])
    run(
        [
            *pip,
            "--no-build-isolation",
            "--no-deps",
            str(ROOT),
            f"--config-settings=build-dir={ROOT / 'build' / 'bench-agent'}",
        ]
    )
    return python


def run(command: Sequence[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, **options)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    prefixes = ("OTEL_", "NUAGES_", "DJANGO_", "DB_", "CELERY_", "GUNICORN_", "DEMO_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


# ---- processes


@contextlib.contextmanager
def scratch() -> Iterator[tuple[Path, ProcessSet]]:
    """A temporary folder and the processes that live in it; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nuages-bench-") as name:
        with ProcessSet(Path(name)) as processes:
            yield Path(name), processes


class Server:
    """A nuages-server with a store of its own, on free ports."""

    def __init__(self, processes: ProcessSet, folder: Path, core: int | None = None) -> None:
        binary = Path(os.environ.get("NUAGES_SERVER", ROOT / "build/release/native/server/nuages-server"))
        if not binary.is_file():
            raise BenchError(f"{binary} does not exist: run `make server`, or set NUAGES_SERVER to the program")
        self.binary = binary
        self.data = folder / "store"
        addresses = [f"--{name}={LOOPBACK}:0" for name in ("grpc", "http", "ui")]
        command = [str(binary), f"--data={self.data}", *addresses]
        self.process = processes.start("server", pinned(command, core), clean_environment())
        self.process.wait_for(r"^ready$", timeout=60)
        address = {name: self.process.wait_for(rf"^listening {name} (\S+)$")[0][1] for name in ("grpc", "http", "ui")}
        self.grpc = address["grpc"]
        self.http = address["http"]
        self.ui = address["ui"]
        wait_until(lambda: self.get("/api/v1/status")["store"]["ready"], "the store is ready")

    def get(self, path: str) -> Any:
        with urlopen(f"http://{self.ui}{path}", timeout=60) as response:
            return json.load(response)

    def received(self) -> int:
        return int(self.get("/api/v1/status")["received"]["spans"])

    def stored(self) -> dict[str, int]:
        """Spans per service that queries can see."""
        return {service["name"]: service["span_count"] for service in self.get("/api/v1/services")["services"]}

    def drained(self) -> bool:
        """Nothing is left that is acknowledged and not in the store."""
        return int(self.get("/api/v1/status")["wal"]["bytes"]) == 0


def pinned(command: list[str], core: int | None) -> list[str]:
    return command if core is None else ["taskset", "-c", str(core), *command]


def wait_until(condition: Any, what: str, timeout: float = 120, interval: float = 0.05) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout:.0f} s in vain until {what}")
        time.sleep(interval)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, from its own clock (see clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def memory_bytes(pid: int) -> dict[str, int]:
    """Rss and Pss: Pss counts pages shared with other processes by their share."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        values[name] = int(value.split()[0]) * 1024
    return {"rss": values["Rss"], "pss": values["Pss"]}


PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_(?P<level>\d+)(_\d+)?$")


def disk_bytes(folder: Path) -> int:
    """Without what the store keeps for eight minutes after a merge: parts whose blocks a larger part holds."""
    total = 0
    superseded: set[Path] = set()
    for marker in folder.rglob("format_version.txt"):  # one in each table
        parts = [(match, path) for path in marker.parent.iterdir() if (match := PART.match(path.name))]
        for match, path in parts:
            for other, _ in parts:
                if (
                    other["partition"] == match["partition"]
                    and int(other["first"]) <= int(match["first"])
                    and int(other["last"]) >= int(match["last"])
                    and int(other["level"]) > int(match["level"])
                ):
                    superseded.add(path)
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the store removes parts meanwhile
            if path.is_file() and superseded.isdisjoint(path.parents):
                total += path.stat().st_blocks * 512
    return total


# ---- numbers


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The narrowest symmetric pair of order statistics that holds the median with at least 95 %."""
    ordered = sorted(values)
    count = len(ordered)
    tail = 0.0
    rank = 0
    while rank < count // 2 and tail + math.comb(count, rank) / 2**count <= 0.025:
        tail += math.comb(count, rank) / 2**count
        rank += 1
    return ordered[max(rank - 1, 0)], ordered[min(count - rank, count - 1)]


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float], scale: float = 1, digits: int = 2) -> str:
    """`median [first quartile - third quartile]`"""
    low, high = quartiles(values)
    return f"{median(values) * scale:.{digits}f} [{low * scale:.{digits}f} - {high * scale:.{digits}f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, padded so that it can be read as it is."""
    widths = [max(len(str(line[i])) for line in (header, *rows)) for i in range(len(header))]
    lines = [
        "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in (header, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine_facts(versions: Sequence[str] = ()) -> str:
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    cores = len(os.sched_getaffinity(0))
    commit = run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]).strip()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            f"machine   {cpu}, {cores} cores, {memory / 2**20:.1f} GiB, Linux {platform.release()}",
            f"load      {load} (1, 5, 15 minutes, at the start; other work on the machine shows here)",
            f"commit    {commit}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
            *(f"with      {version}" for version in versions),
        ]
    )


def package_versions(python: Path, names: Sequence[str]) -> str:
    program = (
        "import sys, platform; from importlib.metadata import version;"
        "print(f'Python {platform.python_version()},', ', '.join(f'{n} {version(n)}' for n in sys.argv[1:]))"
    )
    return run([str(python), "-c", program, *names]).strip()


def main(program: Any) -> None:
    try:
        program()
    except BenchError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
