"""One side of bench/sql.py: runs the same queries on SQLite in memory, through the driver and through Django, on command.

Sides: `untraced`, `nuages`, `official` (opentelemetry-sdk with the official SQLite instrumentation). Reads JSON lines {"case": NAME, "count": N}
and answers {"thread": ns}: the CPU of the calling thread for N queries below one span. Spans leave outside of the measured loop.
"""

import json
import sys
import time


def set_up(side, endpoint):
    """What opens the span around the loop, for sampled and for unsampled ones, and what flushes."""
    if side == "untraced":
        return None, None, lambda: None
    if side == "nuages":
        import nuages

        nuages.install()
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    sampled = TracerProvider(resource=Resource.create({"service.name": f"bench-sql-{side}"}))
    sampled.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    trace.set_tracer_provider(sampled)
    if side == "official":
        from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

        SQLite3Instrumentor().instrument()
    never = TracerProvider(sampler=ALWAYS_OFF).get_tracer("bench")
    return sampled.get_tracer("bench"), never, sampled.force_flush


def make_cases(side, tracer, never):
    import sqlite3

    import django
    from django.conf import settings

    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True)
    django.setup()
    from django.db import connection

    raw = sqlite3.connect(":memory:")
    setup = "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, price INTEGER)"
    fill = "INSERT INTO book VALUES (1, 'a title', 7)"
    for target in (raw.cursor(), connection.cursor()):
        target.execute(setup)
        target.execute(fill)
    query = 'SELECT "book"."id", "book"."title", "book"."price" FROM "book" WHERE "book"."id" = {} LIMIT 21'
    own, django_query = query.format("?"), query.format("%s")

    def driver(count):
        cursor = raw.cursor()
        execute, fetch = cursor.execute, cursor.fetchone
        for _ in range(count):
            execute(own, (1,))
            fetch()

    def through_django(count):
        for _ in range(count):
            with connection.cursor() as cursor:
                cursor.execute(django_query, (1,))
                cursor.fetchone()

    def update(count):
        with connection.cursor() as cursor:
            for _ in range(count):
                cursor.execute("UPDATE book SET price = %s WHERE id = %s", (8, 1))

    def below(tracer, loop):
        def run(count):
            with tracer.start_as_current_span("loop"):
                loop(count)

        return loop if tracer is None else run

    loops = {"driver": driver, "Django cursor with fetch": through_django, "Django cursor": update}
    cases = {name: below(tracer, loop) for name, loop in loops.items()}
    if side == "nuages":
        import nuages

        def counted(count):
            with nuages.count_queries():
                update(count)

        cases["unsampled"] = below(never, update)
        cases["unsampled and counted"] = below(never, counted)
    return cases


def main():
    side, endpoint = sys.argv[1:]
    tracer, never, flush = set_up(side, endpoint)
    cases = make_cases(side, tracer, never)
    print(json.dumps(list(cases)), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        run, count = cases[command["case"]], command["count"]
        begin = time.thread_time_ns()
        run(count)
        end = time.thread_time_ns()
        flush()
        print(json.dumps({"thread": end - begin}), flush=True)


if __name__ == "__main__":
    main()
