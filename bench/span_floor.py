"""The floor under bench/span.py: what `with start_as_current_span()` and five set_attribute() cost when nothing is behind them.

A C extension (bench/span_floor.c, compiled here by the system's compiler) has a tracer, a span and a manager whose methods return at once. Three
levels: the interpreter alone; with the ContextVar set and reset; with two reads of the clock too. CPU of the calling thread, the least and the
median of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

SOURCE = Path(__file__).with_name("span_floor.c")
LEVELS = ("the interpreter", "and a ContextVar set and reset", "and two clock reads")


def build(folder: str) -> ModuleType:
    library = Path(folder) / "span_floor.so"
    include = sysconfig.get_path("include")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", f"-I{include}", str(SOURCE), "-o", str(library)], check=True)
    spec = importlib.util.spec_from_file_location("span_floor", library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loop(tracer: Any, count: int) -> None:
    for i in range(count):
        with tracer.start_as_current_span("GET /orders/{order_id}/") as span:
            span.set_attribute("http.method", "GET")
            span.set_attribute("http.route", "/orders/{order_id}/")
            span.set_attribute("http.status_code", 200)
            span.set_attribute("order.amount", 99.5)
            span.set_attribute("order.index", i)


def main() -> None:
    parser = argparse.ArgumentParser(description="The floor under the cost of one span.")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--spans", type=int, default=1000)
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, {options.rounds} rounds of {options.spans}")
    with tempfile.TemporaryDirectory(prefix="nuages-floor-") as folder:
        module = build(folder)
        times: list[list[float]] = [[] for _ in LEVELS]
        for _ in range(options.rounds):
            for level, measured in enumerate(times):
                module.set_level(level)
                start = time.thread_time_ns()
                loop(module.tracer, options.spans)
                measured.append((time.thread_time_ns() - start) / options.spans)
    for name, measured in zip(LEVELS, times):
        measured.sort()
        print(f"{name:32} {measured[0]:6.0f} ns at least, {measured[len(measured) // 2]:6.0f} ns median")


if __name__ == "__main__":
    main()
