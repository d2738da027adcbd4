"""Requests, streams, lost clients and websockets on real servers: uvicorn, daphne, hypercorn and gunicorn with Django and Channels
(R3.10, R3.11, R3.15, R21.05). Every server has to give the same traces, stated as text."""

import http.client
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import Answer, Collector
from live import Server

ASGI = ("uvicorn", "daphne", "hypercorn", "gunicorn")

VIEW = """\
{server}
  ShelfMiddleware.process_request
  AsyncOnlyMiddleware
    urls.resolve
    ShelfMiddleware.process_view
    bookshop.live.{view}{below}
  ShelfMiddleware.process_response{after}"""

REQUESTS = {
    "/async/3/": VIEW.format(server="GET /async/{number}/", view="async_view", below="\n      SELECT", after=""),
    "/sync/": VIEW.format(server="GET /sync/", view="sync_view", below="\n      SELECT", after=""),
    "/stream/": VIEW.format(server="GET /stream/", view="stream", below="", after="\n  SELECT\n  SELECT"),
    "/fails/": VIEW.format(
        server="GET /fails/", view="fails", below="\n    ShelfMiddleware.process_exception", after=""
    ),
    "/feed/news/": "GET /feed/{name}/\n  FeedConsumer.http_request\n    SELECT",
}
LOST = {
    "/stuck-stream/": VIEW.format(server="GET /stuck-stream/", view="stuck_stream", below="", after=""),
    "/stuck/": "\n".join(VIEW.format(server="GET /stuck/", view="stuck", below="", after="").splitlines()[:-1]),
}
CONVERSATION = """\
WEBSOCKET /ws/orders/{order_id}/
  OrderConsumer.websocket_connect
    SELECT
    websocket.accept

websocket.receive /ws/orders/{order_id}/
  SELECT
  websocket.send

websocket.receive /ws/orders/{order_id}/

order.changed /ws/orders/{order_id}/
  websocket.send

websocket.disconnect /ws/orders/{order_id}/"""
SYNC_CONVERSATION = """\
WEBSOCKET /ws/sync/{order_id}/
  SyncOrderConsumer.websocket_connect
    websocket.accept

websocket.receive /ws/sync/{order_id}/
  SELECT
  websocket.send

websocket.disconnect /ws/sync/{order_id}/"""


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture(scope="module", params=ASGI)
def server(request, collector, tmp_path_factory):
    server = Server(request.param, tmp_path_factory.mktemp("live"), f"http://127.0.0.1:{collector.port}")
    server.name = request.param
    yield server
    server.stop()


class Traces:
    """The traces of one server whose first span has this name, once they are there."""

    def __init__(self, collector, server):
        self.collector = collector
        self.service = server.name

    def roots(self, *names):
        return [
            span
            for span in self.collector.spans
            if span["name"] in names and span["kind"] != 1 and span["resource"]["service.name"] == self.service
        ]

    def of(self, *names, count=1):
        self.collector.wait_for(lambda spans: len(self.roots(*names)) >= count)
        return [
            Answer({"spans": [span for span in self.collector.spans if span["trace_id"] == root["trace_id"]]})
            for root in self.roots(*names)
        ]

    def one(self, name):
        [trace] = self.of(name)
        return trace

    def linked(self, connection, count):
        """What hangs on the span of a connection: its own trace first, then those of its messages."""

        def messages():
            return [
                span
                for span in self.collector.spans
                if any(link["span_id"] == connection["span_id"] for link in span["links"])
            ]

        self.collector.wait_for(lambda spans: len(messages()) >= count)
        assert len(messages()) == count
        return messages()


def root_of(trace):
    [root] = [span for span in trace.spans if not span["parent_id"]]
    return root


def ordered(trace):
    """The tree as text, but for new connections to the database: each thread makes its own."""
    known = [span["span_id"] for span in trace.spans]
    lines = []

    def walk(span, depth):
        lines.append("  " * depth + span["name"])
        below = [other for other in trace.spans if other["parent_id"] == span["span_id"] and other["name"] != "CONNECT"]
        for child in sorted(below, key=lambda other: other["start"]):
            walk(child, depth + 1)

    for span in trace.spans:
        if span["parent_id"] not in known:
            walk(span, 0)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def traces(collector, server):
    return Traces(collector, server)


class TestRequests:
    @pytest.mark.parametrize("path", list(REQUESTS))
    def test_trace(self, server, traces, path):
        status, body = server.get(path)
        assert status == (500 if path == "/fails/" else 200)
        trace = traces.one(REQUESTS[path].splitlines()[0])
        assert ordered(trace) == REQUESTS[path]
        root = root_of(trace)
        assert root["attributes"]["http.status_code"] == status
        assert root["attributes"]["http.flavor"] == "1.1"
        assert "http.client_disconnected" not in root["attributes"]
        assert (root["status"] == 2) is (status == 500)
        if path == "/stream/":
            assert body == "0\n1\n"

    def test_requests_of_one_connection_are_traces_of_their_own(self, server, traces):
        """asyncio hands contexts on from one request of a connection to the next (python/cpython#140947)."""
        connection = server.http()
        for _ in range(4):
            connection.request("POST", "/body/", body=b"x" * 300_000)
            assert connection.getresponse().read() == b"300000"
        connection.close()
        found = traces.of("POST /body/", count=4)
        assert len(found) == 4
        assert len({root_of(trace)["trace_id"] for trace in found}) == 4

    def test_pipelined_requests_are_traces_of_their_own(self, server, traces):
        made = server.connect()
        made.sendall(b"GET /async/7/?piped HTTP/1.1\r\nHost: testserver\r\n\r\n" * 3)
        read = b""
        while read.count(b"HTTP/1.1 200") < 3:
            part = made.recv(65536)
            assert part, read
            read += part
        made.close()
        found = traces.of("GET /async/{number}/", count=3)
        piped = [t for t in found if root_of(t)["attributes"]["http.target"] == "/async/7/?piped"]
        assert len(piped) == 3

    def test_traceparent_is_continued(self, server, traces):
        server.get("/threads/", traceparent=f"00-{'ab' * 15}{len(server.name):02x}-{'cd' * 8}-01")
        [trace] = traces.of("GET /threads/")
        root = next(span for span in trace.spans if span["name"] == "GET /threads/")
        assert (root["trace_id"][:30], root["parent_id"]) == ("ab" * 15, "cd" * 8)

    @pytest.mark.parametrize("path", list(LOST))
    def test_client_that_goes_away(self, server, traces, path):
        made = server.begin(path)
        if path == "/stuck/":
            server.signal.read_text()  # until the view runs
        else:
            while b"first" not in made.recv(65536):
                pass
        made.close()
        trace = traces.one(LOST[path].splitlines()[0])
        assert ordered(trace) == LOST[path]
        root = root_of(trace)
        assert root["attributes"]["http.client_disconnected"] is True
        assert {span["status"] for span in trace.spans} == {0}, "nobody failed"

    def test_body_that_fails(self, server, traces):
        made = server.begin("/failing-stream/")  # daphne leaves the connection open after that
        root = root_of(traces.one("GET /failing-stream/"))
        made.close()
        assert root["status"] == 2
        [event] = root["events"]
        assert event["attributes"]["exception.message"] == "in the middle of the body"


class TestWebsockets:
    def test_conversation(self, server, traces):
        websocket = server.websocket("/ws/orders/7/")
        assert type(websocket.opening).__name__ == "AcceptConnection"
        websocket.send("four")
        assert websocket.read() == "4"
        websocket.send("tell")
        assert websocket.read() == "changed"
        websocket.close()
        connection = traces.of("WEBSOCKET /ws/orders/{order_id}/")[0]
        root = root_of(connection)
        messages = traces.linked(root, 4)
        collected = traces.collector.spans
        told = [ordered(connection)] + [
            ordered(Answer({"spans": [span for span in collected if span["trace_id"] == message["trace_id"]]}))
            for message in messages
        ]
        assert "\n\n".join(told) == CONVERSATION
        assert root["kind"] == 2
        expected = {"http.status_code": 101, "http.scheme": "ws", "http.target": "/ws/orders/7/"}
        assert expected.items() <= root["attributes"].items()
        assert "http.client_disconnected" not in root["attributes"]
        first = messages[0]
        assert first["kind"] == 5
        assert first["attributes"] == {
            "nuages.kind": "websocket",
            "code.namespace": "bookshop.live.OrderConsumer",
            "code.function": "websocket_receive",
            "websocket.message.length": 4,
            "http.route": "/ws/orders/{order_id}/",
            "db.query_count": 1,
            "db.max_query_repetitions": 1,
        }
        assert [link["attributes"] for link in first["links"]] == [{"nuages.link": "websocket"}]
        assert isinstance(messages[-1]["attributes"]["websocket.close.code"], int)

    def test_sync_consumer(self, server, traces):
        websocket = server.websocket("/ws/sync/7/")
        websocket.send("four")
        assert websocket.read() == "4"
        websocket.close()
        connection = traces.one("WEBSOCKET /ws/sync/{order_id}/")
        messages = traces.linked(root_of(connection), 2)
        collected = traces.collector.spans
        told = [ordered(connection)] + [
            ordered(Answer({"spans": [span for span in collected if span["trace_id"] == message["trace_id"]]}))
            for message in messages
        ]
        assert "\n\n".join(told) == SYNC_CONVERSATION

    def test_refused(self, server, traces):
        assert server.websocket("/ws/refused/").opening.status_code == 403
        trace = traces.one("WEBSOCKET /ws/refused/")
        assert root_of(trace)["attributes"]["http.status_code"] == 403
        assert root_of(trace)["status"] == 0
        assert ordered(trace).splitlines()[1:] == ["  RefusingConsumer.websocket_connect", "    websocket.close"]

    def test_failing_consumer(self, server, traces):
        websocket = server.websocket("/ws/orders/8/")
        websocket.send("fail")
        name = "websocket.receive /ws/orders/{order_id}/"
        traces.collector.wait_for(lambda spans: any(span["status"] == 2 for span in traces.roots(name)))
        websocket.socket.close()
        [failed] = [span for span in traces.roots(name) if span["status"] == 2]
        assert failed["events"][0]["attributes"]["exception.message"] == "the consumer fails"


def test_http_2(collector, tmp_path):
    server = Server("hypercorn", tmp_path, f"http://127.0.0.1:{collector.port}", OTEL_SERVICE_NAME="http2")
    server.name = "http2"
    try:
        for path in ("/async/3/", "/sync/"):
            assert server.curl(path, "--http2-prior-knowledge") in "31"
    finally:
        server.stop()
    traces = Traces(collector, server)
    for path, name in (("/async/3/", "GET /async/{number}/"), ("/sync/", "GET /sync/")):
        trace = traces.one(name)
        assert root_of(trace)["attributes"]["http.flavor"] == "2"
        assert ordered(trace) == REQUESTS[path]


def test_excluded_connections_are_silent(collector, tmp_path):
    """R21.05: exclusion under ASGI and on websockets, with everything below."""
    server = Server(
        "uvicorn",
        tmp_path,
        f"http://127.0.0.1:{collector.port}",
        OTEL_SERVICE_NAME="excluded",
        OTEL_PYTHON_DJANGO_EXCLUDED_URLS="ws/orders/, stream/,feed",
    )
    try:
        for path in ("/stream/", "/feed/x/"):
            assert server.get(path)[0] == 200
        websocket = server.websocket("/ws/orders/7/")
        websocket.send("four")
        assert websocket.read() == "4"
        websocket.close()
        assert server.get("/sync/")[0] == 200
    finally:
        server.stop()

    def ours():
        return [span for span in collector.spans if span["resource"]["service.name"] == "excluded"]

    collector.wait_for(lambda spans: any(span["name"] == "GET /sync/" for span in ours()))
    assert {span["trace_id"] for span in ours()} == {
        span["trace_id"] for span in ours() if span["name"] == "GET /sync/"
    }


@pytest.mark.parametrize("server_name", ["uvicorn", "hypercorn"])
def test_no_thread_task_or_adapter_is_added(collector, tmp_path, server_name):
    """60 requests that wait for each other in one process: the same threads, tasks and sync adapters as without the agent."""
    service = f"crowd {server_name}"

    def crowded(spans):
        named = [span for span in spans if span["name"] == "GET /crowd/{count}/"]
        return [span for span in named if span["resource"]["service.name"] == service]

    seen = {}
    for traced in (False, True):
        folder = tmp_path / str(traced)
        folder.mkdir()
        endpoint = f"http://127.0.0.1:{collector.port}" if traced else None
        server = Server(server_name, folder, endpoint, "plain", OTEL_SERVICE_NAME=service)
        try:
            crowd = [server.begin("/crowd/60/") for _ in range(60)]
            bodies = [http_body(made) for made in crowd]
        finally:
            server.stop()
        assert len(bodies) == 60
        [seen[traced]] = {tuple(map(str, json.loads(body).items())) for body in bodies}
    assert seen[True] == seen[False]
    assert "process_request" in str(seen[True])
    collector.wait_for(lambda spans: len(crowded(spans)) >= 60)
    assert len(crowded(collector.spans)) == 60


def http_body(made):
    response = http.client.HTTPResponse(made)
    response.begin()
    try:
        return response.read()
    finally:
        made.close()


def test_wsgi_on_gunicorn(collector, tmp_path):
    server = Server("gunicorn wsgi", tmp_path, f"http://127.0.0.1:{collector.port}", OTEL_SERVICE_NAME="wsgi", TZ="UTC")
    server.name = "wsgi"
    try:
        assert server.get("/async/3/") == (200, "3")
        assert server.get("/stream/") == (200, "0\n1\n")
    finally:
        server.stop()
    traces = Traces(collector, server)
    assert ordered(traces.one("GET /async/{number}/")) == REQUESTS["/async/3/"]
    assert ordered(traces.one("GET /stream/")).splitlines()[0] == "GET /stream/"
