"""Celery on real brokers: canvases, outcomes that only the worker's main process sees, every pool, beat, and nothing different for the application."""

import importlib.util
import json
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import broker_fixture
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import BOOKSHOP, Collector, Driver, environment

CONSUMER, PRODUCER = 5, 4  # SpanKind in OTLP
ERROR = 2
LOST = "billiard.exceptions.WorkerLostError"
CELERY = [sys.executable, "-m", "celery", "-A", "bookshop"]

needs_redis = pytest.mark.skipif(broker_fixture.REDIS is None, reason="redis-tools is not installed")
needs_rabbitmq = pytest.mark.skipif(broker_fixture.RABBITMQ is None, reason="rabbitmq-server is not installed")


class Process:
    """A Celery program of the test project, traced unless there is no collector, and what it needs to be stopped."""

    def __init__(self, arguments, collector, settings, **extra):
        traced = {}
        if collector:
            traced = {"BOOKSHOP_TRACING": "early", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        self.process = subprocess.Popen(
            [*CELERY, *arguments, "--loglevel=WARNING"],
            cwd=BOOKSHOP,
            env=environment(**settings, **traced, OTEL_SERVICE_NAME="bookshop-worker", **extra),
        )

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()


def worker(collector, settings, pool="prefork", concurrency=2, **extra):
    arguments = ["worker", f"--pool={pool}", f"--concurrency={concurrency}"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Process([*arguments, *quiet], collector, settings, **extra)


class Shop:
    """A worker and a process that sends to it."""

    def __init__(self, folder, broker, results, pool="prefork", **extra):
        self.settings = {
            "BOOKSHOP_BROKER": broker,
            "BOOKSHOP_RESULTS": results,
            "BOOKSHOP_DATABASE": folder / "shop.sqlite3",
        }
        self.collector = Collector()
        self.driver = Driver(**self.settings)
        self.worker = worker(self.collector, self.settings, pool, **extra)

    def stop(self):
        assert self.driver.close() == 0
        try:
            assert self.worker.stop() == 0
        finally:
            self.collector.stop()

    def send(self, name, *arguments, **options):
        """Sends one task; its id and the answer with the producer's spans."""
        answer = self.driver.scenario("send", steps=[[name, arguments, options]])
        return answer.result[0], answer

    def run(self, task_id, reported_by=None):
        """The CONSUMER span of a message, from the process that ran it or from the worker's main process."""

        def found(spans):
            return [
                span
                for span in spans
                if span["kind"] == CONSUMER
                and span["attributes"]["messaging.message.id"] == task_id
                and span["attributes"].get("celery.reported_by") == reported_by
            ]

        [span] = found(self.collector.wait_for(found))
        return span


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with broker_fixture.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def shop(redis_url, tmp_path_factory):
    running = Shop(tmp_path_factory.mktemp("shop"), redis_url, redis_url.replace("/0", "/1"))
    yield running
    running.stop()


def consumers(spans, name):
    return [span for span in spans if span["kind"] == CONSUMER and span["name"] == name]


def linked_to(span):
    return [link["span_id"] for link in span["links"]]


@needs_redis
class TestCanvas:
    def test_chain(self, shop):
        answer = shop.driver.scenario("canvas", kind="chain")
        assert answer.result == {"value": 10, "current": "outer"}
        [first_message] = answer.of_kind("PRODUCER")
        root_id = first_message["attributes"]["messaging.message.id"]

        def chained(spans):
            return [
                span
                for span in consumers(spans, "catalog.tasks.add")
                if root_id in (span["attributes"]["messaging.message.id"], span["attributes"].get("celery.root_id"))
            ]

        spans = shop.collector.wait_for(lambda spans: len(chained(spans)) == 3)
        by_id = {span["attributes"]["messaging.message.id"]: span for span in chained(spans)}
        first = by_id.pop(root_id)
        assert linked_to(first) == [first_message["span_id"]]
        before = first
        while by_id:  # each step was sent by the one before it, from inside its span
            [message] = [s for s in spans if s["kind"] == PRODUCER and s["trace_id"] == before["trace_id"]]
            after = by_id.pop(message["attributes"]["messaging.message.id"])
            assert message["parent_id"] == before["span_id"]
            assert linked_to(after) == [message["span_id"]]
            assert after["attributes"]["celery.parent_id"] == before["attributes"]["messaging.message.id"]
            before = after

    def test_group(self, shop):
        answer = shop.driver.scenario("canvas", kind="group")
        assert answer.result == {"value": [3, 7], "current": "outer"}
        messages = {s["span_id"]: s["attributes"]["messaging.message.id"] for s in answer.of_kind("PRODUCER")}
        assert len(messages) == 2
        runs = [shop.run(task_id) for task_id in messages.values()]
        assert [linked_to(run) for run in runs] == [[span_id] for span_id in messages]
        assert len({run["attributes"]["celery.group_id"] for run in runs}) == 1

    def test_chord(self, shop):
        answer = shop.driver.scenario("canvas", kind="chord")
        assert answer.result == {"value": 10, "current": "outer"}
        headers = [s["attributes"]["messaging.message.id"] for s in answer.of_kind("PRODUCER")]
        assert len(headers) == 2
        header_runs = [shop.run(task_id) for task_id in headers]
        spans = shop.collector.wait_for(lambda spans: consumers(spans, "catalog.tasks.total"))
        [body] = consumers(spans, "catalog.tasks.total")
        [message] = [span for span in spans if [span["span_id"]] == linked_to(body)]
        assert message["name"] == "celery.apply_async: total"
        assert message["parent_id"] in {run["span_id"] for run in header_runs}

    def test_sent_from_a_task(self, shop):
        task_id, _ = shop.send("fan_out")
        run = shop.run(task_id)
        spans = shop.collector.wait_for(
            lambda spans: any(s["kind"] == PRODUCER and s["parent_id"] == run["span_id"] for s in spans)
        )
        assert spans


@needs_redis
class TestOutcomes:
    def test_waiting_and_eta(self, shop):
        task_id, answer = shop.send("add", 1, 2, countdown=0.5)
        [producer] = answer.of_kind("PRODUCER")
        assert producer["attributes"]["celery.countdown"] == 0.5
        attributes = shop.run(task_id)["attributes"]
        assert attributes["celery.eta"].startswith(str(datetime.now(timezone.utc).year))
        assert attributes["celery.queue_time_ms"] >= 0
        assert attributes["celery.state"] == "SUCCESS"
        assert "@" in attributes["celery.worker"]
        task_id, _ = shop.send("add", 1, 2)
        attributes = shop.run(task_id)["attributes"]
        assert attributes["celery.queue_time_ms"] > 0
        assert "celery.eta" not in attributes

    def test_revoked(self, shop):
        task_id = "00000000-0000-4000-8000-000000000001"
        answer = shop.driver.scenario("revoke", task_id=task_id)
        assert answer.result == 1, "no worker answered"
        control = answer.named("celery.control: revoke")
        assert (control["kind"], control["attributes"]["messaging.message.id"]) == ("PRODUCER", task_id)
        assert answer.tree() == ["outer", "  celery.control: revoke"]
        _, answer = shop.send("add", 1, 2, task_id=task_id)
        [producer] = answer.of_kind("PRODUCER")
        run = shop.run(task_id, "worker")
        assert linked_to(run) == [producer["span_id"]]
        assert run["attributes"]["celery.state"] == "REVOKED"
        assert run["attributes"]["celery.revoked.reason"] == "revoked"
        assert shop.driver.scenario("finished", task_id=task_id).result[0] == "REVOKED"

    def test_expired(self, shop):
        past = datetime.now(timezone.utc) - timedelta(hours=1)
        task_id, answer = shop.send("add", 1, 2, expires=past.isoformat())
        assert answer.of_kind("PRODUCER")[0]["attributes"]["celery.expires"] == past.isoformat()
        attributes = shop.run(task_id, "worker")["attributes"]
        assert (attributes["celery.state"], attributes["celery.revoked.reason"]) == ("REVOKED", "expired")

    @pytest.mark.parametrize(("how", "state"), [("Ignore", "IGNORED"), ("Reject", "REJECTED")])
    def test_ignored_and_rejected(self, shop, how, state):
        task_id, _ = shop.send("leave", how)
        run = shop.run(task_id)
        assert (run["attributes"]["celery.state"], run["status"]) == (state, 0)

    def test_unknown_task(self, shop):
        answer = shop.driver.scenario("send_unknown", task="nowhere.missing")
        run = shop.run(answer.result, "worker")
        assert (run["name"], run["status"]) == ("nowhere.missing", ERROR)
        assert linked_to(run) == [answer.of_kind("PRODUCER")[0]["span_id"]]

    def test_process_that_exits_at_once(self, shop):
        task_id, answer = shop.send("leave", "os._exit")
        run = shop.run(task_id, "worker")
        assert linked_to(run) == [answer.of_kind("PRODUCER")[0]["span_id"]]
        assert (run["attributes"]["celery.state"], run["status"]) == ("FAILURE", ERROR)
        assert run["events"][0]["attributes"]["exception.type"] == LOST

    def test_system_exit(self, shop):
        task_id, _ = shop.send("leave", "SystemExit")
        run = shop.run(task_id)
        assert run["status"] == ERROR
        assert run["events"][0]["attributes"]["exception.type"] == "SystemExit"

    def test_hard_time_limit(self, shop):
        task_id, _ = shop.send("endless", time_limit=1)
        run = shop.run(task_id, "worker")
        assert run["events"][0]["attributes"]["exception.type"] == "billiard.exceptions.TimeLimitExceeded"
        assert run["attributes"]["celery.state"] == "FAILURE"

    def test_soft_time_limit(self, shop):
        task_id, _ = shop.send("patient", soft_time_limit=1)
        assert shop.driver.scenario("finished", task_id=task_id).result == ["SUCCESS", "'softly stopped'"]
        assert shop.run(task_id)["attributes"]["celery.state"] == "SUCCESS"


@needs_redis
def test_the_application_ends_as_without_us(redis_url, tmp_path):
    """The same tasks through an untraced and a traced worker: the same results, states and errors."""
    both = []
    for number, collector in ((4, None), (6, Collector())):
        settings = {
            "BOOKSHOP_BROKER": redis_url.replace("/0", f"/{number}"),
            "BOOKSHOP_RESULTS": redis_url.replace("/0", f"/{number + 1}"),
            "BOOKSHOP_DATABASE": tmp_path / "shop.sqlite3",
        }
        traced = {}
        if collector:
            traced = {"NUAGES_AUTO": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        running = worker(collector, settings, concurrency=4)
        sender = subprocess.Popen(
            [sys.executable, str(BOOKSHOP / "outcomes.py")],
            env=environment(**settings, **traced),
            stdout=subprocess.PIPE,
            text=True,
        )
        both.append((sender, running))
    ends, codes = [], []
    for sender, running in both:
        try:
            ends.append([json.loads(line) for line in sender.communicate(timeout=120)[0].splitlines()])
            assert sender.returncode == 0
        finally:
            sender.kill()
            codes.append(running.stop())
    names = {f"catalog.tasks.{name}" for name in ("add", "endless", "patient", "total", "stubborn", "leave")}
    collector.wait_for(lambda spans: names <= {span["name"] for span in spans})
    collector.stop()
    assert len(ends[0]) == 14
    assert ends[0] == ends[1]
    assert codes[0] == codes[1]  # some versions end with 1 after a task's SystemExit


@needs_redis
@pytest.mark.parametrize("pool", ["solo", "threads", "gevent", "eventlet"])
def test_pools(redis_url, tmp_path, pool):
    if pool in ("gevent", "eventlet") and importlib.util.find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed")
    shop = Shop(tmp_path, redis_url.replace("/0", "/2"), redis_url.replace("/0", "/3"), pool)
    try:
        answer = shop.driver.scenario("send", steps=[["add", [n, 2], {}] for n in range(4)] + [["explode", ["x"], {}]])
        for producer, task_id in zip(answer.of_kind("PRODUCER"), answer.result):
            run = shop.run(task_id)
            assert linked_to(run) == [producer["span_id"]]
            assert run["attributes"]["celery.state"] == ("FAILURE" if "explode" in run["name"] else "SUCCESS")
    finally:
        shop.stop()


@needs_redis
def test_beat(redis_url, tmp_path):
    """What beat sends is a root with the schedule's name, linked to its task; `-B` keeps beat inside of the worker."""
    settings = {"BOOKSHOP_BROKER": redis_url.replace("/0", "/8"), "BOOKSHOP_DATABASE": tmp_path / "shop.sqlite3"}
    collector = Collector()
    beat = Process(["beat", "--schedule", str(tmp_path / "schedule")], collector, settings)
    try:
        spans = collector.wait_for(lambda spans: any(span["kind"] == PRODUCER for span in spans))
    finally:
        beat.stop()
        collector.stop()
    message = next(span for span in spans if span["kind"] == PRODUCER)
    assert (message["name"], message["parent_id"]) == ("celery.apply_async: add", "")
    assert message["attributes"]["celery.schedule"] == "restock every second"
    assert {span["name"] for span in spans} == {"celery.apply_async: add"}, "polling made spans"


@needs_rabbitmq
def test_rabbitmq(tmp_path):
    with broker_fixture.rabbitmq(tmp_path) as url:
        shop = Shop(tmp_path, url, "rpc://")
        try:
            answer = shop.driver.scenario("canvas", kind="chain")
            assert answer.result == {"value": 10, "current": "outer"}
            [producer] = answer.of_kind("PRODUCER")
            assert producer["attributes"]["messaging.system"] == "rabbitmq"
            run = shop.run(producer["attributes"]["messaging.message.id"])
            assert linked_to(run) == [producer["span_id"]]
            assert run["attributes"]["messaging.destination"] == "celery"
        finally:
            shop.stop()


def test_no_broker():
    """A publish that fails for want of a broker is an error of the producer, and the application's to see."""
    driver = Driver(BOOKSHOP_BROKER=f"amqp://127.0.0.1:{broker_fixture.free_port()}//")
    try:
        answer = driver.scenario("send_to_nobody")
        assert answer.result == "OperationalError"
        assert answer.named("celery.apply_async: add")["status"] == "ERROR"
    finally:
        assert driver.close() == 0
