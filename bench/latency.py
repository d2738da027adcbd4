"""p99 of a Django server at half its capacity: untraced, nuages, untraced again; interleaved, in one run.

Each variant is the example application under gunicorn with one sync worker (as in overhead.py). The capacity is what the untraced server answers
to one request after the other. Then requests arrive evenly at half that rate, whether or not the earlier ones were answered, and a latency counts
from the moment the request was due, so waiting behind a slow one counts too. A round is one turn of each variant, in an order that rotates; what
is reported is the median over the rounds of p99(variant) / p99(untraced), with the distribution-free 95 % interval of that median (order statistics of
the binomial distribution). "untraced again" says what the machine's noise alone does to that figure.
"""

from __future__ import annotations

import argparse
import os
import queue
import threading
import time
from pathlib import Path

import common
from common import BenchError, Server, median, median_interval, percentile, table
from overhead import APP_CORE, PACKAGES, ROUTES, Route, Variant, request, start

CLIENTS = 8  # connections at once; a server at half its capacity has seldom more than two
TARGET = 1.05


def capacity(route: Route, variant: Variant, requests: int) -> float:
    """Requests per second, one after the other."""
    message = route.message()
    begin = time.perf_counter()
    for _ in range(requests):
        request(variant.port, message, route.status)
    return requests / (time.perf_counter() - begin)


def turn(route: Route, variant: Variant, rate: float, requests: int) -> list[float]:
    """Latencies of requests that are due at an even rate."""
    message = route.message()
    due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    latencies: list[float] = []
    errors: list[BaseException] = []

    def client() -> None:
        while (moment := due.get()) is not None:
            try:
                request(variant.port, message, route.status)
            except BaseException as error:
                errors.append(error)
                return
            latencies.append(time.perf_counter() - moment)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    begin = time.perf_counter() + 0.01
    for number in range(requests):
        moment = begin + number / rate
        if (left := moment - time.perf_counter()) > 0:
            time.sleep(left)
        due.put(moment)
    for _ in clients:
        due.put(None)
    for each in clients:
        each.join()
    if errors or len(latencies) != requests:
        raise BenchError(f"{variant.name}: {errors[0] if errors else 'requests without an answer'}")
    return latencies


def measure(route: Route, variants: list[Variant], rounds: int, requests: int) -> tuple[float, list[list[str]]]:
    for variant in variants:
        capacity(route, variant, 50)  # warm
    rate = max(capacity(route, variants[0], 200) for _ in range(3)) / 2
    p99: dict[str, list[float]] = {variant.name: [] for variant in variants}
    p50: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        first = number % len(variants)
        for variant in variants[first:] + variants[:first]:
            latencies = turn(route, variant, rate, requests)
            p99[variant.name].append(percentile(latencies, 0.99))
            p50[variant.name].append(percentile(latencies, 0.5))
    rows = []
    for variant in variants:
        cells = [variant.name, f"{median(p50[variant.name]) * 1e3:.2f}", f"{median(p99[variant.name]) * 1e3:.2f}"]
        for values in (p50, p99):
            ratios = [mine / theirs for mine, theirs in zip(values[variant.name], values[variants[0].name])]
            low, high = median_interval(ratios)
            cells.append("" if variant is variants[0] else f"{median(ratios):.3f} [{low:.3f} - {high:.3f}]")
        rows.append(cells)
    return rate, rows


HEADER = ("variant", "p50 ms", "p99 ms", "p50 / untraced [95 %]", "p99 / untraced [95 %]")


def program() -> None:
    parser = argparse.ArgumentParser(description="p99 at half the server's capacity: untraced, nuages.")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--requests", type=int, default=500, help="per variant and round")
    parser.add_argument("--route", default="list", help="only routes whose name contains this")
    parser.add_argument("--python", type=Path, help="an environment that has the agent and the example's requirements")
    options = parser.parse_args()
    python = options.python or common.prepare_venv()
    facts = common.machine_facts([common.package_versions(python, PACKAGES[:4])])
    cores = sorted(os.sched_getaffinity(0))
    with common.scratch() as (folder, processes):
        if len(cores) > 1:
            os.sched_setaffinity(0, set(cores) - {APP_CORE})
        server = Server(processes, folder)
        os.sched_setaffinity(0, set(cores))
        variants = [
            Variant("untraced", "untraced_wsgi:application", {}),
            Variant("nuages", "myproject.wsgi:application", {"NUAGES_AUTO": "1"}),
            Variant("untraced again", "untraced_wsgi:application", {}),
        ]
        for variant in variants:
            start(variant, python, folder, processes, server)
        if len(cores) > 1:
            os.sched_setaffinity(0, set(cores) - {APP_CORE})
        print(facts)
        print(
            f"run       {options.rounds} rounds of {options.requests} requests per variant; aim: p99 ratio at most {TARGET}\n"
        )
        for route in ROUTES:
            if options.route not in route.name:
                continue
            rate, rows = measure(route, variants, options.rounds, options.requests)
            print(f"{route.name} ({route.method} {route.path}), {rate:.0f} requests/s\n")
            print(table(HEADER, rows), "\n", flush=True)


if __name__ == "__main__":
    common.main(program)
