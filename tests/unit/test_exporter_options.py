"""The exporter's arguments and environment variables, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from nuages.sdk.otlp_grpc import OTLPSpanExporter
from nuages.sdk.otlp_http import OTLPSpanExporter as HTTPSpanExporter
from nuages.sdk.otlp_options import parse_headers


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
        ("unix:///run/otlp.sock", None, "unix:/run/otlp.sock"),
    ],
)
def test_endpoint_forms(endpoint: str, insecure: Any, expected: str) -> None:
    assert OTLPSpanExporter(endpoint=endpoint, insecure=insecure)._url == expected


@pytest.mark.parametrize(
    ("code", "environment", "expected"),
    [
        (None, {}, "http://localhost:4318/v1/traces"),
        ("http://code:4318/v1/traces", {}, "http://code:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/base/"}, "http://c:4318/base/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/other"}, "http://c:4318/other"),
    ],
)
def test_http_endpoint_forms(monkeypatch: Any, code: Any, environment: Any, expected: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert HTTPSpanExporter(endpoint=code)._url == expected


@pytest.mark.parametrize(
    ("exporter", "endpoint", "words"),
    [
        (OTLPSpanExporter, "http://localhost:4318", "4317"),
        (HTTPSpanExporter, "http://localhost:4317/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        (HTTPSpanExporter, "http://localhost:4318", "/v1/traces"),
        (OTLPSpanExporter, "http://localhost:9999/v1/traces", "http/protobuf"),
        (OTLPSpanExporter, "http://localhost:0", "1 to 65535"),
        (OTLPSpanExporter, "ftp://localhost", "neither http nor https"),
        (OTLPSpanExporter, "grpc://localhost", "http://"),
    ],
)
def test_one_line_diagnoses_what_cannot_be_meant(exporter: Any, endpoint: str, words: str, caplog: Any) -> None:
    exporter(endpoint=endpoint)
    (record,) = caplog.records
    assert words in record.getMessage()


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
    client = options["client"]
    assert client["endpoint"] == "http://traces:4317"
    assert client["headers"] == (("a", "1"), ("b", "2"))
    assert (client["timeout_ms"], client["compression"]) == (3000, "gzip")
    assert OTLPSpanExporter(endpoint="http://code:4317", timeout=1)._url == "http://code:4317"


def test_http_arguments_win_and_complete_the_environment(monkeypatch: Any, tmp_path: Any) -> None:
    files = {name: tmp_path / name for name in ("ca", "key", "cert")}
    for file in files.values():
        file.write_text("x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(files["key"]))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(files["key"]))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate")
    exporter = HTTPSpanExporter(
        headers={"B": "3"}, certificate_file=str(files["ca"]), client_certificate_file=str(files["cert"]), timeout=2.5
    )
    client = exporter.pipeline_options()["client"]
    assert client["headers"] == (("a", "1"), ("b", "3"))
    assert (client["ca_file"], client["client_certificate"]) == (str(files["ca"]), str(files["cert"]))
    assert (client["client_key"], client["timeout_ms"]) == (str(files["key"]), 2500)
    assert client["compression"] == "deflate" and exporter.native


def test_a_certificate_that_cannot_be_read_is_named(caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")
    OTLPSpanExporter(endpoint="https://localhost")
    (record,) = caplog.records
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in record.getMessage() and "/nowhere/ca.pem" in record.getMessage()


def test_the_proxy_variables_are_those_of_the_official_exporters(monkeypatch: Any) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "internal")
    client = OTLPSpanExporter(endpoint="http://far:4317").pipeline_options()["client"]
    assert (client["proxy"], client["no_proxy"]) == ("http://proxy:1", "internal")
    assert HTTPSpanExporter(endpoint="http://far:4318/v1/traces").pipeline_options()["client"]["proxy"] == ""
    assert HTTPSpanExporter(endpoint="https://far/v1/traces").pipeline_options()["client"]["proxy"] == "http://proxy:1"


@pytest.mark.parametrize("value", ["http/protobuf", "http/json", "grpc", "", "thrift"])
def test_protocol(monkeypatch: Any, value: str, caplog: Any) -> None:
    from nuages.sdk.otlp_options import default_exporter

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", value)
    assert type(default_exporter()) is (HTTPSpanExporter if value.startswith("http") else OTLPSpanExporter)
    assert (value in caplog.text) is (value in {"http/json", "thrift"}) or not value


@pytest.mark.parametrize("header", [{"a b": "1"}, {"ok": "line\nbreak"}, {"": "x"}, {"ok": "\ud800"}])
def test_a_header_that_http_forbids_is_left_out_without_showing_its_value(header: Any, caplog: Any) -> None:
    assert parse_headers(header) == ()
    assert len(caplog.records) == 1 and "break" not in caplog.text


def test_bad_environment_values_give_defaults(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "lzma")
    options = OTLPSpanExporter().pipeline_options()
    assert (options["client"]["timeout_ms"], options["client"]["compression"]) == (10_000, "none")
    assert "soon" in caplog.text and "lzma" in caplog.text


@pytest.mark.parametrize(
    "endpoint", ["http://me:topsecret@host:4318", "ftp://me:topsecret@host", "me:topsecret@host:9x"]
)
def test_a_password_in_the_endpoint_is_not_shown(endpoint: str, caplog: Any) -> None:
    exporter = OTLPSpanExporter(endpoint=endpoint)
    assert exporter._url.rpartition("://")[2].startswith("host")
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


def test_private_names_that_programs_call() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    exporter = OTLPSpanExporter()
    span = TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_span("order")
    span.end()
    assert exporter._count_data([span]) == 1
    message = exporter._translate_data([span])
    assert message.resource_spans[0].scope_spans[0].spans[0].name == "order"
