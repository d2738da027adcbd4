"""Every OTLP variable, in its general form, its form for traces and both: the exporters read what the official ones read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

G, T = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
CASES: list[dict[str, str]] = [
    {},
    {G + "ENDPOINT": "http://a:1234"},
    {T + "ENDPOINT": "http://b:2345/x"},
    {G + "ENDPOINT": "http://a:1234", T + "ENDPOINT": "http://b:2345/x"},
    {G + "ENDPOINT": "https://a:1234"},
    {G + "ENDPOINT": "http://a:1234/base"},
    {G + "HEADERS": "a=1,b=x%20y"},
    {T + "HEADERS": "C=3"},
    {G + "HEADERS": "a=1", T + "HEADERS": "c=3"},
    {G + "TIMEOUT": "3"},
    {T + "TIMEOUT": "4"},
    {G + "TIMEOUT": "3", T + "TIMEOUT": "4"},
    {G + "COMPRESSION": "gzip"},
    {T + "COMPRESSION": "gzip"},
    {G + "COMPRESSION": "gzip", T + "COMPRESSION": "gzip"},
    {
        G + "ENDPOINT": "https://a:1234",
        G + "CERTIFICATE": "CA",
        G + "CLIENT_KEY": "KEY",
        G + "CLIENT_CERTIFICATE": "CERT",
    },
    {
        G + "ENDPOINT": "https://a:1234",
        T + "CERTIFICATE": "CA",
        T + "CLIENT_KEY": "KEY",
        T + "CLIENT_CERTIFICATE": "CERT",
    },
    {G + "ENDPOINT": "https://a:1234", G + "CERTIFICATE": "WRONG", T + "CERTIFICATE": "CA"},
]
GRPC_CASES: list[dict[str, str]] = [
    {G + "ENDPOINT": "a:1234"},
    {G + "ENDPOINT": "a:1234", G + "INSECURE": "true"},
    {G + "ENDPOINT": "a:1234", G + "INSECURE": "True"},
    {G + "ENDPOINT": "a:1234", T + "INSECURE": "true"},
    {G + "ENDPOINT": "a:1234", G + "INSECURE": "true", T + "INSECURE": "false"},
]

PROGRAM = """
import json, os, sys
FIRST
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
OURS = Grpc.__module__.startswith("nuages")

def plain(name):
    return str(getattr(name, "value", name)).lower()

def compression(value):
    name = plain(getattr(value, "name", value))
    return {"nocompression": "none"}.get(name, name)

def headers(pairs):
    usual = ("user-agent", "content-type", "content-encoding")
    return sorted([key.lower(), value] for key, value in dict(pairs).items() if key.lower() not in usual)

def files(exporter):
    if OURS:
        settings = exporter._client_settings
        ours = [settings["ca_file"], settings["client_certificate"], settings["client_key"]]
        return [name if name.startswith(os.getcwd()) else "" for name in ours]  # not the system's authorities
    session = exporter._client._transport._session
    certificate = (session.cert, "") if isinstance(session.cert, str) else session.cert or ("", "")
    return ["" if session.verify is True else session.verify, *certificate]

found = []
for case, with_http in json.loads(sys.argv[1] if len(sys.argv) > 1 else os.environ["CASES"]):
    os.environ.update(case)
    grpc = Grpc()
    row = [grpc._endpoint, grpc._insecure, headers(grpc._headers), float(grpc._timeout), compression(grpc._compression)]
    if with_http:
        http = Http()
        client = http if OURS else http._client
        row += [http._endpoint, headers(client._headers), float(client._timeout), compression(http._compression), files(http)]
    found.append(row)
    for name in case:
        del os.environ[name]
print(json.dumps(found), flush=True)
os._exit(0)
"""


def test_every_variable_means_what_it_means_officially(run_python: Any, tmp_path: Path) -> None:
    for name in ("CA", "KEY", "CERT", "WRONG"):
        (tmp_path / name).write_text(name)

    def with_paths(case: dict[str, str]) -> dict[str, str]:
        return {key: str(tmp_path / value) if "CERT" in key or "KEY" in key else value for key, value in case.items()}

    cases = [(with_paths(case), True) for case in CASES] + [(case, False) for case in GRPC_CASES]
    results = []
    for first in ("", "import nuages; nuages.install()"):
        done = run_python(PROGRAM.replace("FIRST", first), CASES=json.dumps(cases))
        results.append(json.loads(done.stdout))
    for (case, _), official, ours in zip(cases, *results):
        assert ours == official, case
