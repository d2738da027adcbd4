"""What one span costs the server: CPU from received to stored on one core, and bytes on disk.

nuages-server is pinned to one core; this program sends it OTLP/gRPC from another, as an application fleet would: traces of a Django request with
its middleware, view, queries and template (bench/payload.py), ids and times new in every batch. Stored means that the write-ahead log is empty
and a query counts every span sent. Variants (batch size, gzip) take turns on servers of their own, so that each has its own disk figures.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any

import common
import grpc
from common import BenchError, Server, cpu_seconds, spread, table
from payload import Template

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SERVER_CORE = 0
IN_FLIGHT = 4
LISTED = [("batch 512", 512, False), ("batch 512, gzip", 512, True), ("batch 4096", 4096, False)]


class Variant:
    def __init__(self, name: str, spans: int, compressed: bool, server: Server) -> None:
        self.name = name
        self.compressed = compressed
        self.server = server
        self.template = Template(spans)
        self.sent = 0
        self.cpu: list[float] = []  # seconds a span, by round
        self.rate: list[float] = []  # spans acknowledged a second of wall time
        self.warm_up = 0
        self.cpu_begin = 0.0
        channel = grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", 64 << 20)])
        self._export = channel.unary_unary(EXPORT)

    def begin(self) -> None:
        self.cpu.clear()
        self.rate.clear()
        self.warm_up = self.sent
        self.cpu_begin = cpu_seconds(self.server.process.pid)

    @property
    def measured(self) -> int:
        return self.sent - self.warm_up

    def round(self, spans: int) -> None:
        batches = max(1, spans // self.template.spans)
        compression = grpc.Compression.Gzip if self.compressed else grpc.Compression.NoCompression
        # made beforehand: the sender must not be what is measured
        bodies = [self.template.fill() for _ in range(batches)]
        pid = self.server.process.pid
        cpu = cpu_seconds(pid)
        begin = time.perf_counter()
        waiting: deque[Any] = deque()
        for body in bodies:
            while len(waiting) >= IN_FLIGHT:
                check(waiting.popleft().result())
            waiting.append(self._export.future(body, timeout=60, compression=compression))
        while waiting:
            check(waiting.popleft().result())
        elapsed = time.perf_counter() - begin
        self.sent += batches * self.template.spans
        common.wait_until(self.server.drained, "the server stored everything", interval=0.02)
        used = cpu_seconds(pid) - cpu
        self.cpu.append(used / (batches * self.template.spans))
        self.rate.append(batches * self.template.spans / elapsed)

    def check_all_stored(self) -> None:
        stored = sum(self.server.stored().values())
        if stored != self.sent:
            raise BenchError(f"{self.name}: {self.sent} spans were acknowledged, {stored} are in the store")


def starts(binary: Path, folder: Path, times: int = 7) -> str:
    """How long until the server takes spans, and until it answers questions too; on the same store, killed each time."""
    moments: dict[str, list[float]] = {"listening grpc": [], "ready": []}
    addresses = [f"--{name}={common.LOOPBACK}:0" for name in ("grpc", "http", "ui")]
    for _ in range(times):
        begin = time.perf_counter()
        with subprocess.Popen(
            [str(binary), f"--data={folder}", *addresses], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                for moment, seconds in moments.items():
                    if line.startswith(moment):
                        seconds.append(time.perf_counter() - begin)
                if line.startswith("ready"):
                    break
            process.kill()
    listening, ready = (spread(seconds, 1e3, 0) for seconds in moments.values())
    return f"start     spans are taken after {listening} ms, questions answered after {ready} ms"


def check(answer: bytes) -> None:
    if answer:  # a partial success names rejected spans
        raise BenchError(f"the server rejected spans: {answer!r}")


def program() -> None:
    parser = argparse.ArgumentParser(description="nuages-server: CPU and bytes per span stored.")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--spans", type=int, default=200_000, help="per variant and round")
    parser.add_argument("--settle", type=float, default=30, help="seconds for merges before the last disk figure")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    core = SERVER_CORE if len(cores) > 1 else None
    facts = common.machine_facts([f"grpcio {grpc.__version__} as the sender"])
    with common.scratch() as (folder, processes):
        variants = []
        for name, spans, compressed in LISTED:
            own = folder / name.replace(" ", "-")
            own.mkdir()
            variants.append(Variant(name, spans, compressed, Server(processes, own, core)))
        if core is not None:
            os.sched_setaffinity(0, set(cores) - {core})
        print(facts)
        print(
            f"server    {variants[0].server.get('/api/v1/status')['version']}, store {variants[0].server.get('/api/v1/status')['store']['version']}"
        )
        example = variants[0].template.fill()
        print(
            f"span      {len(example) / variants[0].template.spans:.0f} bytes as OTLP protobuf, {len(gzip.compress(example, 6)) / variants[0].template.spans:.0f} gzipped"
        )
        print(starts(variants[0].server.binary, folder / "starts"))
        print(f"run       {options.rounds} rounds of {options.spans} spans per variant\n", flush=True)
        for variant in variants:
            variant.round(options.spans // 4)  # warm: tables, caches, allocator
            variant.begin()
        for _ in range(options.rounds):
            for variant in variants:
                variant.round(options.spans)
        time.sleep(options.settle)
        rows = []
        for variant in variants:
            variant.check_all_stored()
            whole = (cpu_seconds(variant.server.process.pid) - variant.cpu_begin) / variant.measured
            memory = common.memory_bytes(variant.server.process.pid)
            rows.append(
                [
                    variant.name,
                    spread(variant.cpu, 1e6),
                    f"{whole * 1e6:.2f}",
                    f"{1 / whole:,.0f}",
                    spread(variant.rate, 1e-3, 0),
                    f"{common.disk_bytes(variant.server.data) / variant.sent:.1f}",
                    f"{memory['rss'] / 2**20:.0f}",
                ]
            )
        header = (
            "variant",
            "CPU us/span until stored [quartiles]",
            "with merges",
            "spans per core-second",
            "thousand spans/s acknowledged [quartiles]",
            "bytes/span on disk",
            "RSS MiB",
        )
        print(table(header, rows))
        total = sum(variant.sent for variant in variants)
        print(f"\nall {total} spans acknowledged are in the stores")


if __name__ == "__main__":
    common.main(program)
