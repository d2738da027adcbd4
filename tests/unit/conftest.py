"""In-process tests of the native SDK: nuages is installed once, each test has its own provider; no global provider is set."""

from __future__ import annotations

from typing import Any

import nuages
import pytest

nuages.install()

from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402


class Traced:
    """A provider with an in-memory exporter: `traced.tracer`, `traced.spans()`, `traced["name"]`."""

    def __init__(self, *processors: Any, **options: Any) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.exporter = InMemorySpanExporter()
        for processor in processors:
            self.provider.add_span_processor(processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests", "1.0")

    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    def __getitem__(self, name: str) -> Any:
        (found,) = [span for span in self.spans() if span.name == name]
        return found


@pytest.fixture
def traced() -> Traced:
    return Traced()


@pytest.fixture
def make_traced() -> type[Traced]:
    return Traced
