"""What OpenTelemetry's variables name: samplers, id generators and exporters, our own and those of installed packages by their entry points.

A name that cannot be used never stops the application: one error says which, and the default is taken. Looking through the entry points costs
tens of milliseconds, so it happens for names that neither the SDK nor we know.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from typing import Any, Callable, Optional

from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from nuages.sdk import otlp_options

logger = logging.getLogger("nuages")

_KNOWN_SAMPLERS = frozenset(getattr(sampling, "_KNOWN_SAMPLERS", ()))


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def entry_point(group: str, name: str) -> Any:
    """What the entry point stands for; LookupError when there is none of that name."""
    metadata: Any = importlib.import_module("opentelemetry.util._importlib_metadata")
    for found in metadata.entry_points(group=group, name=name):
        return found.load()
    raise LookupError(f"no installed package has it as an entry point of {group}")


def _named(variable: str, name: str, make: Callable[[], Any], kind: type, instead: str) -> Any:
    try:
        made = make()
        if not isinstance(made, kind):
            raise TypeError(f"it made a {type(made).__name__}, which is no {kind.__name__}")
        return made
    except Exception as error:
        logger.error("%s names %r, which cannot be used (%s); using %s.", variable, name, error, instead)
        return None


def sampler() -> Optional[Any]:
    """The sampler of OTEL_TRACES_SAMPLER that the SDK does not know itself; None: leave it to the SDK."""
    name = _variable("OTEL_TRACES_SAMPLER")
    if not name or name.lower() in _KNOWN_SAMPLERS:
        return None
    argument = os.environ.get("OTEL_TRACES_SAMPLER_ARG")
    made = _named(
        "OTEL_TRACES_SAMPLER",
        name,
        lambda: entry_point("opentelemetry_traces_sampler", name)(argument),
        sampling.Sampler,
        "parentbased_always_on",
    )
    return sampling.DEFAULT_ON if made is None else made


def id_generator() -> Optional[Any]:
    """The generator of OTEL_PYTHON_ID_GENERATOR; None: the random one."""
    name = _variable("OTEL_PYTHON_ID_GENERATOR")
    if not name or name == "random":
        return None
    return _named(
        "OTEL_PYTHON_ID_GENERATOR",
        name,
        lambda: entry_point("opentelemetry_id_generator", name)(),
        IdGenerator,
        "random ids",
    )


def exporters() -> list[SpanExporter]:
    """One exporter for each name in OTEL_TRACES_EXPORTER: otlp when it is not set, an empty list for `none`."""
    names = [name.strip() for name in _variable("OTEL_TRACES_EXPORTER").split(",") if name.strip()] or ["otlp"]
    if [name.lower() for name in names] == ["none"]:
        return []
    made = [
        _named("OTEL_TRACES_EXPORTER", name, functools.partial(_exporter, name), SpanExporter, "the others, or otlp")
        for name in names
    ]
    return [one for one in made if one is not None] or [otlp_options.default_exporter()]


def _exporter(name: str) -> Any:
    if name == "otlp":
        return otlp_options.default_exporter()
    if name in ("otlp_proto_grpc", "otlp_proto_http"):
        return otlp_options.exporter_class(name.rpartition("_")[2])()
    if name == "console":
        return ConsoleSpanExporter()
    return entry_point("opentelemetry_traces_exporter", name)()
