"""The official instrumentors of other libraries on the native SDK: programs with NUAGES_AUTO=1 and no line about tracing but the exporter."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap

import pytest

START = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
provider = TracerProvider()
assert type(provider).__module__ == "nuages.sdk.trace"
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("test")
received = []

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        received.append(dict(self.headers))
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b"{}"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}/items/"
"""
END = """
def describe(span):
    return {
        "name": span.name, "kind": span.kind.name, "status": span.status.status_code.name, "scope": span.instrumentation_scope.name,
        "ids": [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"],
        "parent": span.parent and f"{span.parent.span_id:016x}",
        "attributes": {key: str(value) for key, value in span.attributes.items()},
    }
print(json.dumps([[describe(span) for span in memory.get_finished_spans()], received]))
"""


def installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def needs(*libraries):
    """The library; where it is, its instrumentor must be too: test_bootstrap has installed it."""
    missing = [name for name in libraries if not installed(name)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not in this cell")


def run(body, **environment):
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(body) + END],
        env={**os.environ, "NUAGES_AUTO": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    spans, received = json.loads(done.stdout)
    return spans, received


def bootstrap(*arguments):
    command = [sys.executable, "-m", "nuages.cli", "bootstrap", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@needs("requests")
class TestBootstrap:
    """First in this file: it installs what the others use."""

    def test_requirements(self):
        done = bootstrap()
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert any(line.startswith("opentelemetry-instrumentation-requests>=0.") for line in lines), lines
        assert not [line for line in lines if "django" in line or "celery" in line]
        assert "Django, djangorestframework, celery" in done.stderr
        assert bootstrap("-a", "requirements").stdout == bootstrap("--action=requirements").stdout == done.stdout

    def test_install(self):
        before = importlib.metadata.version("opentelemetry-sdk")
        done = bootstrap("-a", "install")
        assert done.returncode == 0, done.stderr
        names = [line.split()[0] for line in done.stdout.splitlines()]
        assert names == [line.partition(">=")[0] for line in bootstrap().stdout.splitlines()]
        check = "import importlib.metadata as m; print(m.version('opentelemetry-sdk'))"
        after = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
        assert after.stdout.strip() == before

    def test_wrong_action(self):
        done = bootstrap("-a", "remove")
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: nuages bootstrap" in done.stderr


CLIENTS = {
    "requests": "import requests\nwith tracer.start_as_current_span('outer'):\n    requests.get(URL)",
    "httpx": "import httpx\nwith tracer.start_as_current_span('outer'):\n    httpx.get(URL, trust_env=False)",
    "urllib3": "import urllib3\nwith tracer.start_as_current_span('outer'):\n    urllib3.PoolManager().request('GET', URL)",
    "urllib": "from urllib.request import urlopen\nwith tracer.start_as_current_span('outer'):\n    urlopen(URL).read()",
    "httpx asynchronous": """
        import asyncio, httpx
        async def main():
            with tracer.start_as_current_span("outer"):
                async with httpx.AsyncClient(trust_env=False) as client:
                    await client.get(URL)
        asyncio.run(main())
    """,
    "aiohttp": """
        import asyncio, aiohttp
        async def main():
            with tracer.start_as_current_span("outer"):
                async with aiohttp.ClientSession() as session:
                    async with session.get(URL) as response:
                        await response.read()
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("name", CLIENTS)
@needs("requests")
def test_an_outgoing_call_carries_the_context(name):
    library = name.split()[0]
    if library != "urllib" and not installed(library):
        pytest.skip(f"{library} not in this cell")
    spans, received = run(CLIENTS[name])
    outer = next(span for span in spans if span["name"] == "outer")
    [client] = [span for span in spans if span["kind"] == "CLIENT"]
    assert client["name"] == "GET"
    assert (client["parent"], client["ids"][0]) == (outer["ids"][1], outer["ids"][0])
    assert client["scope"] == f"opentelemetry.instrumentation.{'aiohttp_client' if library == 'aiohttp' else library}"
    [headers] = received
    sent = {key.lower(): value for key, value in headers.items()}["traceparent"].split("-")
    assert (sent[1:3], int(sent[3], 16) & 1) == (client["ids"], 1)


@needs("requests")
def test_disabled_and_repeated():
    body = CLIENTS["requests"]
    assert [span["name"] for span in run(body, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="requests,urllib3")[0]] == [
        "outer"
    ]
    assert [span["name"] for span in run(body, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*")[0]] == ["outer"]
    own = """
        import requests
        from opentelemetry.instrumentation.requests import RequestsInstrumentor
        RequestsInstrumentor().instrument(request_hook=lambda span, request: span.set_attribute("own.hook", "yes"))
        RequestsInstrumentor().instrument()
    """
    spans, _ = run(textwrap.dedent(own) + body)
    [client] = [span for span in spans if span["kind"] == "CLIENT"]
    assert client["attributes"]["own.hook"] == "yes", "the application's own options count"


@needs("requests", "Django")
def test_a_request_of_django_that_calls_a_service():
    """The whole way: SERVER span, view, CLIENT span, header."""
    body = """
        import django, io, os, wsgiref.util
        from django.conf import settings
        from django.http import HttpResponse
        from django.urls import path
        import requests
        def view(request):
            return HttpResponse(requests.get(URL).text)
        urlpatterns = [path("pay/", view)]
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
        django.setup()
        from django.core.wsgi import get_wsgi_application
        environ = {"PATH_INFO": "/pay/", "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
        wsgiref.util.setup_testing_defaults(environ)
        answer = get_wsgi_application()(environ, lambda status, headers, exc_info=None: None)
        assert b"".join(answer) == b"{}"
        answer.close()
    """
    spans, received = run(body)
    by_name = {span["name"]: span for span in spans}
    client, view, server = by_name["GET"], by_name["__main__.view"], by_name["GET /pay/"]
    assert (client["parent"], view["parent"]) == (view["ids"][1], server["ids"][1])
    assert received[0]["traceparent"].split("-")[2] == client["ids"][1]


@needs("botocore")
def test_botocore():
    spans, _ = run(
        """
        import botocore.session
        session = botocore.session.get_session()
        session.set_credentials("key", "secret")
        client = session.create_client("dynamodb", region_name="eu-west-1", endpoint_url=URL)
        with tracer.start_as_current_span("outer"):
            client.list_tables()
        """
    )
    [call] = [span for span in spans if span["scope"].startswith("opentelemetry.instrumentation.botocore")]
    assert call["kind"] == "CLIENT"
    assert call["attributes"]["rpc.method"].endswith("ListTables")


@needs("grpcio")
def test_grpc():
    spans, _ = run(
        """
        import grpc
        from concurrent import futures
        def handler(details):
            received.append({key: value for key, value in details.invocation_metadata if isinstance(value, str)})
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        class Handlers(grpc.GenericRpcHandler):
            def service(self, details):
                return handler(details)
        rpc = grpc.server(futures.ThreadPoolExecutor(1), handlers=(Handlers(),))
        port = rpc.add_insecure_port("127.0.0.1:0")
        rpc.start()
        with tracer.start_as_current_span("outer"), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert channel.unary_unary("/shop.Stock/Get")(b"x") == b"x"
        rpc.stop(None)
        """
    )
    [call] = [span for span in spans if span["kind"] == "CLIENT"]
    assert (call["name"], call["attributes"]["rpc.method"]) == ("/shop.Stock/Get", "Get")


@needs("kafka-python")
def test_kafka():
    """No broker: the span of a send that does not get through ends, and the error is the application's."""
    spans, _ = run(
        """
        from kafka import KafkaProducer
        from kafka.errors import KafkaError
        try:
            producer = KafkaProducer(bootstrap_servers="127.0.0.1:1", api_version=(2, 6), max_block_ms=200)
            with tracer.start_as_current_span("outer"):
                producer.send("orders", b"x")
        except KafkaError as error:
            print(type(error).__name__, file=sys.stderr)
        """
    )
    [send] = [span for span in spans if span["kind"] == "PRODUCER"]
    assert (send["name"], send["status"]) == ("orders send", "ERROR")


@needs("elasticsearch")
def test_elasticsearch():
    """Its client makes spans through the API by itself."""
    spans, _ = run(
        """
        from elasticsearch import Elasticsearch
        with tracer.start_as_current_span("outer"):
            Elasticsearch(URL).index(index="books", id="1", document={"title": "secret title"})
        """
    )
    [call] = [span for span in spans if span["scope"].startswith("elasticsearch")]
    assert (call["name"], "elasticsearch" in call["attributes"].values()) == ("index", True)
    assert "secret title" not in str(spans)
