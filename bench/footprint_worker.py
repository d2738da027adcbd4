"""One process of bench/span.py's second table: what a side costs before it has done anything, and what a span costs while it waits.

    footprint_worker.py CASE SIDE

Prints {"cpu": ns, "bytes": N}: of importing, of importing and making the first span, or of one span of five attributes in the queue. Nothing is
listening where the spans would go: they are not sent before the process ends without saying goodbye.
"""

import json
import os
import sys
import time

QUEUED = 1800
ENDPOINT = "http://127.0.0.1:9"


def resident():
    """Bytes, the shared memory of a queue included."""
    with open("/proc/self/status") as status:
        lines = status.read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def settled():
    """The same after the threads that the first spans started are up."""
    while True:
        before = resident()
        time.sleep(0.3)
        if resident() == before:
            return before


def import_side(side):
    if side == "nuages":
        import nuages.auto  # noqa: F401
    elif side == "official":
        import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401


def first_span(side):
    """As a program does it: nuages needs no tracing code besides the span's, the official packages need a provider."""
    import_side(side)
    from opentelemetry import trace

    if side == "official":
        provider(1).get_tracer("bench").start_span("first").end()
    else:
        trace.get_tracer("bench").start_span("first").end()


def provider(batch):
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    made = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=ENDPOINT, insecure=True)
    queue = {"max_queue_size": 4 * QUEUED, "max_export_batch_size": max(batch, 512), "schedule_delay_millis": 600_000}
    made.add_span_processor(BatchSpanProcessor(exporter, **queue))
    trace.set_tracer_provider(made)
    return made


def queue_spans(tracer, count):
    for i in range(count):
        with tracer.start_as_current_span("GET /orders/{order_id}/") as span:
            span.set_attribute("http.method", "GET")
            span.set_attribute("http.route", "/orders/{order_id}/")
            span.set_attribute("http.status_code", 200)
            span.set_attribute("order.amount", 99.5)
            span.set_attribute("order.index", 1000 + i)


def measure(case, side):
    if case == "queued span":
        if side == "nuages":
            import nuages

            nuages.install(hooks="none")
        tracer = provider(4 * QUEUED).get_tracer("bench")
        queue_spans(tracer, 100)
        before = settled()
        cpu = time.process_time_ns()
        queue_spans(tracer, QUEUED)
        return (time.process_time_ns() - cpu) / QUEUED, (resident() - before) / QUEUED
    before = resident()  # not ru_maxrss: a process begins with its parent's
    cpu = time.process_time_ns()
    {"import": import_side, "first span": first_span}[case](side)
    cpu = time.process_time_ns() - cpu
    return cpu, resident() - before


if __name__ == "__main__":
    os.environ["NUAGES_SURVIVE_KILL"] = "false"  # the same memory, and nothing for a next process to find
    cpu, size = measure(*sys.argv[1:])
    print(json.dumps({"cpu": cpu, "bytes": size}), flush=True)
    os._exit(0)
