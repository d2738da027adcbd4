"""`OTLPSpanExporter` where there is neither a native core nor the official exporter package: the application starts, one line says what is missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("nuages")
__all__ = ["OTLPSpanExporter"]


class OTLPSpanExporter(SpanExporter):  # type: ignore[misc]
    _said = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not OTLPSpanExporter._said:
            OTLPSpanExporter._said = True
            logger.error(
                "no spans can be exported: the exporter is part of the native core. Install opentelemetry-exporter-otlp."
            )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        return None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return False
