"""`OTLPSpanExporter` over OTLP/HTTP with protobuf; served as `opentelemetry.exporter.otlp.proto.http.trace_exporter`.

The constructor takes what the official class takes: an endpoint given in code, or as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, is used as it is;
OTEL_EXPORTER_OTLP_ENDPOINT gets `v1/traces` appended. A requests.Session or a transport object loads the official exporter, which then does the
work.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Optional

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from nuages import _import
from nuages.sdk import otlp_options
from nuages.sdk.otlp_options import NativeExporter

__all__ = [
    "DEFAULT_COMPRESSION",
    "DEFAULT_ENDPOINT",
    "DEFAULT_TIMEOUT",
    "DEFAULT_TRACES_EXPORT_PATH",
    "OTLPSpanExporter",
    "SpanExportResult",
    "SpanExporter",
]

logger = logging.getLogger("nuages")

OFFICIAL = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
DEFAULT_COMPRESSION = "none"
DEFAULT_ENDPOINT = "http://localhost:4318/"
DEFAULT_TRACES_EXPORT_PATH = "v1/traces"
DEFAULT_TIMEOUT = 10  # seconds
MAX_REQUEST_BYTES = 64 * 1024 * 1024
CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)


class OTLPSpanExporter(NativeExporter):
    """Sends spans over OTLP/HTTP from a native thread."""

    _protocol = otlp_options.HTTP

    def __init__(
        self,
        endpoint: Optional[str] = None,
        certificate_file: Optional[str] = None,
        client_key_file: Optional[str] = None,
        client_certificate_file: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
        compression: Any = None,
        session: Any = None,
        *,
        max_request_size: Optional[int] = None,
        meter_provider: Any = None,
        _transport: Any = None,
    ) -> None:
        if session is not None or _transport is not None or any(os.environ.get(name) for name in CREDENTIALS):
            arguments = {
                "endpoint": endpoint,
                "certificate_file": certificate_file,
                "client_key_file": client_key_file,
                "client_certificate_file": client_certificate_file,
                "headers": headers,
                "timeout": timeout,
                "compression": compression,
                "session": session,
                "max_request_size": max_request_size,
                "meter_provider": meter_provider,
                "_transport": _transport,
            }
            self._official = _official_exporter({k: v for k, v in arguments.items() if v is not None})
        self._meter_provider = meter_provider
        self._max_request_size = MAX_REQUEST_BYTES if max_request_size is None else max_request_size
        variable, value = otlp_options.env("ENDPOINT")
        # headers in code complete those of the environment, name by name
        merged = dict(otlp_options.parse_headers(otlp_options.env("HEADERS")[1]))
        merged.update(otlp_options.parse_headers(headers))
        self._configure(
            {
                "endpoint": endpoint or value or DEFAULT_ENDPOINT,
                "endpoint_is_final": bool(endpoint) or variable.endswith("_TRACES_ENDPOINT"),
                "headers": tuple(merged.items()),
                "timeout_ms": max(1, int(otlp_options.parse_timeout(timeout) * 1000)),
                "compression": otlp_options.parse_compression(compression, ("none", "gzip", "deflate")),
                "ca_file": otlp_options.authorities(path=certificate_file, http=True),
                "client_certificate": otlp_options.readable_file(client_certificate_file, "CLIENT_CERTIFICATE"),
                "client_key": otlp_options.readable_file(client_key_file, "CLIENT_KEY"),
            }
        )


def _official_exporter(arguments: dict[str, Any]) -> Any:
    try:
        module = _import.official_module(OFFICIAL, "nuages._official_otlp_http")
    except Exception:
        logger.error(
            "OTLPSpanExporter was given a session or a transport, which need opentelemetry-exporter-otlp-proto-http; it is not installed, so "
            "they are ignored."
        )
        return None
    logger.info("OTLPSpanExporter was given a session or a transport: the official exporter does this export.")
    return module.OTLPSpanExporter(**arguments)
