"""What a query costs more when it is traced: untraced, nuages, official packages, the same queries on SQLite, interleaved.

Three processes (bench/sql_worker.py) take turns of a thousand queries below one span, fewer than fit any queue, and send their spans outside of
the measured loop to one live nuages-server. A turn is compared with the untraced turn of its own round. The last two lines are the detector
alone: queries below a span that is not sampled, with and without a counter of repetitions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import common
from common import BenchError, Server, spread, table

SIDES = ("untraced", "nuages", "official")
PACKAGES = ("Django", "opentelemetry-sdk", "opentelemetry-instrumentation-sqlite3")


class Worker:
    def __init__(self, python: Path, side: str, server: Server) -> None:
        script = str(common.ROOT / "bench" / "sql_worker.py")
        self.side = side
        self._process = subprocess.Popen(
            [str(python), script, side, f"http://{server.grpc}"],
            env=common.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases: list[str] = json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the {self.side} worker ended with status {self._process.wait()}; its error is above")
        return line

    def measure(self, case: str, count: int) -> float:
        """Microseconds of CPU a query."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case, "count": count}) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._answer())["thread"]) / count / 1e3

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def program() -> None:
    parser = argparse.ArgumentParser(description="The cost of tracing one SQL statement.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--queries", type=int, default=1000, help="per case and round; must fit the queue (2048)")
    parser.add_argument("--keep-venv", action="store_true", help="do not reinstall into build/bench-venv")
    parser.add_argument("--python", type=Path, help="an environment that has everything, instead of build/bench-venv")
    options = parser.parse_args()
    python = options.python or (common.VENV / "bin" / "python" if options.keep_venv else common.prepare_venv())
    print(common.machine_facts([common.package_versions(python, PACKAGES)]))
    print(f"run       {options.rounds} rounds of {options.queries} queries per case and side\n", flush=True)
    results: dict[tuple[str, str], list[float]] = {}
    with common.scratch() as (folder, processes):
        server = Server(processes, folder)
        workers = [Worker(python, side, server) for side in SIDES]
        try:
            for number in range(options.rounds + 2):
                for case in workers[1].cases:
                    for worker in workers if number % 2 == 0 else reversed(workers):
                        if case not in worker.cases:
                            continue
                        cost = worker.measure(case, options.queries)
                        if number >= 2:  # two rounds to warm up
                            results.setdefault((case, worker.side), []).append(cost)
        finally:
            for worker in workers:
                worker.stop()
    rows = []
    for case in workers[0].cases:
        plain = results[case, "untraced"]
        ours, theirs = ([a - b for a, b in zip(results[case, side], plain)] for side in ("nuages", "official"))
        rows.append(
            [case, spread(plain), spread(ours), spread(theirs), spread([b / a for a, b in zip(ours, theirs)], 1, 1)]
        )
    print(table(("query", "untraced us", "nuages adds us", "official adds us", "official / nuages"), rows))
    plain, silent, counted = (
        results["Django cursor", "untraced"],
        results["unsampled", "nuages"],
        results["unsampled and counted", "nuages"],
    )
    print(f"\nnot sampled adds us            {spread([a - b for a, b in zip(silent, plain)], digits=3)}")
    print(f"counted as well adds us        {spread([a - b for a, b in zip(counted, silent)], digits=3)}")


if __name__ == "__main__":
    common.main(program)
