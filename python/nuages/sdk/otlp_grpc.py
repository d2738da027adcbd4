"""`OTLPSpanExporter` over OTLP/gRPC; served as `opentelemetry.exporter.otlp.proto.grpc.trace_exporter`.

The constructor takes what the official class takes. Arguments that only grpc objects can express (credentials, channel_options,
retryable_error_codes) load the official exporter, which then does the work.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from nuages import _import
from nuages.sdk import otlp_options
from nuages.sdk.otlp_options import Headers, NativeExporter

__all__ = ["OTLPSpanExporter", "SpanExportResult", "SpanExporter"]

logger = logging.getLogger("nuages")

OFFICIAL = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
DEFAULT_ENDPOINT = "http://localhost:4317"
# Variables that name grpc objects.
CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER",
)
RETRYABLE = "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES"


class OTLPSpanExporter(NativeExporter):
    """Sends spans over OTLP/gRPC from a native thread."""

    _protocol = otlp_options.GRPC

    def __init__(
        self,
        endpoint: Optional[str] = None,
        insecure: Optional[bool] = None,
        credentials: Any = None,
        headers: Headers = None,
        timeout: Optional[float] = None,
        compression: Any = None,
        channel_options: Any = None,
        retryable_error_codes: Optional[Iterable[Any]] = None,
        *,
        meter_provider: Any = None,
    ) -> None:
        if (
            credentials is not None
            or channel_options
            or retryable_error_codes is not None
            or any(os.environ.get(name) for name in (*CREDENTIALS, RETRYABLE))
        ):
            self._official = _official_exporter(
                endpoint=endpoint,
                insecure=insecure,
                credentials=credentials,
                headers=headers,
                timeout=timeout,
                compression=compression,
                channel_options=channel_options,
                retryable_error_codes=retryable_error_codes,
                meter_provider=meter_provider,
            )
        self._meter_provider = meter_provider
        self._configure(
            {
                "endpoint": endpoint or otlp_options.env("ENDPOINT")[1] or DEFAULT_ENDPOINT,
                "insecure": bool(otlp_options.env_bool("INSECURE") if insecure is None else insecure),
                "headers": otlp_options.parse_headers(headers or otlp_options.env("HEADERS")[1]),
                "timeout_ms": max(1, int(otlp_options.parse_timeout(timeout) * 1000)),
                "compression": otlp_options.parse_compression(compression, ("none", "gzip")),
                "ca_file": otlp_options.authorities(http=False),
                "client_certificate": otlp_options.readable_file(None, "CLIENT_CERTIFICATE"),
                "client_key": otlp_options.readable_file(None, "CLIENT_KEY"),
            }
        )

    # Private names of the official class that programs in the wild call.
    _exporting = "traces"

    def _count_data(self, data: Sequence[Any]) -> int:
        return len(data)

    def _translate_data(self, data: Sequence[Any]) -> Any:
        """The protobuf message of these spans, by the official encoder."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        return encode_spans(data)


def _official_exporter(**arguments: Any) -> Any:
    try:
        module = _import.official_module(OFFICIAL, "nuages._official_otlp_grpc")
    except Exception:
        logger.error(
            "OTLPSpanExporter was given credentials, channel_options or retryable_error_codes, which need opentelemetry-exporter-otlp-proto-grpc; "
            "it is not installed, so they are ignored."
        )
        return None
    logger.info("OTLPSpanExporter was given grpc objects: the official exporter does this export.")
    for newer in ("retryable_error_codes", "meter_provider"):  # unknown to older releases
        if arguments[newer] is None:
            del arguments[newer]
    return module.OTLPSpanExporter(**arguments)
