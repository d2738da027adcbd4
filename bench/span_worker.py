"""One side of bench/span.py: makes spans on command. Same code for both sides; `nuages` installs the agent first.

Reads JSON lines {"case": NAME, "count": N} and answers {"thread": ns, "wall": ns, "process": ns}: the CPU of the calling thread and the time of
the loop, and the CPU of the whole process until everything is exported. The case "after a socket round trip" answers the median time of one
span, times N, as "thread": between two spans the thread waits for another process, as between two queries, and finds its caches cold.
"""

import json
import os
import socket
import sys
import time


def start_echo():
    """A process that sends back what it gets; the parent's end of the connection."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while data := theirs.recv(64):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    return ours


def set_up(side, endpoint):
    if side == "nuages":
        import nuages

        nuages.install(hooks="none")
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

    def provider(sampler):
        made = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": f"bench-span-{side}"}))
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
        return made

    early = trace.get_tracer("early")  # as a module takes it at import, before there is a provider
    sampled = provider(ALWAYS_ON)
    trace.set_tracer_provider(sampled)
    unsampled = provider(ParentBased(TraceIdRatioBased(0.0)))
    if side == "nuages":
        assert type(sampled).__module__.startswith("nuages"), type(sampled)
    return trace, sampled, unsampled, early


def make_cases(trace, sampled, unsampled, early, echo):
    tracer = sampled.get_tracer("bench")
    never = unsampled.get_tracer("bench")
    absent = trace.NoOpTracerProvider().get_tracer("bench")

    def with_attributes(tracer):
        def loop(count):
            for i in range(count):
                with tracer.start_as_current_span("GET /orders/{order_id}/") as span:
                    span.set_attribute("http.method", "GET")
                    span.set_attribute("http.route", "/orders/{order_id}/")
                    span.set_attribute("http.status_code", 200)
                    span.set_attribute("order.amount", 99.5)
                    span.set_attribute("order.index", i)

        return loop

    def cold(tracer):
        def loop(count):
            times = []
            for i in range(count):
                echo.send(b"x")
                echo.recv(64)
                start = time.perf_counter_ns()
                with tracer.start_as_current_span("GET /orders/{order_id}/") as span:
                    span.set_attribute("http.method", "GET")
                    span.set_attribute("http.route", "/orders/{order_id}/")
                    span.set_attribute("http.status_code", 200)
                    span.set_attribute("order.amount", 99.5)
                    span.set_attribute("order.index", i)
                times.append(time.perf_counter_ns() - start)
            return sorted(times)[count // 2] * count

        return loop

    def bare(count):
        for _ in range(count):
            with tracer.start_as_current_span("GET /orders/{order_id}/"):
                pass

    def children(count):
        with tracer.start_as_current_span("parent"):
            with_attributes(tracer)(count - 1)

    def without_activation(count):
        for i in range(count):
            span = tracer.start_span("GET /orders/{order_id}/")
            span.set_attribute("order.index", i)
            span.end()

    return {
        "root span, 5 attributes": with_attributes(tracer),
        "same, tracer taken before the provider": with_attributes(early),
        "same, after a socket round trip": cold(tracer),
        "child span, 5 attributes": children,
        "span without attributes": bare,
        "start_span, 1 attribute, end": without_activation,
        "unsampled, 5 attributes": with_attributes(never),
        "API only, no SDK": with_attributes(absent),
    }


def main():
    side, endpoint = sys.argv[1:]
    echo = start_echo()
    trace, sampled, unsampled, early = set_up(side, endpoint)
    cases = make_cases(trace, sampled, unsampled, early, echo)
    print(json.dumps(list(cases)), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        loop = cases[order["case"]]
        process = time.process_time_ns()
        wall = time.perf_counter_ns()
        thread = time.thread_time_ns()
        measured = loop(order["count"])
        thread = measured or time.thread_time_ns() - thread
        wall = time.perf_counter_ns() - wall
        sampled.force_flush(30_000)
        process = time.process_time_ns() - process
        print(json.dumps({"thread": thread, "wall": wall, "process": process}), flush=True)
    sampled.shutdown()
    unsampled.shutdown()


if __name__ == "__main__":
    main()
