"""One side of bench/export.py: makes spans and sends them on command. Same code for both sides; `nuages` installs the agent first.

    export_worker.py SIDE PROTOCOL COMPRESSION ENDPOINT

Reads JSON lines {"count": N} and answers {"caller": ns, "export": ns}: the CPU of the thread that makes the spans while it makes them, and all other
CPU of the process until everything is sent, whichever thread spends it (the official force_flush exports in the thread that calls it).
With COUNT as a fifth argument it makes so many spans and ends, for the time that the end takes.
"""

import json
import sys
import time


def make_provider(side, protocol, compression, endpoint):
    if side == "nuages":
        import nuages

        nuages.install(hooks="none")
    if protocol == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        options = {"insecure": True, "compression": Compression.Gzip if compression == "gzip" else None}
    else:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        options = {"compression": Compression.Gzip if compression == "gzip" else None}
        endpoint += "/v1/traces"
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"bench-export-{side}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, **options)))
    if side == "nuages":
        assert type(provider).__module__.startswith("nuages"), type(provider)
    return provider


def make_spans(tracer, count):
    for i in range(count):
        with tracer.start_as_current_span("GET /orders/{order_id}/") as span:
            span.set_attribute("http.method", "GET")
            span.set_attribute("http.route", "/orders/{order_id}/")
            span.set_attribute("http.target", f"/orders/{i}/")
            span.set_attribute("http.status_code", 200)
            span.set_attribute("user.id", "user-4711")


def main():
    provider = make_provider(*sys.argv[1:5])
    tracer = provider.get_tracer("bench")
    if len(sys.argv) > 5:
        make_spans(tracer, int(sys.argv[5]))
        print(time.monotonic(), flush=True)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        count = json.loads(line)["count"]
        process = time.process_time_ns()
        thread = time.thread_time_ns()
        make_spans(tracer, count)
        thread = time.thread_time_ns() - thread
        flushed = provider.force_flush(30_000)
        process = time.process_time_ns() - process
        print(json.dumps({"caller": thread, "export": process - thread, "flushed": bool(flushed)}), flush=True)


if __name__ == "__main__":
    main()
