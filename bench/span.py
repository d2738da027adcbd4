"""What one span costs: nuages against opentelemetry-sdk, the same code on both, interleaved, exporting to one live nuages-server.

Two processes (bench/span_worker.py) take turns of a thousand spans, fewer than fit the queue of either, and flush outside the measured loop:
nothing is dropped, which the count at the server proves. Reported are the CPU of the calling thread, which is what the application pays in
latency, and the CPU of the whole process including the export. A second table (bench/footprint_worker.py) holds what importing costs, and what a
span takes while it is queued.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import common
from common import BenchError, Server, median, spread, table

SIDES = ("nuages", "official")
PACKAGES = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc")
UNRECORDED = ("unsampled", "API only")  # cases that export nothing


class Worker:
    def __init__(self, python: Path, side: str, server: Server) -> None:
        script = str(common.ROOT / "bench" / "span_worker.py")
        self.side = side
        self._process = subprocess.Popen(
            [str(python), script, side, f"http://{server.grpc}"],
            env=common.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases: list[str] = json.loads(self._answer())
        self.sent = 0

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the {self.side} worker ended with status {self._process.wait()}; its error is above")
        return line

    def measure(self, case: str, count: int) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case, "count": count}) + "\n")
        self._process.stdin.flush()
        if not case.startswith(UNRECORDED):
            self.sent += count
        answer: dict[str, int] = json.loads(self._answer())
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def check_nothing_lost(server: Server, workers: list[Worker]) -> str:
    wanted = {f"bench-span-{worker.side}": worker.sent for worker in workers}
    common.wait_until(server.drained, "the server stored everything")
    stored = {name: server.stored().get(name, 0) for name in wanted}
    if stored != wanted:
        return f"NOT EQUAL: sent {wanted}, stored {stored}: spans were lost, the figures flatter the loser"
    return f"all {sum(wanted.values())} spans sent were stored"


FOOTPRINT = (
    ("import", "import nuages.auto; the official SDK and its gRPC exporter"),
    ("first span", "the same, and the first span"),
    ("queued span", "a queued span of 5 attributes"),
)


def footprint(python: Path, rounds: int) -> str:
    """CPU and memory by fresh processes, the sides in turns."""
    script = str(common.ROOT / "bench" / "footprint_worker.py")
    rows = []
    for case, title in FOOTPRINT:
        results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for number in range(rounds + 1):
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                answer = common.run([str(python), script, case, side], env=common.clean_environment())
                if number > 0:  # the first one compiles Python files and reads the disk
                    results[side].append(json.loads(answer))
        ours, theirs = ([r["bytes"] for r in results[side]] for side in SIDES)
        memory, unit = (1 / 2**20, "MiB") if case != "queued span" else (1, "B")
        row = [title]
        if case != "queued span":
            cpu = [[r["cpu"] for r in results[side]] for side in SIDES]
            row += [spread(each, 1e-6, 1) for each in cpu]
            row.append(f"{100 * median([a / b for a, b in zip(*cpu)]):.0f} %")
        else:
            row += ["", "", ""]
        digits = 1 if unit == "MiB" else 0
        row += [f"{spread(each, memory, digits)} {unit}" for each in (ours, theirs)]
        row.append(f"{100 * median([a / b for a, b in zip(ours, theirs)]):.0f} %")
        rows.append(row)
    header = ("case", "nuages: CPU ms", "official: CPU ms", "ratio", "nuages: memory", "official: memory", "ratio")
    return table(header, rows)


def program() -> None:
    parser = argparse.ArgumentParser(description="The cost of one span: nuages against opentelemetry-sdk.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--spans", type=int, default=1000, help="per case and round; must fit the queue (2048)")
    parser.add_argument(
        "--processes", type=int, default=15, help="of the second table, per case and side; 0: leave it out"
    )
    parser.add_argument("--keep-venv", action="store_true", help="do not reinstall into build/bench-venv")
    parser.add_argument("--python", type=Path, help="an interpreter with agent and official packages, instead of that")
    options = parser.parse_args()
    python = options.python
    if python is None:
        python = common.VENV / "bin" / "python" if options.keep_venv else common.prepare_venv()
    print(common.machine_facts([common.package_versions(python, PACKAGES)]))
    print(f"run       {options.rounds} rounds of {options.spans} spans per case and side\n", flush=True)
    with common.scratch() as (folder, processes):
        server = Server(processes, folder)
        workers = [Worker(python, side, server) for side in SIDES]
        try:
            cases = workers[0].cases
            results: dict[tuple[str, str], list[dict[str, int]]] = {}
            for number in range(options.rounds + 2):
                for case in cases:
                    for worker in workers if number % 2 == 0 else reversed(workers):
                        result = worker.measure(case, options.spans)
                        if number >= 2:  # two rounds to warm up
                            results.setdefault((case, worker.side), []).append(result)
            lost = check_nothing_lost(server, workers)
        finally:
            for worker in workers:
                worker.stop()
    rows = []
    for case in cases:
        ours, theirs = ([r["thread"] / options.spans for r in results[case, side]] for side in SIDES)
        whole = [median([r["process"] / options.spans for r in results[case, side]]) for side in SIDES]
        rows.append(
            [
                case,
                spread(ours, digits=0),
                spread(theirs, digits=0),
                spread([b / a for a, b in zip(ours, theirs)], digits=1),
                f"{whole[0]:.0f}",
                f"{whole[1]:.0f}",
                f"{whole[1] / whole[0]:.1f}",
            ]
        )
    header = (
        "case",
        "nuages: ns in the caller",
        "sdk: ns in the caller",
        "sdk / nuages",
        "nuages: ns with export",
        "sdk: ns with export",
        "sdk / nuages",
    )
    print(table(header, rows))
    print(f"\n{lost}")
    if options.processes:
        print(f"\n{footprint(python, options.processes)}")


if __name__ == "__main__":
    common.main(program)
