"""The exporter's arguments and environment variables, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from nuages.sdk.otlp_grpc import OTLPSpanExporter, parse_endpoint, parse_headers


@pytest.mark.parametrize(
    ("endpoint", "insecure", "expected"),
    [
        ("http://localhost:4317", None, "http://localhost:4317"),
        ("http://localhost:4317", False, "http://localhost:4317"),  # an explicit scheme wins
        ("https://scout.example:4317", True, "https://scout.example:4317"),
        ("https://scout.example", None, "https://scout.example:443"),
        ("http://collector", None, "http://collector:4317"),
        ("collector:4317", True, "http://collector:4317"),
        ("collector:4317", None, "https://collector:4317"),
        ("http://collector:4317/", None, "http://collector:4317"),
        ("http://[::1]:4317", None, "http://[::1]:4317"),
    ],
)
def test_endpoint_forms(endpoint: str, insecure: Any, expected: str) -> None:
    assert parse_endpoint(endpoint, insecure)[0] == expected


def test_the_http_port_is_diagnosed(caplog: Any) -> None:
    parse_endpoint("http://localhost:4318", None)
    assert "4317" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer k"},
        [("authorization", "Bearer k")],
        "authorization=Bearer%20k",
        "Authorization=Bearer k",
    ],
)
def test_header_forms(headers: Any) -> None:
    assert parse_headers(headers) == (("authorization", "Bearer k"),)


@pytest.mark.parametrize("value", ["Bearer ", "Bearer None", ""])
def test_a_bearer_header_without_key_is_not_sent(value: str, caplog: Any) -> None:
    assert parse_headers({"authorization": value, "x": "y"}) == (("x", "y"),)
    assert len(caplog.records) == 1


def test_environment(monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    options = OTLPSpanExporter().pipeline_options()
    assert options["endpoint"] == "http://traces:4317"
    assert options["headers"] == [("a", "1"), ("b", "2")]
    assert (options["timeout_ms"], options["gzip"]) == (3000, True)
    assert OTLPSpanExporter(endpoint="http://code:4317", timeout=1).pipeline_options()["endpoint"] == "http://code:4317"


def test_bad_environment_values_give_defaults(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "lzma")
    options = OTLPSpanExporter().pipeline_options()
    assert (options["timeout_ms"], options["gzip"]) == (10_000, False)
    assert "soon" in caplog.text and "lzma" in caplog.text


@pytest.mark.parametrize(
    "endpoint", ["http://me:topsecret@host:4318", "ftp://me:topsecret@host", "me:topsecret@host:9x"]
)
def test_a_password_in_the_endpoint_is_not_shown(endpoint: str, caplog: Any) -> None:
    assert parse_endpoint(endpoint, False)[0].partition("://")[2].startswith("host:")
    assert "host" in caplog.text and "topsecret" not in caplog.text


def test_a_key_over_plaintext_is_warned_about_without_showing_it(caplog: Any) -> None:
    OTLPSpanExporter(endpoint="http://far.example:4317", headers={"authorization": "Bearer topsecret"})
    assert "unencrypted" in caplog.text and "topsecret" not in caplog.text


def test_batch_processor_arguments_are_checked() -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    for arguments in (
        {"max_queue_size": 0},
        {"schedule_delay_millis": 0},
        {"max_queue_size": 1, "max_export_batch_size": 2},
    ):
        with pytest.raises(ValueError):
            BatchSpanProcessor(OTLPSpanExporter(), **arguments)
