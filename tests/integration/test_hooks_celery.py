"""Celery: producers, eager tasks, and real prefork workers that export to a stand-in collector."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import BOOKSHOP, Collector, Driver, environment

CONSUMER, PRODUCER = 5, 4  # SpanKind in OTLP
ERROR = 2


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


class TestProducer:
    def test_request_that_sends_a_task(self, shop):
        answer = shop.request("/buy/1/")
        producer = answer.named("celery.apply_async: restock")
        assert producer["kind"] == "PRODUCER"
        assert producer["parent_id"] == answer.named("catalog.views.buy")["span_id"]
        attributes = producer["attributes"]
        assert attributes["celery.task_name"] == "catalog.tasks.restock"
        assert attributes["messaging.destination"] == "celery"
        assert attributes["messaging.system"] == "memory"
        assert len(attributes["messaging.message.id"]) == 36
        assert [span["name"] for span in answer.of_kind("PRODUCER")] == ["celery.apply_async: restock"]

    def test_headers_of_the_message(self, shop):
        answer = shop.scenario("published_headers")
        producer = answer.named("celery.apply_async: restock")
        headers = answer.result["headers"]
        version, trace_id, span_id, flags = headers["traceparent"].split("-")
        assert (version, trace_id, span_id) == ("00", producer["trace_id"], producer["span_id"])
        assert int(flags, 16) & 1 == 1
        assert (headers["x-mine"], headers["task"]) == ("1", "catalog.tasks.restock")
        assert answer.result["mine"] == {"x-mine": "1"}, "the caller's own headers were changed"
        assert producer["attributes"]["messaging.destination"] == "headers-test"

    def test_publish_that_fails(self, shop):
        answer = shop.scenario("unserializable_task")
        assert answer.result == {"error": "EncodeError", "current": "outer"}
        producer = answer.named("celery.apply_async: unserializable")
        assert producer["status"] == "ERROR"
        assert producer["events"][0]["attributes"]["exception.type"] == "kombu.exceptions.EncodeError"

    def test_send_task_of_an_unknown_name(self, shop):
        answer = shop.scenario("send_by_name")
        [producer] = answer.of_kind("PRODUCER")
        assert producer["name"] == "celery.apply_async: unknown_task"
        assert producer["attributes"]["messaging.message.id"] == answer.result

    def test_unsampled_request_sends_an_unsampled_header(self, shop):
        answer = shop.request("/buy/1/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"})
        assert answer["status"] == 202
        assert answer.spans == []

    def test_tasks_can_be_pickled(self, shop):
        assert shop.scenario("pickle_a_task").result == "catalog.tasks.restock"


class TestInPlace:
    def test_link_mode(self, shop):
        answer = shop.scenario("eager_in_mode", task="restock", arguments=[1], relation="link")
        assert answer.result == {"state": "SUCCESS", "current": "outer"}
        producer, consumer = answer.named("celery.apply_async: restock"), answer.named("catalog.tasks.restock")
        assert consumer["kind"] == "CONSUMER"
        assert consumer["parent_id"] == ""
        assert consumer["trace_id"] != producer["trace_id"]
        assert consumer["links"] == [
            {"trace_id": producer["trace_id"], "span_id": producer["span_id"], "attributes": {"nuages.link": "celery"}}
        ]
        assert consumer["attributes"]["db.query_count"] == 1
        update = answer.named("UPDATE catalog_book SET stock = ? WHERE id = ?")
        assert update["parent_id"] == consumer["span_id"]

    def test_child_mode(self, shop):
        answer = shop.scenario("eager_in_mode", task="restock", arguments=[1], relation="child")
        producer, consumer = answer.named("celery.apply_async: restock"), answer.named("catalog.tasks.restock")
        assert (consumer["trace_id"], consumer["parent_id"]) == (producer["trace_id"], producer["span_id"])
        assert consumer["links"] == []

    def test_apply_without_a_message_is_part_of_the_trace(self, shop):
        answer = shop.scenario("run_in_place")
        assert answer.result == "SUCCESS"
        assert answer.named("catalog.tasks.restock")["parent_id"] == answer.named("outer")["span_id"]

    def test_failure(self, shop):
        consumer = shop.scenario("eager_in_mode", task="explode", arguments=["loud"], relation="link").named(
            "catalog.tasks.explode"
        )
        assert consumer["status"] == "ERROR"
        assert consumer["attributes"]["celery.state"] == "FAILURE"
        [event] = consumer["events"]
        assert event["attributes"]["exception.message"] == "loud"

    @pytest.mark.parametrize(
        ("how", "task", "propagates"),
        [("SystemExit", "leave", False), ("BaseException", "leave", False), ("explode", "explode", True)],
    )
    def test_what_reaches_the_caller(self, shop, how, task, propagates):
        answer = shop.scenario("leave_in_place", how=how, propagates=propagates)
        raised = "ValueError" if how == "explode" else how
        assert answer.result == [raised, "outer"]
        for name in (f"celery.apply_async: {task}", f"catalog.tasks.{task}"):
            span = answer.named(name)
            assert (span["status"], span["events"][0]["attributes"]["exception.type"]) == ("ERROR", raised)
            assert len(span["events"]) == 1

    def test_retry(self, shop):
        answer = shop.scenario("eager_in_mode", task="flaky", arguments=[], relation="link")
        runs = sorted(
            (span for span in answer.spans if span["name"] == "catalog.tasks.flaky"),
            key=lambda span: span["attributes"]["celery.retries"],
        )
        assert [run["attributes"]["celery.state"] for run in runs] == ["RETRY", "SUCCESS"]
        assert [run["status"] for run in runs] == ["UNSET", "UNSET"]
        assert runs[0]["events"][0]["name"] == "celery.retry"


class Worker:
    def __init__(self, folder, collector, tracing, **extra):
        for name in ("broker", "broker/control"):
            (folder / name).mkdir(exist_ok=True)
        self.settings = {"BOOKSHOP_BROKER_FOLDER": folder / "broker", "BOOKSHOP_DATABASE": folder / "shop.sqlite3"}
        self.shop = Driver(**self.settings)  # it makes the database
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "bookshop",
                "worker",
                "--pool=prefork",
                "--concurrency=2",
                "--loglevel=WARNING",
            ]
            + ["--without-gossip", "--without-mingle", "--without-heartbeat"],
            cwd=BOOKSHOP,
            env=environment(
                **self.settings,
                BOOKSHOP_TRACING=tracing,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
                OTEL_SERVICE_NAME="bookshop-worker",
                **extra,
            ),
        )

    def stop(self):
        assert self.shop.close() == 0
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(60) == 0
        finally:
            if self.process.poll() is None:
                self.process.kill()


@pytest.fixture(scope="module", params=["early", "late"])
def worker(request, tmp_path_factory):
    collector = Collector()
    running = Worker(tmp_path_factory.mktemp("worker"), collector, request.param)
    running.collector = collector
    yield running
    running.stop()
    collector.stop()


def task_spans(spans, name, state):
    return [
        span
        for span in spans
        if span["name"] == name and span["kind"] == CONSUMER and span["attributes"].get("celery.state") == state
    ]


class TestWorker:
    def test_task_is_a_trace_of_its_own_linked_to_the_request(self, worker):
        producer = worker.shop.request("/buy/1/").named("celery.apply_async: restock")

        def linked(spans):
            return [span for span in spans if any(link["span_id"] == producer["span_id"] for link in span["links"])]

        spans = worker.collector.wait_for(
            lambda spans: linked(spans) and any(span["name"].startswith("UPDATE") for span in spans)
        )
        [consumer] = linked(spans)
        assert (consumer["name"], consumer["kind"]) == ("catalog.tasks.restock", CONSUMER)
        assert consumer["parent_id"] == ""
        assert consumer["trace_id"] != producer["trace_id"]
        [link] = consumer["links"]
        assert (link["trace_id"], link["attributes"]) == (producer["trace_id"], {"nuages.link": "celery"})
        attributes = consumer["attributes"]
        assert attributes["messaging.message.id"] == producer["attributes"]["messaging.message.id"]
        assert attributes["celery.task_name"] == "catalog.tasks.restock"
        assert attributes["celery.state"] == "SUCCESS"
        assert attributes["db.query_count"] == 1
        [update] = [
            span for span in spans if span["trace_id"] == consumer["trace_id"] and span["name"].startswith("UPDATE")
        ]
        assert update["parent_id"] == consumer["span_id"]
        assert update["scope"] == "nuages.db"
        assert consumer["resource"]["service.name"] == "bookshop-worker"

    def test_failure_in_a_worker(self, worker):
        producer = worker.shop.request("/shout/").named("celery.apply_async: explode")
        spans = worker.collector.wait_for(lambda spans: task_spans(spans, "catalog.tasks.explode", "FAILURE"))
        [consumer] = task_spans(spans, "catalog.tasks.explode", "FAILURE")
        assert consumer["links"][0]["span_id"] == producer["span_id"]
        assert consumer["status"] == ERROR
        assert consumer["events"][0]["attributes"]["exception.type"] == "ValueError"

    def test_retry_links_the_attempts(self, worker):
        producer = worker.shop.request("/flaky/").named("celery.apply_async: flaky")
        spans = worker.collector.wait_for(
            lambda spans: (
                task_spans(spans, "catalog.tasks.flaky", "SUCCESS")
                and task_spans(spans, "catalog.tasks.flaky", "RETRY")
            )
        )
        [first] = task_spans(spans, "catalog.tasks.flaky", "RETRY")
        [second] = task_spans(spans, "catalog.tasks.flaky", "SUCCESS")
        assert first["links"][0]["span_id"] == producer["span_id"]
        assert first["events"][0]["name"] == "celery.retry"
        [again] = [span for span in spans if span["kind"] == PRODUCER and span["trace_id"] == first["trace_id"]]
        assert again["name"] == "celery.apply_async: flaky"
        assert second["links"][0]["span_id"] == again["span_id"]
        assert second["links"][1] == {
            "trace_id": first["trace_id"],
            "span_id": first["span_id"],
            "attributes": {"nuages.link": "celery.first_attempt"},
        }
        assert second["attributes"]["celery.retries"] == 1

    def test_every_retry_links_to_the_first_attempt(self, worker):
        worker.shop.scenario("send_stubborn")
        spans = worker.collector.wait_for(lambda spans: task_spans(spans, "catalog.tasks.stubborn", "SUCCESS"))
        worker.collector.wait_for(lambda spans: len(task_spans(spans, "catalog.tasks.stubborn", "RETRY")) == 3)
        runs = [span for span in spans if span["name"] == "catalog.tasks.stubborn" and span["kind"] == CONSUMER]
        runs.sort(key=lambda span: span["attributes"]["celery.retries"])
        firsts = [
            [link["span_id"] for link in run["links"] if link["attributes"]["nuages.link"] == "celery.first_attempt"]
            for run in runs
        ]
        assert firsts == [[]] + [[runs[0]["span_id"]]] * 3

    def test_unsampled_request_makes_no_task_trace(self, worker):
        answer = worker.shop.request("/buy/2/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"})
        assert answer.spans == []
        # the task sent after it has come through, so the unsampled one has too: one queue, in order of arrival, two processes
        sampled = [worker.shop.request("/buy/3/").named("celery.apply_async: restock")["span_id"] for _ in range(4)]

        def arrived(spans):
            links = {link["span_id"] for span in spans for link in span["links"]}
            return links.issuperset(sampled)

        spans = worker.collector.wait_for(arrived)
        assert not [span for span in spans if any(link["trace_id"] == "ab" * 16 for link in span["links"])]
        known = {link["span_id"] for span in spans for link in span["links"]}
        restocks = [span for span in spans if span["name"] == "catalog.tasks.restock"]
        assert len(restocks) == len([span for span in restocks if span["links"]]), known


def test_child_relation_in_a_worker(tmp_path):
    collector = Collector()
    worker = Worker(tmp_path, collector, "early", NUAGES_CELERY_RELATION="child")
    try:
        producer = worker.shop.request("/buy/1/").named("celery.apply_async: restock")
        spans = collector.wait_for(lambda spans: task_spans(spans, "catalog.tasks.restock", "SUCCESS"))
        [consumer] = task_spans(spans, "catalog.tasks.restock", "SUCCESS")
        assert (consumer["trace_id"], consumer["parent_id"]) == (producer["trace_id"], producer["span_id"])
        assert consumer["links"] == []
    finally:
        worker.stop()
        collector.stop()
