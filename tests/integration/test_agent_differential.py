"""The same random calls through the official SDK and through ours must give the same OTLP.

Each program runs twice in a fresh interpreter, with and without nuages, with the ids and times fixed, and exports to a real receiver; the
decoded requests are compared field by field. Three differences are meant and taken out: the resource attribute nuages.version, a link's
tracestate and W3C flags (the specification wants them, the official encoder leaves them out), and an empty status message written or not.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

PROGRAM = """
import os, random, logging
logging.disable(logging.CRITICAL)
if os.environ["IMPLEMENTATION"] == "nuages":
    import nuages
    nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, SpanLimits
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, ParentBased, TraceIdRatioBased
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

expected = "nuages" if os.environ["IMPLEMENTATION"] == "nuages" else "opentelemetry"
assert TracerProvider.__module__.startswith(expected)
rng = random.Random(int(os.environ["SEED"]))

class Ids(IdGenerator):
    def __init__(self):
        self.random = random.Random(99)
    def generate_trace_id(self):
        return self.random.getrandbits(128) | 1
    def generate_span_id(self):
        return self.random.getrandbits(64) | 1

def word():
    return "".join(rng.choice("abcdeé☃ xyz_.") for _ in range(rng.randint(1, 12)))

def value(depth=0):
    choice = rng.randrange(12 if depth < 2 else 7)
    if choice == 0: return word() * rng.randint(1, 5)
    if choice == 1: return rng.random() < 0.5
    if choice == 2: return rng.randint(-(2**63), 2**63 - 1)
    if choice == 3: return rng.random() * 10 ** rng.randint(-5, 5)
    if choice == 4: return bytes(rng.randrange(256) for _ in range(rng.randint(0, 5)))
    if choice == 5: return rng.randint(-3, 300)
    if choice == 6: return ""
    if choice == 7: return [rng.randint(0, 9) for _ in range(rng.randint(0, 4))]
    if choice == 8: return tuple(word() for _ in range(rng.randint(0, 4)))
    if choice == 9: return [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    if choice == 10: return [value(depth + 1) for _ in range(rng.randint(0, 3))]
    return {word(): value(depth + 1) for _ in range(rng.randint(0, 3))}

def attributes(limit=6):
    return None if rng.random() < 0.1 else {rng.choice("abcdefgh"): value() for _ in range(rng.randint(0, limit))}

def span_context():
    state = TraceState([("k", "v"), ("z", "1")]) if rng.random() < 0.4 else None
    return SpanContext(rng.getrandbits(128) | 1, rng.getrandbits(64) | 1, rng.random() < 0.5, TraceFlags(rng.randrange(4)), state)

def links():
    return [Link(rng.choice([span_context(), trace.INVALID_SPAN_CONTEXT]), attributes(3)) for _ in range(rng.randint(0, 4))]

def act(span):
    choice = rng.randrange(11)
    if choice < 3: span.set_attribute(rng.choice("abcdefghijkl"), value())
    elif choice == 3: span.set_attributes(attributes(8) or {})
    elif choice == 4: span.add_event(word(), attributes(5), timestamp=rng.randint(1, 10**18))
    elif choice == 5: span.add_link(span_context(), attributes(3))
    elif choice == 6: span.set_status(Status(rng.choice(list(StatusCode)), word() if rng.random() < 0.5 else None))
    elif choice == 7: span.set_status(rng.choice(list(StatusCode)), word())
    elif choice == 8: span.update_name(word())
    elif choice == 9:
        try:
            raise rng.choice([ValueError, KeyError, RuntimeError])(word())
        except Exception as error:
            span.record_exception(error, attributes(2), timestamp=rng.randint(1, 10**18), escaped=rng.random() < 0.5)
    else: span.set_attribute(rng.choice("abc"), value())

def run(tracer, depth):
    context = None
    if rng.random() < 0.2:
        context = trace.set_span_in_context(trace.NonRecordingSpan(span_context()))
    arguments = dict(context=context, kind=rng.choice(list(SpanKind)), attributes=attributes(), links=links(), start_time=rng.randint(1, 10**18))
    if rng.random() < 0.3:
        span = tracer.start_span(word(), **arguments)
        for _ in range(rng.randint(0, 6)):
            act(span)
        span.end(rng.randint(1, 10**18))
        act(span)
        return
    span = tracer.start_as_current_span(word(), end_on_exit=False, **arguments)
    fail = rng.random() < 0.2
    with span as current:
        for _ in range(rng.randint(0, 5)):
            act(current)
            if depth < 3 and rng.random() < 0.4:
                run(tracer, depth + 1)
    current.end(rng.randint(1, 10**18))

limits = rng.choice([
    None,
    SpanLimits(max_attributes=3, max_events=2, max_links=2, max_attribute_length=5),
    SpanLimits(max_span_attributes=4, max_event_attributes=1, max_link_attributes=1, max_span_attribute_length=4, max_attribute_length=9),
    SpanLimits(max_attributes=0, max_events=0, max_links=0),
    SpanLimits(max_attribute_length=0),
])
provider = TracerProvider(
    resource=Resource({"service.name": "x", "list": ["a", "b"], "n": 5}), span_limits=limits, id_generator=Ids(),
    sampler=rng.choice([ALWAYS_ON, DEFAULT_ON]),
)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["ENDPOINT"], insecure=True), max_queue_size=100_000, max_export_batch_size=50_000, schedule_delay_millis=3_600_000))
for name, version in (("first", "1"), ("second", None)):
    tracer = provider.get_tracer(name, version, schema_url="https://schema" if version else None)
    for _ in range(60):
        run(tracer, 0)
assert provider.force_flush()
provider.shutdown()
"""


def decoded(server: Any) -> dict[str, Any]:
    """span id -> everything about the span, its scope and resource."""
    found: dict[str, Any] = {}
    for one in server.received:
        for resource_spans in one.request.resource_spans:
            resource = {item.key: MessageToDict(item.value) for item in resource_spans.resource.attributes}
            resource.pop("nuages.version", None)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    shown = MessageToDict(span)
                    if not shown.get("status"):
                        shown.pop("status", None)
                    for link in shown.get("links", ()):
                        link.pop("traceState", None)
                        link["flags"] = link.get("flags", 0) & 0x300
                    assert span.span_id.hex() not in found
                    found[span.span_id.hex()] = {
                        "span": shown,
                        "scope": MessageToDict(scope_spans.scope),
                        "schema": (scope_spans.schema_url, resource_spans.schema_url),
                        "resource": resource,
                    }
    server.received.clear()
    return found


def differences(official: Any, ours: Any, path: str = "") -> list[str]:
    if isinstance(official, dict) and isinstance(ours, dict):
        keys = sorted(official.keys() | ours.keys())
        return [line for key in keys for line in differences(official.get(key), ours.get(key), f"{path}.{key}")]
    if isinstance(official, list) and isinstance(ours, list) and len(official) == len(ours):
        pairs = enumerate(zip(official, ours))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}[{index}]")]
    return [] if official == ours else [f"{path}: official {official!r}, ours {ours!r}"]


@pytest.mark.parametrize("seed", range(8))
def test_same_calls_same_otlp(run_python: Any, otlp_server: Any, seed: int) -> None:
    results = []
    for implementation in ("official", "nuages"):
        run_python(
            PROGRAM,
            IMPLEMENTATION=implementation,
            SEED=str(seed),
            ENDPOINT=otlp_server.endpoint,
            NUAGES_MASKING="off",
            timeout=120,
        )
        results.append(decoded(otlp_server))
    official, ours = results
    assert len(official) > 100
    assert sorted(ours) == sorted(official)
    different = []
    for span_id, expected in official.items():
        different += [f"{span_id}: {line}" for line in differences(expected, ours[span_id])]
    assert not different, "\n".join(different[:40])
