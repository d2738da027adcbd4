"""`BatchSpanProcessor` and `SimpleSpanProcessor`: native pipelines for the native exporter, the official classes for everything else.

A pipeline is a bounded queue plus one native thread that never takes the GIL. A processor in native mode is told apart by the provider, which
then publishes records straight from C++; `on_end()` exists for processors that wrap ours.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import Any, Optional

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import export as sdk_export
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import nuages
from nuages import _native, settings
from nuages.sdk import foreign
from nuages.sdk.otlp_grpc import OTLPSpanExporter
from nuages.sdk.otlp_http import OTLPSpanExporter as HTTPSpanExporter
from nuages.sdk.otlp_options import NativeExporter

logger = logging.getLogger("nuages")

# The classes as opentelemetry-sdk wrote them; install() rebinds the module's names later.
OfficialBatchSpanProcessor: Any = sdk_export.BatchSpanProcessor
OfficialSimpleSpanProcessor: Any = sdk_export.SimpleSpanProcessor


def make_pipeline(
    exporter: NativeExporter,
    max_queue_size: int,
    max_export_batch_size: int,
    schedule_delay_millis: float,
    export_timeout_millis: float = 30_000,
) -> Any:
    options = exporter.pipeline_options()
    options.update(
        max_queue_size=int(max_queue_size),
        max_queue_bytes=int(settings.get("queue_bytes")),
        max_batch_size=int(max_export_batch_size),
        schedule_delay_ms=max(1, int(schedule_delay_millis)),
        export_timeout_ms=max(1, int(export_timeout_millis)),
        masking=settings.get("masking"),
        keep_literals=bool(settings.get("masking") == "off" and settings.get("capture_parameters")),
        survive_kill=bool(settings.get("survive_kill")),
    )
    pipeline = _native.Pipeline(**options)
    logger.debug(
        "exporting to %s by OTLP %s: queue %d, batch %d, delay %d ms, masking %s",
        exporter._url,
        exporter._protocol,
        options["max_queue_size"],
        options["max_batch_size"],
        options["schedule_delay_ms"],
        options["masking"],
    )
    return pipeline


def described(resource: Any) -> tuple[dict[str, Any], str]:
    """A resource as a pipeline sends it."""
    return {**resource.attributes, "nuages.version": nuages.__version__}, resource.schema_url or ""


def is_native(exporter: object) -> bool:
    """Exactly our classes: a user's subclass may override export() and must be called."""
    return type(exporter) in (OTLPSpanExporter, HTTPSpanExporter) and getattr(exporter, "native", False)


class _Settings:
    """What programs read of the official worker behind a batch processor, `_batch_processor`."""

    def __init__(self, processor: Any, queue: int, delay: float, batch: int, timeout: float) -> None:
        self._exporter = processor.span_exporter
        self._max_queue_size, self._max_export_batch_size = queue, batch
        self._schedule_delay_millis, self._schedule_delay = delay, delay / 1000
        self._export_timeout_millis = timeout
        self._exporting = "Span"
        self._shutdown = False
        self._processor = weakref.proxy(processor)

    def emit(self, span: ReadableSpan) -> None:
        self._processor.on_end(span)

    def force_flush(self, timeout_millis: Optional[int] = None) -> bool:
        return bool(self._processor.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        self._processor.shutdown()


class _NativeHalf:
    """What both processors do once they have a pipeline; without one the official class, next in line, does it."""

    pipeline: Any = None
    _exporter: Any = None
    _shutdown = False
    _resource: Any = None  # of the spans that came by on_end(), while a provider of ours is not in charge
    _others: Any = None  # resource -> pipeline, where spans of several providers come

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        return None

    def on_end(self, span: ReadableSpan) -> None:
        """From a group or a wrapper; a provider of ours publishes by itself."""
        if self.pipeline is None:
            super().on_end(span)  # type: ignore[misc]
            return
        if not (span.context and span.context.trace_flags.sampled):
            return
        copy = foreign.native(span)
        if copy is not None:
            self._pipeline_for(span.resource).publish(copy)

    def _pipeline_for(self, resource: Any) -> Any:
        if self._resource is resource:
            return self.pipeline
        if self._resource is None or self._resource == resource:
            self._resource = resource
            self.pipeline.set_resource(*described(resource))
            return self.pipeline
        self._others = self._others or {}
        other = self._others.get(resource)
        if other is None:
            other = self._others[resource] = self._make_pipeline()
            other.set_resource(*described(resource))
        return other

    def _make_pipeline(self) -> Any:
        raise NotImplementedError

    def shutdown(self) -> None:
        if self.pipeline is not None:
            self.pipeline.shutdown(int(settings.get("shutdown_timeout") * 1000))
            self.end_exporter()
        else:
            super().shutdown()  # type: ignore[misc]

    def end_exporter(self) -> None:
        """The exporter's own shutdown, once, however many ways lead here."""
        if not self._shutdown:
            self._shutdown = True
            worker: Any = self.__dict__.get("_batch_processor")
            if worker is not None:
                worker._shutdown = True
            for other in (self._others or {}).values():
                other.shutdown(int(settings.get("shutdown_timeout") * 1000))
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: Optional[int] = 30_000) -> bool:
        timeout = 30_000 if timeout_millis is None else int(timeout_millis)
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout / 1000
            done = bool(self.pipeline.force_flush(timeout))
            for other in (self._others or {}).values():
                done = bool(other.force_flush(max(0, int((deadline - time.monotonic()) * 1000)))) and done
            return done
        return bool(super().force_flush(timeout))  # type: ignore[misc]


class BatchSpanProcessor(_NativeHalf, OfficialBatchSpanProcessor):  # type: ignore[misc]
    if isinstance(getattr(OfficialBatchSpanProcessor, "span_exporter", None), property):

        @property
        def span_exporter(self) -> Any:
            if self.pipeline is not None:
                return self._exporter
            return MaskingExporter.inner(super().span_exporter)

    def __init__(
        self,
        span_exporter: SpanExporter,
        max_queue_size: Optional[int] = None,
        schedule_delay_millis: Optional[float] = None,
        max_export_batch_size: Optional[int] = None,
        export_timeout_millis: Optional[float] = None,
        **options: Any,
    ) -> None:
        if not is_native(span_exporter):
            super().__init__(
                MaskingExporter(span_exporter),
                max_queue_size,
                schedule_delay_millis,
                max_export_batch_size,
                export_timeout_millis,
                **options,
            )
            return
        official = OfficialBatchSpanProcessor
        queue = official._default_max_queue_size() if max_queue_size is None else max_queue_size
        delay = official._default_schedule_delay_millis() if schedule_delay_millis is None else schedule_delay_millis
        batch = official._default_max_export_batch_size() if max_export_batch_size is None else max_export_batch_size
        timeout = official._default_export_timeout_millis() if export_timeout_millis is None else export_timeout_millis
        official._validate_arguments(queue, delay, batch)  # ValueError for what cannot work, as the official class
        self._exporter = span_exporter
        if "span_exporter" not in vars(BatchSpanProcessor):  # an attribute in older releases
            setattr(self, "span_exporter", span_exporter)  # noqa: B010 - mypy knows the property only
        self._sizes = (queue, batch, delay, timeout)
        self.pipeline = self._make_pipeline()
        self._batch_processor = _Settings(self, queue, delay, batch, timeout)

    def _make_pipeline(self) -> Any:
        return make_pipeline(self._exporter, *self._sizes)

    def shutdown(self) -> None:
        worker = getattr(self, "_batch_processor", None)
        if self.pipeline is None and worker is not None:
            worker.shutdown(timeout_millis=int(settings.get("shutdown_timeout") * 1000))
        else:
            super().shutdown()

    def force_flush(self, timeout_millis: Optional[int] = None) -> bool:
        """The official class ignores the time, and what the exporter answered."""
        exporter = getattr(getattr(self, "_batch_processor", None), "_exporter", None)
        if self.pipeline is not None or not isinstance(exporter, MaskingExporter):
            return super().force_flush(timeout_millis)
        failures = exporter.failures
        flush = super().force_flush
        timeout = 30_000 if timeout_millis is None else timeout_millis
        return within(timeout, lambda: flush(timeout_millis)) and exporter.failures == failures


class SimpleSpanProcessor(_NativeHalf, OfficialSimpleSpanProcessor):  # type: ignore[misc]
    """Over the native exporter: a pipeline that sends each span as soon as it ends, without making the application wait."""

    def __init__(self, span_exporter: SpanExporter, **options: Any) -> None:
        if not is_native(span_exporter):
            super().__init__(span_exporter, **options)
            return
        self._exporter = self.span_exporter = span_exporter
        self.pipeline = self._make_pipeline()

    def _make_pipeline(self) -> Any:
        return make_pipeline(self._exporter, 2048, 1, 1)

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span if self.pipeline is not None else masked(span))


def masked(span: Any) -> Any:
    """What a Python exporter may see of a span: a masked copy."""
    return _native.masked_copy(span) if isinstance(span, _native.RecordingSpanBase) else span


class MaskingExporter(SpanExporter):  # type: ignore[misc]
    """Hands masked copies to a Python exporter, so that no way out of the process skips masking, and keeps what came of it."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.failures = 0
        for name in ("shutdown", "force_flush"):  # not wrapped: the official worker looks whether they take a time
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    @staticmethod
    def inner(exporter: Any) -> Any:
        return exporter._inner if isinstance(exporter, MaskingExporter) else exporter

    def export(self, spans: Any) -> Any:
        try:
            result = self._inner.export([masked(span) for span in spans])
        except BaseException:
            self.failures += 1
            raise
        self.failures += result is SpanExportResult.FAILURE
        return result

    def __getattr__(self, name: str) -> Any:  # processor.span_exporter._endpoint and the like
        return getattr(self._inner, name)


def within(timeout_millis: float, call: Any) -> bool:
    """Whether `call()` came back true in that time; a call that takes longer goes on in a thread of its own."""
    answer: list[Any] = []
    thread = threading.Thread(target=lambda: answer.append(call()), name="nuages-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is going away: no more threads
        return bool(call())
    thread.join(timeout_millis / 1000)
    return bool(answer and answer[0])
