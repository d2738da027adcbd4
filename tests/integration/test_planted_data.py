"""R14.13: personal data planted at every surface of a real application is in no byte that leaves it, and in no byte of the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_fixture import REDIS, redis
from server_fixture import make_server  # noqa: F401

CLINIC = Path(__file__).resolve().parents[1] / "apps" / "clinic" / "clinic.py"
KNOWN = ("OTEL_", "NUAGES_", "DJANGO_")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: Any) -> Iterator[str]:
    if REDIS is None:
        pytest.skip("redis-tools is not installed")
    with redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


def run_clinic(folder: Path, endpoint: str, **environment: str) -> dict[str, list[str]]:
    """What it planted, by surface."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(KNOWN)}
    owner = {"owner": "boss.x@clinic-0.example.org"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import nuages, runpy; nuages.install(automatic=True); runpy.run_path({str(CLINIC)!r}, run_name='__main__')",
        ],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(CLINIC.parent),
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_SERVICE_NAME": "clinic",
            "OTEL_RESOURCE_ATTRIBUTES": "owner=" + urllib.parse.quote(owner["owner"]),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    planted: dict[str, list[str]] = answer["planted"]
    planted["resource"] = [owner["owner"]]
    # every fault that the application provokes was provoked
    assert len(answer["raised"]) >= 7, answer["raised"]
    # and nothing of it is in what the agent says
    assert_absent(planted, done.stderr.encode(), "the log")
    return planted


def assert_absent(planted: dict[str, list[str]], content: bytes, where: str) -> None:
    found = []
    for surface, values in planted.items():
        for value in values:
            for form in {value, urllib.parse.quote(value), json.dumps(value)[1:-1]}:
                at = content.find(form.encode())
                if at >= 0:
                    found.append(f"{surface}: {content[max(0, at - 60) : at + 60]!r}")
                    break
    assert not found, f"{len(found)} planted values are in {where}:\n" + "\n".join(found)


def names(otlp_server: Any) -> set[str]:
    return {str(span.name) for span in otlp_server.spans()}


@pytest.mark.parametrize("settings", [{}, {"NUAGES_MASKING": "gdpr", "NUAGES_SIGNALS": "all"}], ids=["default", "gdpr"])
def test_nothing_planted_leaves(otlp_server: Any, redis_url: str, tmp_path: Path, settings: dict[str, str]) -> None:
    planted = run_clinic(tmp_path, otlp_server.endpoint, CLINIC_REDIS=redis_url, **settings)
    assert len([value for values in planted.values() for value in values]) >= 200
    sent = b"".join(received.request.SerializeToString() for received in otlp_server.received)
    assert_absent(planted, sent, "the requests")
    # each surface made its spans
    expected = {
        "mail.send",
        "cache.set",
        "cache.get_many",
        "SET",
        "HSET",
        "PIPELINE",
        "auth.login",
        "auth.has_perm",
        "with baggage",
    }
    expected |= {
        "celery.apply_async: discharge",
        "clinic.discharge",
        "manage.py release",
        "page.html",
        "transaction.atomic",
    }
    assert expected <= names(otlp_server), expected - names(otlp_server)
    events = [event.name for span in otlp_server.spans() for event in span.events]
    assert events.count("nuages.n_plus_one") >= 2 and events.count("exception") >= 8


def test_nothing_planted_is_stored(make_server: Any, redis_url: str, tmp_path: Path) -> None:  # noqa: F811
    server = make_server().start()
    planted = run_clinic(tmp_path, f"http://{server.grpc}", CLINIC_REDIS=redis_url, NUAGES_CAPTURE_PARAMETERS="on")
    # bound parameters are asked for: only patterns are masked in them
    planted = {surface: [v for v in values if not v.startswith("opaque")] for surface, values in planted.items()}
    server.wait_stored("clinic", 100)
    shown = []
    for trace in server.get("/api/v1/traces?limit=500").json()["traces"]:
        shown.append(server.get(f"/api/v1/traces/{trace['trace_id']}").content)
        shown.append(server.get(f"/api/v1/traces/{trace['trace_id']}/tree").content)
    shown.append(server.get("/api/v1/findings").content)
    assert len(shown) > 20
    assert_absent(planted, b"".join(shown), "the API's answers")
    assert server.stop() == 0
    stored = b"".join(file.read_bytes() for file in server.data.rglob("*") if file.is_file())
    assert_absent(planted, stored + "".join(server.errors).encode(), "the data folder or the server's log")
