"""Every name of the official classes exists in ours, public and private: processors, exporters, instrumentations and test suites in the wild read
them. Two lists: what is known to be read (below), and whatever the installed release has (asked in an interpreter without nuages).
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from conftest import Traced
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, id_generator, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# what -> names that programs in the wild are known to read or write
READ_IN_THE_WILD = {
    "provider": """get_tracer add_span_processor force_flush shutdown resource id_generator sampler
        _active_span_processor _resource _update_resource _span_limits _disabled _atexit_handler""",
    "processors": "_span_processors add_span_processor on_start _on_ending on_end shutdown force_flush",
    "tracer": """start_span start_as_current_span _is_enabled _instrumentation_scope instrumentation_info sampler resource span_processor
        id_generator _span_limits""",
    "span": """get_span_context set_attribute set_attributes add_event add_link update_name is_recording set_status record_exception end
        name context kind parent start_time end_time status attributes events links resource instrumentation_scope instrumentation_info
        dropped_attributes dropped_events dropped_links to_json _readable_span
        _name _attributes _events _links _status _parent _context _kind _start_time _end_time _resource _instrumentation_scope
        _span_processor _limits _sampler _lock""",
    "finished": """name context get_span_context kind parent start_time end_time status attributes events links resource
        instrumentation_scope instrumentation_info dropped_attributes dropped_events dropped_links to_json
        _name _attributes _events _links _status""",
    "batch": "span_exporter on_start _on_ending on_end shutdown force_flush _batch_processor",
    "worker": """_exporter _max_queue_size _schedule_delay _schedule_delay_millis _max_export_batch_size _export_timeout_millis _shutdown
        emit shutdown force_flush""",
    "simple": "span_exporter on_start _on_ending on_end shutdown force_flush _shutdown",
    "grpc": """export shutdown force_flush _endpoint _insecure _headers _timeout _compression _shutdown _exporting _count_data
        _translate_data""",
    "http": "export shutdown force_flush _endpoint _headers _timeout _compression _shutdown _max_request_size",
}

# Not there, and why: each is an object of a library that the native exporters do without, or of the machinery around a span.
ABSENT = {
    "span": {
        "how its context manager was called, which that one knows": "_record_exception _set_status_on_exception",
        "metrics of the SDK itself are counted elsewhere (nuages.sdk.metered)": "_record_end_metrics",
        "always None in the official class": "_trace_config",
    },
    "worker": {
        "there is no Python thread, lock or queue behind a pipeline": """_at_fork_reinit _bsp_reset_once _export _export_lock _metrics
            _pid _queue _should_export_batch _shutdown_timeout_exceeded _worker_awaken _worker_thread worker""",
    },
    "simple": {"counted natively": "_metrics"},
    "grpc": {
        "grpc's channel and what belongs to it": """_channel _channel_options _client _collector_kwargs _component_type _credentials
            _export _initialize_channel_and_stub _result _retryable_error_codes _set_meter_provider _shutdown_in_progress _signal _stub""",
        "counted natively": "_metrics",
    },
    "http": {"the transport over requests": "_client", "counted natively": "_metrics"},
}

OBJECTS = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

def objects():
    provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t", "1")
    span = tracer.start_span("open")
    tracer.start_span("ended").end()
    grpc, http = Grpc(endpoint="http://127.0.0.1:1"), Http(endpoint="http://127.0.0.1:1/v1/traces")
    batch = BatchSpanProcessor(grpc)
    return {
        "provider": provider, "processors": provider._active_span_processor, "tracer": tracer, "span": span,
        "finished": memory.get_finished_spans()[0], "batch": batch, "worker": batch._batch_processor, "simple": SimpleSpanProcessor(http),
        "grpc": grpc, "http": http,
    }
"""


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(OBJECTS, space)
    made: dict[str, Any] = space["objects"]()
    assert type(made["grpc"]).__module__ == "nuages.sdk.otlp_grpc"
    return made


@pytest.mark.parametrize("what", READ_IN_THE_WILD)
def test_names_that_are_read_in_the_wild(ours: dict[str, Any], what: str) -> None:
    missing = [name for name in READ_IN_THE_WILD[what].split() if not hasattr(ours[what], name)]
    assert not missing


def test_every_name_of_the_installed_release(run_python: Any, ours: dict[str, Any]) -> None:
    done = run_python(
        OBJECTS
        + "import json, os; print(json.dumps({what: dir(one) for what, one in objects().items()}), flush=True); os._exit(0)"
    )
    for what, names in json.loads(done.stdout).items():
        missing = {name for name in names if not name.startswith("__") and not hasattr(ours[what], name)}
        missing -= {"_abc_impl", "_is_protocol"}  # of Python's own abstract classes
        assert missing == set(" ".join(ABSENT.get(what, {}).values()).split()), what


PARAMETERS = """
import inspect, json
from opentelemetry.sdk import trace
from opentelemetry.sdk.trace import export
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http
METHODS = {
    "trace.TracerProvider": ("__init__", "get_tracer", "add_span_processor", "force_flush", "shutdown"),
    "trace.Tracer": ("start_span", "start_as_current_span"),
    "export.BatchSpanProcessor": ("__init__", "on_start", "on_end", "force_flush", "shutdown"),
    "export.SimpleSpanProcessor": ("__init__", "on_start", "on_end", "force_flush", "shutdown"),
    "grpc.OTLPSpanExporter": ("__init__", "export", "force_flush", "shutdown"),
    "http.OTLPSpanExporter": ("__init__", "export", "force_flush", "shutdown"),
}
def parameters():
    for name, methods in METHODS.items():
        module, _, cls = name.partition(".")
        for method in methods:
            function = getattr(getattr(globals()[module], cls), method)
            try:
                found = inspect.signature(function).parameters.values()
            except ValueError:
                continue
            yield f"{name}.{method}", [(one.name, str(one.kind), one.default is not one.empty) for one in found]
"""


def test_parameters_of_every_constructor_and_method(run_python: Any) -> None:
    official = json.loads(run_python(PARAMETERS + "print(json.dumps(dict(parameters())))").stdout)
    space: dict[str, Any] = {}
    exec(PARAMETERS, space)
    ours = dict(space["parameters"]())
    for name, wanted in official.items():
        if name not in ours:  # native methods have no signature; the suites call them with every argument
            continue
        known = {parameter[0] for parameter in ours[name]}
        open_ended = any(kind == "VAR_KEYWORD" for _, kind, _ in ours[name]) or "kwargs" in known or "options" in known
        for position, (parameter, kind, optional) in enumerate(wanted):
            if kind == "KEYWORD_ONLY" or parameter in ("kwargs", "args"):
                assert parameter in known or open_ended, f"{name}({parameter}=)"
            elif parameter != "self":
                assert ours[name][position][0] == parameter, f"{name}: argument {position}"
                assert ours[name][position][2] or not optional, f"{name}({parameter}) has a default"


def test_a_span_gives_its_surroundings(traced: Traced) -> None:
    span = traced.tracer.start_span("a")
    assert span._tracer is traced.tracer and span._span_processor is traced.provider._active_span_processor
    assert span._limits is traced.provider._span_limits and span._sampler is traced.provider.sampler
    with span._lock:
        span._name = "b"
    assert span.name == "b" and span._lock is span._lock


def test_the_classes_stay_the_official_ones(traced: Traced) -> None:
    """isinstance() as processors, samplers and test suites ask."""
    span = traced.tracer.start_span("a")
    assert isinstance(traced.provider, trace.TracerProvider) and isinstance(traced.tracer, (trace.Tracer, sdk.Tracer))
    assert isinstance(span, (trace.Span, sdk.Span)) and isinstance(span, sdk.ReadableSpan)
    for name in ("BatchSpanProcessor", "SimpleSpanProcessor"):
        assert issubclass(getattr(export, name), sdk.SpanProcessor)
    assert issubclass(sdk.ConcurrentMultiSpanProcessor, sdk.SpanProcessor)
    assert issubclass(export.ConsoleSpanExporter, export.SpanExporter) and issubclass(
        InMemorySpanExporter, export.SpanExporter
    )
    assert issubclass(id_generator.RandomIdGenerator, id_generator.IdGenerator) and issubclass(
        sampling.ParentBased, sampling.Sampler
    )
    assert list(inspect.signature(sdk.SpanLimits).parameters)[:8] == [
        "max_attributes",
        "max_events",
        "max_links",
        "max_span_attributes",
        "max_event_attributes",
        "max_link_attributes",
        "max_attribute_length",
        "max_span_attribute_length",
    ]
