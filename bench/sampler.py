"""What a rate limit costs a span: start and end under each sampler, interleaved, median of rounds in nanoseconds. Sends nothing.

.venv/bin/python bench/sampler.py
"""

from __future__ import annotations

import statistics
import timeit

import nuages

nuages.install()

from nuages.sdk.sampling import RateLimitingSampler  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider, sampling  # noqa: E402

SAMPLERS = {
    "never sampled, ratio 0": sampling.TraceIdRatioBased(0),
    "never sampled, rate limit used up": RateLimitingSampler(0.0001),
    "always sampled, always_on": sampling.ALWAYS_ON,
    "always sampled, rate limit of a billion": RateLimitingSampler(1e9),
}
ROUNDS, SPANS = 15, 20_000


def timer(sampler: sampling.Sampler) -> timeit.Timer:
    start = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("bench").start_as_current_span

    def span() -> None:
        with start("span"):
            pass

    return timeit.Timer(span)


timers = {name: timer(sampler) for name, sampler in SAMPLERS.items()}
times: dict[str, list[float]] = {name: [] for name in timers}
for _ in range(ROUNDS):
    for name, one in timers.items():
        times[name].append(one.timeit(SPANS) / SPANS * 1e9)
for name, taken in times.items():
    print(f"{name:42} {statistics.median(taken):6.0f} ns ({min(taken):.0f} to {max(taken):.0f})")
