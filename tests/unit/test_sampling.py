"""Sampling: the same decision as the official SDK for every id, parents honoured, samplers and id generators written in Python."""

from __future__ import annotations

import random
from typing import Any

import pytest
from nuages.sdk.sampling import RateLimitingSampler
from nuages.sdk.trace import native_sampler
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags, TraceState


class Ids(IdGenerator):
    """Given trace ids; random span ids."""

    def __init__(self, trace_ids: list[int]) -> None:
        self.trace_ids = iter(trace_ids)

    def generate_trace_id(self) -> int:
        return next(self.trace_ids)

    def generate_span_id(self) -> int:
        return RandomIdGenerator().generate_span_id()


def edge_ids(rate: float) -> list[int]:
    bound = sampling.TraceIdRatioBased.get_bound_for_rate(rate)
    low = [0, 1, bound - 1, bound, bound + 1, 2**63, 2**64 - 1]
    return [(7 << 64) | (value % 2**64) for value in low]


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.999999, 1.0])
def test_ratio_decides_as_the_official_sampler(make_traced: Any, rate: float) -> None:
    generator = random.Random(42)
    ids = edge_ids(rate) + [generator.getrandbits(128) | 1 << 100 for _ in range(3000)]
    official = sampling.TraceIdRatioBased(rate)
    traced = make_traced(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(rate)), id_generator=Ids(list(ids)))
    for trace_id in ids:
        span = traced.tracer.start_span("a")
        assert span.get_span_context().trace_id == trace_id
        expected = official.should_sample(None, trace_id, "a").decision.is_sampled()
        assert span.get_span_context().trace_flags.sampled is expected, hex(trace_id)
        assert span.is_recording() is expected


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_share_of_many_roots(make_traced: Any, rate: float) -> None:
    traced = make_traced(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(rate)))
    count = 20_000
    kept = sum(traced.tracer.start_span("a").is_recording() for _ in range(count))
    assert abs(kept - count * rate) < 6 * (count * rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("root", [sampling.ALWAYS_ON, sampling.ALWAYS_OFF, sampling.TraceIdRatioBased(0.5)])
def test_parent_decides(make_traced: Any, sampled: bool, remote: bool, root: Any) -> None:
    traced = make_traced(sampler=sampling.ParentBased(root))
    parent = SpanContext(5, 6, remote, TraceFlags(int(sampled)), TraceState([("a", "b")]))
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    span = traced.tracer.start_span("a", context=context)
    assert span.is_recording() is sampled
    assert span.get_span_context().trace_id == 5
    assert span.get_span_context().trace_state == {"a": "b"}


def test_ratio_without_parent_based_asks_for_every_span(make_traced: Any) -> None:
    traced = make_traced(sampler=sampling.ALWAYS_OFF)
    parent = trace.NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(1)))
    assert not traced.tracer.start_span("a", context=trace.set_span_in_context(parent)).is_recording()


def test_which_samplers_are_native() -> None:
    ratio = sampling.TraceIdRatioBased(0.25)
    assert native_sampler(sampling.DEFAULT_ON) == (True, 1.0, 1.0, 0.0, 1.0, 0.0)
    assert native_sampler(ratio) == (False, 0.25, 1.0, 0.0, 1.0, 0.0)
    assert native_sampler(sampling.ParentBased(ratio, remote_parent_sampled=ratio)) == (True, 0.25, 0.25, 0.0, 1.0, 0.0)

    class Mine(sampling.TraceIdRatioBased):
        pass

    assert native_sampler(Mine(0.5)) is None
    assert native_sampler(sampling.ParentBased(Mine(0.5))) is None


def test_sampled_roots_carry_the_ratio(make_traced: Any) -> None:
    traced = make_traced(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(0.5)), id_generator=Ids([1 << 70]))
    with traced.tracer.start_as_current_span("root"):
        traced.tracer.start_span("child").end()
    assert traced["root"].attributes["nuages.sampling.ratio"] == 0.5
    assert dict(traced["child"].attributes) == {}


def test_python_sampler_gets_everything_and_adds_attributes(make_traced: Any) -> None:
    seen = []

    class Mine(sampling.Sampler):
        def should_sample(
            self,
            parent_context: Any,
            trace_id: int,
            name: str,
            kind: Any = None,
            attributes: Any = None,
            links: Any = None,
            trace_state: Any = None,
        ) -> Any:
            seen.append((parent_context, trace_id, name, kind, attributes, tuple(links or ())))
            if name == "drop":
                return sampling.SamplingResult(sampling.Decision.DROP)
            return sampling.SamplingResult(
                sampling.Decision.RECORD_AND_SAMPLE, {**(attributes or {}), "why": "me"}, TraceState([("x", "y")])
            )

        def get_description(self) -> str:
            return "Mine"

    traced = make_traced(sampler=Mine())
    span = traced.tracer.start_span("keep", kind=trace.SpanKind.CLIENT, attributes={"k": 1})
    span.end()
    assert not traced.tracer.start_span("drop").is_recording()
    assert seen[0] == (None, span.get_span_context().trace_id, "keep", trace.SpanKind.CLIENT, {"k": 1}, ())
    assert dict(traced["keep"].attributes) == {"k": 1, "why": "me"}
    assert span.get_span_context().trace_state == {"x": "y"}


def test_sampler_from_the_environment(make_traced: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert not make_traced().tracer.start_span("a").is_recording()


def test_a_rate_limit_lets_a_seconds_worth_through_and_follows_the_parent(make_traced: Any) -> None:
    traced = make_traced(sampler=sampling.ParentBased(RateLimitingSampler(5)))
    roots = [traced.tracer.start_span(f"root {number}", context=Context()) for number in range(50)]
    kept = [span for span in roots if span.is_recording()]
    assert 5 <= len(kept) < 50, "the bucket holds one second's worth"
    inside = trace.set_span_in_context(kept[0])
    assert all(traced.tracer.start_span("child", context=inside).is_recording() for _ in range(50))
    kept[0].end()
    assert dict(traced["root 0"].attributes) == {}, "no ratio: it is not known"


def test_a_rate_limit_is_native_and_python_code_takes_from_the_same_bucket(make_traced: Any) -> None:
    limit = RateLimitingSampler(0.001)
    parent_based, root, *delegates, bucket = native_sampler(sampling.ParentBased(limit))
    assert (parent_based, root, delegates, bucket) == (True, 1.0, [1.0, 0.0, 1.0, 0.0], limit._limiter)
    assert native_sampler(limit)[0] is False
    traced = make_traced(sampler=limit)
    assert limit.should_sample(None, 1, "python").decision is sampling.Decision.RECORD_AND_SAMPLE
    assert not traced.tracer.start_span("native").is_recording()
    assert limit.get_description() == "RateLimitingSampler{0.001}"
    state = TraceState([("a", "b")])
    parent = trace.NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(1), state))
    answer = limit.should_sample(trace.set_span_in_context(parent), 5, "x", attributes={"k": 1})
    assert (answer.decision, answer.trace_state, answer.attributes) == (sampling.Decision.DROP, state, {})


@pytest.mark.parametrize("rate", [-1, float("nan"), "many"])
def test_a_rate_limit_must_be_a_rate(rate: Any) -> None:
    with pytest.raises(ValueError):
        RateLimitingSampler(rate)


@pytest.mark.parametrize(
    ("name", "argument", "description"),
    [
        ("ratelimiting", "7", "RateLimitingSampler{7}"),
        ("parentbased_ratelimiting", "0.5", "ParentBased{root:RateLimitingSampler{0.5}"),
        ("parentbased_ratelimiting", "", "ParentBased{root:RateLimitingSampler{100}"),
        ("ratelimiting", "many", "RateLimitingSampler{100}"),
        ("no-such-sampler", "", "ParentBased{root:AlwaysOnSampler"),
    ],
)
def test_a_sampler_of_an_entry_point_named_by_the_environment(
    make_traced: Any, monkeypatch: Any, caplog: Any, name: str, argument: str, description: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    assert make_traced().provider.sampler.get_description().startswith(description)
    errors = [record.getMessage() for record in caplog.records if record.name == "nuages"]
    wrong = "OTEL_TRACES_SAMPLER_ARG" if argument == "many" else "no-such-sampler" if "no-such" in name else None
    assert len(errors) == (wrong is not None) and all(wrong in error for error in errors), errors
