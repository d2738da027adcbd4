"""What one span costs nuages-server that stores it, nuages-server that drops it, and a stock OpenTelemetry Collector that keeps nothing.

The collector (`make otelcol`: otlp receiver, batch processor, nop exporter) and both servers are pinned to one core, the sender to another. OTLP/gRPC
and OTLP/HTTP, requests of 500 and of 5,000 spans, uncompressed, turns interleaved. CPU is that of all threads of the process. Stored means that the
write-ahead log is empty; "with merges" counts until the store has been quiet for the time of --settle.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

import common
import grpc
from common import BenchError, Server, clean_environment, cpu_seconds, median, pinned, spread, table
from demo_processes import ProcessSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from payload import Template

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SERVER_CORE = 0
IN_FLIGHT = 4
QUIET = 0.02  # cores: an idle process
COLLECTOR = common.ROOT / "build" / "otelcol" / "otelcol"

DROP = """
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}, http: {endpoint: "127.0.0.1:0"}}}}
exporters: {debug: {}}
service:
  telemetry: {logs: {level: ERROR}}
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
"""
NOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{grpc}", max_recv_msg_size_mib: 64}}, http: {{endpoint: "{http}"}}}}}}}}
processors: {{batch: {{}}}}
exporters: {{nop: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [nop]}}}}
"""


class Target:
    """A process that takes OTLP on two ports."""

    def __init__(self, name: str, pid: int, grpc_address: str, http_address: str, server: Server | None = None) -> None:
        self.name = name
        self.pid = pid
        self.server = server
        channel = grpc.insecure_channel(grpc_address, options=[("grpc.max_send_message_length", 64 << 20)])
        self._export = channel.unary_unary(EXPORT)
        host, port = http_address.rsplit(":", 1)
        self._http = http.client.HTTPConnection(host, int(port), timeout=60)
        self.spans = 0

    def send_grpc(self, bodies: list[bytes]) -> None:
        waiting: deque[Any] = deque()
        for body in bodies:
            while len(waiting) >= IN_FLIGHT:
                check(waiting.popleft().result())
            waiting.append(self._export.future(body, timeout=60, wait_for_ready=True))
        while waiting:
            check(waiting.popleft().result())

    def send_http(self, bodies: list[bytes]) -> None:
        for body in bodies:
            self._http.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
            answer = self._http.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise BenchError(f"{self.name} answered {answer.status}: {text!r}")
            check(text)

    def wait_idle(self) -> None:
        if self.server is not None:
            common.wait_until(self.server.drained, "the server stored everything", interval=0.02)
            return
        while True:  # what waits in the batch processor is part of the work
            before = cpu_seconds(self.pid)
            time.sleep(0.25)
            if cpu_seconds(self.pid) - before < QUIET * 0.25:
                return


class Variant:
    def __init__(self, protocol: str, spans: int, template: Template) -> None:
        self.protocol = protocol
        self.spans = spans
        self.template = template
        self.cpu: dict[str, list[float]] = {}

    def round(self, target: Target, spans: int) -> None:
        bodies = [self.template.fill() for _ in range(max(1, spans // self.template.spans))]
        before = cpu_seconds(target.pid)
        if self.protocol == "gRPC":
            target.send_grpc(bodies)
        else:
            target.send_http(bodies)
        target.wait_idle()
        sent = len(bodies) * self.template.spans
        target.spans += sent
        self.cpu.setdefault(target.name, []).append((cpu_seconds(target.pid) - before) / sent)


def check(answer: bytes) -> None:
    if ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans:
        raise BenchError(f"spans were rejected: {answer!r}")


def free_port() -> str:
    with socket.create_server((common.LOOPBACK, 0)) as listening:
        return f"{common.LOOPBACK}:{listening.getsockname()[1]}"


def start_drop(processes: ProcessSet, folder: Path, binary: Path, core: int | None) -> Target:
    config = folder / "drop.yaml"
    config.write_text(DROP)
    command = [str(binary), f"--config={config}", f"--data={folder / 'drop'}", f"--ui={common.LOOPBACK}:0"]
    process = processes.start("drop", pinned(command, core), clean_environment())
    process.wait_for(r"^ready$", timeout=60)
    address = {name: process.wait_for(rf"^listening {name} (\S+)$")[0][1] for name in ("grpc", "http")}
    return Target("nuages, dropped", process.pid, address["grpc"], address["http"])


def start_collector(processes: ProcessSet, folder: Path, binary: Path, core: int | None) -> Target:
    addresses = {"grpc": free_port(), "http": free_port()}
    config = folder / "nop.yaml"
    config.write_text(NOP.format(**addresses))
    environment = {**clean_environment(), "GOMAXPROCS": "1"} if core is not None else clean_environment()
    process = processes.start("otelcol", pinned([str(binary), f"--config={config}"], core), environment)
    host, port = addresses["http"].rsplit(":", 1)

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    common.wait_until(listening, "the collector listens", timeout=60)
    return Target("otelcol, nop", process.pid, addresses["grpc"], addresses["http"])


def collector_version(binary: Path) -> str:
    found = re.search(r"otelcol version (\S+)", common.run([str(binary), "--version"]))
    return found[1] if found else "unknown"


def program() -> None:
    parser = argparse.ArgumentParser(description="CPU per span: nuages-server against the OpenTelemetry Collector.")
    parser.add_argument("--collector", type=Path, default=COLLECTOR)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--spans", type=int, default=100_000, help="per variant, target and round")
    parser.add_argument("--settle", type=float, default=30, help="seconds for merges before the last figure")
    options = parser.parse_args()
    if not options.collector.is_file():
        raise BenchError(f"{options.collector} does not exist: run `make otelcol`, or name one with --collector")
    cores = sorted(os.sched_getaffinity(0))
    core = SERVER_CORE if len(cores) > 1 else None
    facts = common.machine_facts(
        [f"otelcol {collector_version(options.collector)}", f"grpcio {grpc.__version__} as the sender"]
    )
    with common.scratch() as (folder, processes):
        server = Server(processes, folder, core)
        stored = Target("nuages, stored", server.process.pid, server.grpc, server.http, server)
        targets = [
            stored,
            start_drop(processes, folder, server.binary, core),
            start_collector(processes, folder, options.collector, core),
        ]
        if core is not None:
            os.sched_setaffinity(0, set(cores) - {core})
        templates = {spans: Template(spans) for spans in (500, 5000)}
        variants = [Variant(protocol, spans, templates[spans]) for protocol in ("gRPC", "HTTP") for spans in templates]
        print(facts)
        example = templates[500].fill()
        print(f"span      {len(example) / templates[500].spans:.0f} bytes as OTLP protobuf")
        print(f"run       {options.rounds} rounds of {options.spans} spans per variant and target\n", flush=True)
        for variant in variants:
            for target in targets:
                variant.round(target, options.spans // 2)  # warm: tables, caches, heaps
            variant.cpu.clear()
        begin, spans = cpu_seconds(stored.pid), stored.spans
        for _ in range(options.rounds):
            for variant in variants:
                for target in targets:
                    variant.round(target, options.spans)
        time.sleep(options.settle)
        merged = (cpu_seconds(stored.pid) - begin) / (stored.spans - spans)
        rows = []
        for variant in variants:
            ours, drop, theirs = (variant.cpu[target.name] for target in targets)
            rows.append(
                [
                    f"{variant.protocol}, {variant.spans}",
                    *(spread(values, 1e6) for values in (ours, drop, theirs)),
                    f"{median(theirs) / median(ours):.2f}x, {median(theirs) / median(drop):.1f}x",
                ]
            )
        header = ("spans a request", *(target.name for target in targets), "otelcol / stored, / dropped")
        print("CPU us/span, median [quartiles]\n")
        print(table(header, rows))
        theirs = median([value for variant in variants for value in variant.cpu[targets[2].name]])
        print(
            f"\nstored, merges included, all variants together: {merged * 1e6:.2f} us/span; otelcol / that {theirs / merged:.2f}x"
        )
        kept = sum(server.stored().values())
        if kept != stored.spans:
            raise BenchError(f"{stored.spans} spans were acknowledged, {kept} are in the store")
        print(f"all {kept} spans acknowledged to nuages-server are in its store")


if __name__ == "__main__":
    common.main(program)
