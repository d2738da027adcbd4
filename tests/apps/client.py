"""What tests use to talk to the test project's processes: the driver, span trees, a stand-in OTLP collector."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path

BOOKSHOP = Path(__file__).resolve().parent / "bookshop"
VIEWS = BOOKSHOP / "catalog" / "views.py"


def environment(**extra):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "NUAGES_AUTO", "NUAGES_HOOKS", "NUAGES_CELERY", "DJANGO_"))
    }
    return {**kept, **{name: str(value) for name, value in extra.items()}}


def line_of(mark):
    """The line of views.py that ends with `# line: mark`."""
    for number, text in enumerate(VIEWS.read_text().splitlines(), 1):
        if text.endswith(f"# line: {mark}"):
            return number
    raise AssertionError(f"views.py has no line marked {mark}")


class Driver:
    def __init__(self, **extra):
        self.process = subprocess.Popen(
            [sys.executable, str(BOOKSHOP / "driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(**extra),
        )
        assert self._read() == {"ready": True}

    def _read(self):
        line = self.process.stdout.readline()
        assert line, f"the test project ended with {self.process.wait(10)}"
        return json.loads(line)

    def send(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        assert not answer["leaked"], "a span is still current after the command"
        return answer

    def request(self, path, method="GET", fails=False, **command):
        answer = self.send(do="request", path=path, method=method, **command)
        assert fails or "error" not in answer, answer.get("traceback")
        return Answer(answer)

    def scenario(self, name, **arguments):
        answer = self.send(do="scenario", name=name, arguments=arguments)
        assert "error" not in answer, answer.get("traceback")
        return Answer(answer)

    def close(self):
        self.process.stdin.close()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()


class Answer:
    def __init__(self, answer):
        self.answer = answer
        self.spans = answer["spans"]
        self.result = answer.get("result")

    def __getitem__(self, key):
        return self.answer[key]

    def named(self, name):
        found = [span for span in self.spans if span["name"] == name]
        assert found, f"no span {name!r} among {[span['name'] for span in self.spans]}"
        return found[0]

    def of_kind(self, kind):
        return [span for span in self.spans if span["kind"] == kind]

    @property
    def server(self):
        servers = self.of_kind("SERVER")
        assert len(servers) == 1, [span["name"] for span in servers]
        return servers[0]

    def children(self, span):
        return sorted(
            (other for other in self.spans if other["parent_id"] == span["span_id"]), key=lambda other: other["start"]
        )

    def tree(self, span=None, skip=()):
        """Names indented by depth, in order of start; spans whose name starts with one of `skip` give their place to their children."""
        known = {other["span_id"] for other in self.spans}
        tops = (
            [span] if span else sorted((s for s in self.spans if s["parent_id"] not in known), key=lambda s: s["start"])
        )
        lines = []

        def walk(current, depth):
            shown = not current["name"].startswith(tuple(skip)) if skip else True
            if shown:
                lines.append("  " * depth + current["name"])
            for child in self.children(current):
                walk(child, depth + shown)

        for top in tops:
            walk(top, 0)
        return lines


MIDDLEWARE = (
    "urls.resolve",
    "SecurityMiddleware",
    "SessionMiddleware",
    "CommonMiddleware",
    "AuthenticationMiddleware",
    "ShelfMiddleware",
    "CallableMiddleware",
    "function_middleware",
    "FaultMiddleware",
)


class Collector:
    """An OTLP/gRPC receiver on a free port that keeps what it gets."""

    def __init__(self):
        import grpc
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

        received = self.received = queue.Queue()

        class Service(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, context):
                received.put(request)
                return trace_service_pb2.ExportTraceServiceResponse()

        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.spans = []

    def wait_for(self, enough, timeout=60):
        """Reads until enough(spans) is true; each span is a dictionary like the driver's."""
        deadline = threading.Event()
        timer = threading.Timer(timeout, deadline.set)
        timer.start()
        try:
            while not enough(self.spans):
                assert not deadline.is_set(), f"only these spans arrived: {[span['name'] for span in self.spans]}"
                try:
                    self.spans += list(self._read(self.received.get(timeout=1)))
                except queue.Empty:
                    continue
        finally:
            timer.cancel()
        return self.spans

    def _read(self, request):
        for resource_spans in request.resource_spans:
            resource = {item.key: _value(item.value) for item in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    yield {
                        "name": span.name,
                        "kind": span.kind,
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent_id": span.parent_span_id.hex(),
                        "attributes": {item.key: _value(item.value) for item in span.attributes},
                        "events": [
                            {"name": event.name, "attributes": {i.key: _value(i.value) for i in event.attributes}}
                            for event in span.events
                        ],
                        "links": [
                            {
                                "trace_id": link.trace_id.hex(),
                                "span_id": link.span_id.hex(),
                                "attributes": {i.key: _value(i.value) for i in link.attributes},
                            }
                            for link in span.links
                        ],
                        "status": span.status.code,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "resource": resource,
                        "scope": scope_spans.scope.name,
                    }

    def stop(self):
        self.server.stop(0)


def _value(value):
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
