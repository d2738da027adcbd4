"""`nuages doctor` against real receivers, good and bad: what it says, the fix it names, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from transport_fixture import Authority, free_port, grpc_receiver, http_receiver


def doctor(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "nuages.cli", "doctor", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def failures(text: str) -> list[str]:
    lines = text.splitlines()
    return [line + lines[number + 1] for number, line in enumerate(lines) if line.startswith("  FAIL")]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_all_is_well(tmp_path: Path, protocol: str) -> None:
    with grpc_receiver() if protocol == "grpc" else http_receiver() as receiver:
        status, text = doctor(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20topsecret",
            OTEL_SERVICE_NAME="shop",
            NUAGES_MASKING="gdpr",
        )
    assert status == 0 and not failures(text), text
    assert receiver.names == ["nuages doctor"]
    assert "a test span was accepted" in text and "of service shop" in text
    assert "masking = 'gdpr', from NUAGES_MASKING" in text
    assert "headers authorization (values not shown)" in text and "topsecret" not in text
    assert "all checks passed" in text


def test_django_settings_and_hooks_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "shop_settings.py").write_text(
        'SECRET_KEY = "x"\nINSTALLED_APPS = []\nNUAGES = {"MASKING": "hipaa"}\n'
        'MIDDLEWARE = ["opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware"]\n'
    )
    with grpc_receiver() as receiver:
        status, text = doctor(
            tmp_path,
            DJANGO_SETTINGS_MODULE="shop_settings",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}",
        )
    assert status == 0, text
    assert "set up with shop_settings" in text
    assert "masking = 'hipaa', from NUAGES['MASKING'] in the Django settings" in text
    assert "installed: request" in text
    assert "MIDDLEWARE[0]" in text and "remove it" in text


@pytest.mark.parametrize(
    ("environment", "what", "fix"),
    [
        ({"NUAGES_MASKING": "sometimes"}, "NUAGES_MASKING has the bad value 'sometimes'", "gdpr or hipaa"),
        ({"NUAGES_MASKNG": "on"}, "unknown environment variable NUAGES_MASKNG", "NUAGES_MASKING"),
        ({"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED is set", "unset"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "OTEL_TRACES_EXPORTER is none", "unset"),
        (
            {"DJANGO_SETTINGS_MODULE": "no_such_settings"},
            "could not be set up with no_such_settings",
            "manage.py check",
        ),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "no trace is sampled", "OTEL_TRACES_SAMPLER_ARG"),
    ],
)
def test_each_mistake_is_one_failure_with_its_fix(tmp_path: Path, environment: Any, what: str, fix: str) -> None:
    with grpc_receiver() as receiver:
        status, text = doctor(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}", **environment)
    found = failures(text)
    assert status == 1 and len(found) == 1, text
    assert what in found[0] and fix in found[0]


def test_the_receiver_is_the_trouble(tmp_path: Path, tmp_path_factory: Any) -> None:
    def diagnose(endpoint: str, **environment: str) -> str:
        status, text = doctor(tmp_path, "--timeout", "0.5", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **environment)
        found = failures(text)
        assert status == 1 and len(found) == 1, text
        return found[0]

    assert "nobody listens there" in diagnose(f"http://127.0.0.1:{free_port()}")
    assert "neither http nor https" in diagnose("ftp://127.0.0.1")
    with http_receiver() as web:
        line = diagnose(f"http://127.0.0.1:{web.port}")
        assert "speaks HTTP/1.1, not gRPC" in line and "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in line
    authority = Authority(tmp_path_factory.mktemp("ca")).make()
    with grpc_receiver(credentials=authority.grpc_credentials()) as secure:
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in diagnose(f"https://localhost:{secure.port}")
        assert f"https://127.0.0.1:{secure.port}" in diagnose(f"http://127.0.0.1:{secure.port}")
    with grpc_receiver() as receiver:
        receiver.answer = lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown key")
        line = diagnose(f"http://127.0.0.1:{receiver.port}")
        assert "unknown key" in line and "OTEL_EXPORTER_OTLP_HEADERS" in line


def test_wrong_words_are_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "nuages.cli", "doctor", "--what"], capture_output=True, cwd=tmp_path)
    assert done.returncode == 2 and b"usage: nuages doctor" in done.stderr
