"""What sending a span costs outside of the application's code, and how long a process takes to end: nuages against opentelemetry-sdk.

Eight processes (bench/export_worker.py: two sides, two protocols, with and without gzip) take turns of some hundred spans, fewer than fit the queue,
all to one live nuages-server; nuages masks with its default rules. That every span arrived is proven by the server's count. The second part measures
the time from the last span to the end of the process while nobody listens, and while somebody accepts and never answers.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import time
from pathlib import Path

import common
from common import BenchError, Server, median, spread, table

SIDES = ("nuages", "official")
VARIANTS = [(protocol, compression) for protocol in ("grpc", "http") for compression in ("none", "gzip")]
PACKAGES = (
    *("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc"),
    *("opentelemetry-exporter-otlp-proto-http", "grpcio", "protobuf"),
)
SCRIPT = str(common.ROOT / "bench" / "export_worker.py")


class Worker:
    def __init__(self, python: Path, side: str, protocol: str, compression: str, endpoint: str) -> None:
        self.side = side
        self.sent = 0
        self._process = subprocess.Popen(
            [str(python), SCRIPT, side, protocol, compression, endpoint],
            env=common.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the {self.side} worker ended with status {self._process.wait()}; its error is above")
        return line

    def measure(self, count: int) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"count": count}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._answer())
        if not answer["flushed"]:
            raise BenchError(f"a flush of the {self.side} side failed")
        self.sent += count
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def export_cpu(python: Path, rounds: int, spans: int) -> str:
    results: dict[tuple[str, str, str], list[float]] = {}
    with common.scratch() as (folder, processes):
        server = Server(processes, folder)
        address = {"grpc": server.grpc, "http": server.http}
        workers = {
            (side, *variant): Worker(python, side, *variant, f"http://{address[variant[0]]}")
            for variant in VARIANTS
            for side in SIDES
        }
        try:
            for number in range(rounds + 2):
                for variant in VARIANTS:
                    for side in SIDES if number % 2 == 0 else reversed(SIDES):
                        result = workers[(side, *variant)].measure(spans)
                        if number >= 2:  # two rounds to warm up
                            results.setdefault((side, *variant), []).append(result["export"] / spans / 1000)
            wanted = {
                f"bench-export-{side}": sum(w.sent for key, w in workers.items() if key[0] == side) for side in SIDES
            }
            common.wait_until(server.drained, "the server stored everything")
            stored = {name: server.stored().get(name, 0) for name in wanted}
        finally:
            for worker in workers.values():
                worker.stop()
    rows = []
    for protocol, compression in VARIANTS:
        ours, theirs = (results[side, protocol, compression] for side in SIDES)
        ratios = [b / a for a, b in zip(ours, theirs)]
        rows.append([f"{protocol}, {compression}", spread(ours), spread(theirs, digits=1), spread(ratios, digits=0)])
    text = table(("protocol, compression", "nuages: us/span", "official: us/span", "official / nuages"), rows)
    if stored != wanted:
        return f"{text}\n\nNOT EQUAL: sent {wanted}, stored {stored}"
    return f"{text}\n\nall {sum(wanted.values())} spans sent were stored"


def exit_seconds(python: Path, side: str, endpoint: str, spans: int) -> float:
    with subprocess.Popen(
        [str(python), SCRIPT, side, "grpc", "none", endpoint, str(spans)],
        env=common.clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        made = float(process.stdout.readline())
        process.wait(timeout=300)
        return time.monotonic() - made


def exit_table(python: Path, rounds: int) -> str:
    rows = []
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind((common.LOOPBACK, 0))
        silent.listen(64)
        closed.bind((common.LOOPBACK, 0))  # bound, not listening: connections are refused
        for what, listener in (("refuses", closed), ("accepts and never answers", silent)):
            endpoint = f"http://{common.LOOPBACK}:{listener.getsockname()[1]}"
            for spans in (10, 2000):
                ours = [exit_seconds(python, "nuages", endpoint, spans) for _ in range(rounds)]
                theirs = [exit_seconds(python, "official", endpoint, spans)]
                rows.append([what, str(spans), spread(ours), f"{max(ours):.2f}", f"{median(theirs):.1f}"])
    return table(("the collector", "spans waiting", "nuages: s", "nuages, worst: s", "official, once: s"), rows)


def program() -> None:
    parser = argparse.ArgumentParser(description="The cost of sending a span, and of ending a process.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--spans", type=int, default=1500, help="per turn; must fit the queue (2048)")
    parser.add_argument("--exit-rounds", type=int, default=5, help="0: leave this part out")
    parser.add_argument("--keep-venv", action="store_true", help="do not reinstall into build/bench-venv")
    parser.add_argument("--python", type=Path, help="an interpreter with agent and official packages, instead of that")
    options = parser.parse_args()
    python = options.python
    if python is None:
        python = common.VENV / "bin" / "python" if options.keep_venv else common.prepare_venv()
    print(common.machine_facts([common.package_versions(python, PACKAGES)]))
    print(f"run       {options.rounds} rounds of {options.spans} spans per variant and side\n", flush=True)
    print(export_cpu(python, options.rounds, options.spans), flush=True)
    if options.exit_rounds:
        print(f"\n{exit_table(python, options.exit_rounds)}")


if __name__ == "__main__":
    common.main(program)
