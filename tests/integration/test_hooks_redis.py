"""Redis commands as spans, against a real server (R7.02 to R7.05)."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import Driver

# Debian's redis-tools has the server under the name of one of its tools and, unlike redis-server, starts no service.
PROGRAM = shutil.which("redis-server") or shutil.which("redis-check-rdb")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="redis-tools is not installed")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    command = [
        "redis-server",
        "--port",
        str(number),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path_factory.mktemp("redis")),
    ]
    with subprocess.Popen(command, executable=PROGRAM, stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            raise AssertionError(f"redis-server ended with {server.wait()}")
        yield number
        server.terminate()
        server.stdout.read()


@pytest.fixture(scope="module")
def shop(port):
    driver = Driver(BOOKSHOP_REDIS=f"redis://127.0.0.1:{port}/3")
    yield driver
    assert driver.close() == 0


def told(span):
    return span["name"], span["attributes"]["db.statement"], span["status"]


def test_commands_and_pipelines(shop, port):
    answer = shop.scenario("redis_commands")
    assert answer.result[0] == "secret value"
    assert answer.result[2] == ["True", "True", "b'secret value'"]
    spans = answer.children(answer.named("outer"))
    assert [told(span) for span in spans] == [
        ("SET", "SET ? ? ? ?", "UNSET"),
        ("GET", "GET ?", "UNSET"),
        ("INCRBY", "INCRBY ? ?", "ERROR"),
        ("PIPELINE", "SET ? ?\nEXPIRE ? ?\nGET ?", "UNSET"),
        ("WATCH", "WATCH ?", "UNSET"),
        ("PIPELINE", "DEL ?", "UNSET"),
        ("CONFIG GET", "CONFIG GET ?", "UNSET"),
    ]
    assert {span["kind"] for span in spans} == {"CLIENT"}
    assert spans[0]["attributes"] == {
        "db.system": "redis",
        "net.peer.name": "127.0.0.1",
        "net.peer.port": port,
        "net.transport": "ip_tcp",
        "db.redis.database_index": 3,
        "db.statement": "SET ? ? ? ?",
        "db.operation": "SET",
        "db.redis.args_length": 5,
    }
    assert spans[3]["attributes"]["db.redis.pipeline_length"] == 3
    assert spans[2]["events"][0]["attributes"]["exception.type"] == "redis.exceptions.ResponseError"
    assert len(answer.spans) == len(spans) + 1, "the command outside of any span makes none"
    assert "secret" not in str(answer.spans)
    assert "ann" not in str(answer.spans)


def test_semantic_conventions(shop, port):
    answer = shop.scenario("redis_conventions", opt_in="database")
    [span] = answer.children(answer.named("outer"))
    assert span["attributes"] == {
        "db.system.name": "redis",
        "db.namespace": "3",
        "db.query.text": "GET ?",
        "db.operation.name": "GET",
        "db.redis.args_length": 2,
        "server.address": "127.0.0.1",
        "server.port": port,
        "network.transport": "tcp",
    }


def test_asyncio(shop):
    answer = shop.scenario("redis_asyncio")
    assert answer.result is True, "execute_command stays a coroutine function"
    spans = answer.children(answer.named("outer"))
    assert sorted(told(span)[:2] for span in spans) == [
        ("GET", "GET ?"),
        ("PIPELINE", "GET ?\nDEL ?"),
        ("SET", "SET ? ?"),
    ]


def test_below_the_cache(shop):
    answer = shop.scenario("redis_cache")
    assert answer.result == 5
    assert answer.tree() == ["outer", "  cache.set", "    SET", "  cache.get", "    GET"]
    assert answer.named("cache.set")["attributes"]["cache.backend"] == "RedisCache"


def test_a_server_that_is_away(shop):
    answer = shop.scenario("redis_away")
    assert answer.result == "ConnectionError"
    [span] = answer.children(answer.named("outer"))
    assert (span["name"], span["status"]) == ("GET", "ERROR")


def test_a_broker_s_commands_are_not_the_request_s(shop):
    answer = shop.scenario("redis_broker")
    assert answer.tree() == ["outer", "  celery.apply_async: restock"]


def test_a_worker_s_polling_and_health_checks_are_no_traces(shop):
    """R7.05: what Celery and redis-py say to the broker by themselves makes neither root traces nor noise."""
    answer = shop.scenario("redis_worker")
    assert answer.result is True
    roots = sorted(span["name"] for span in answer.spans if not span["parent_id"])
    assert roots == ["outer", "shop.polled"]
    assert answer.tree(answer.named("outer")) == ["outer", "  celery.apply_async: polled"]
    assert answer.tree(answer.named("shop.polled")) == ["shop.polled"]
