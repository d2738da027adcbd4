"""The agent's own `otel.sdk.*` metrics, as a receiver of OTLP metrics sees them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from transport_fixture import SETUP, Received, grpc_receiver, http_receiver

ON = {"NUAGES_SELF_METRICS": "true", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}  # at the first export and at the end


def points_of(receiver: Received) -> dict[str, dict[str, Any]]:
    """{metric: {error.type or "": point}} of the newest request."""
    (resource,) = receiver.metrics[-1].resource_metrics
    assert {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"] == "test"
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "nuages.sdk"
    found: dict[str, dict[str, Any]] = {}
    for metric in scope.metrics:
        data = metric.sum if metric.HasField("sum") else metric.histogram
        assert data.aggregation_temporality == 2, metric.name
        for point in data.data_points:
            labels = {item.key: item.value for item in point.attributes}
            assert labels["otel.component.name"].string_value.startswith(
                labels["otel.component.type"].string_value + "/"
            )
            assert 0 < point.start_time_unix_nano <= point.time_unix_nano
            error = labels["error.type"].string_value if "error.type" in labels else ""
            found.setdefault(metric.name, {})[error] = point
    return found


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_happened_to_the_spans_is_told(run_python: Any, protocol: str) -> None:
    with grpc_receiver() if protocol == "grpc" else http_receiver() as receiver:
        code = """
start({}(), max_queue_size=100, max_export_batch_size=10)
for number in range(25):
    tracer.start_span("x").end()
    if number % 10 == 9:
        assert processor.force_flush(20_000)
"""
        run_python(
            SETUP + code.format(protocol.capitalize()),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}",
            **ON,
        )
        assert len(receiver.metrics) == 2
        points = points_of(receiver)
    value = {
        name: {error: point.as_int for error, point in some.items()}
        for name, some in points.items()
        if "duration" not in name
    }
    assert value == {
        "otel.sdk.processor.span.queue.capacity": {"": 100},
        "otel.sdk.processor.span.queue.size": {"": 0},
        "otel.sdk.processor.span.processed": {"": 25},
        "otel.sdk.exporter.span.inflight": {"": 0},
        "otel.sdk.exporter.span.exported": {"": 25},
    }
    duration = points["otel.sdk.exporter.operation.duration"][""]
    assert duration.count == sum(duration.bucket_counts) >= 3 and 0 < duration.sum < 60
    assert len(duration.bucket_counts) == len(duration.explicit_bounds) + 1
    labels = {item.key: item.value for item in duration.attributes}
    assert labels["otel.component.type"].string_value == f"otlp_{protocol}_span_exporter"
    assert labels["server.port"].int_value == receiver.port


def test_losses_carry_their_reason(run_python: Any) -> None:
    def answer(number: int, context: Any) -> None:
        if number == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        if number == 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")

    with grpc_receiver() as receiver:
        receiver.answer = answer
        code = """
start(Grpc())
tracer.start_span("refused").end()
assert not processor.force_flush(20_000)
tracer.start_span("taken").end()
"""
        run_python(SETUP + code, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}", **ON)
        points = points_of(receiver)
    exported = points["otel.sdk.exporter.span.exported"]
    assert {error: point.as_int for error, point in exported.items()} == {"": 1, "INVALID_ARGUMENT": 1}
    durations = points["otel.sdk.exporter.operation.duration"]
    assert {error: point.count for error, point in durations.items()} == {
        "": 1,
        "INVALID_ARGUMENT": 1,
        "UNAVAILABLE": 1,
    }


def test_a_receiver_without_metrics_is_asked_once(run_python: Any) -> None:
    with http_receiver() as receiver:
        code = f"""
start(Http("http://127.0.0.1:{receiver.port}/v1/traces"))
for number in range(3):
    tracer.start_span("x").end()
    assert processor.force_flush(20_000)
"""
        answers = iter([None, (404, {}, b"traces only")])
        receiver.answer = lambda _: next(answers, None)
        done = run_python(SETUP + code, NUAGES_SELF_METRICS="true", OTEL_METRIC_EXPORT_INTERVAL="1")
        assert receiver.metrics == [] and len(receiver.names) == 3
        assert done.stderr.count("does not take metrics") == 1


def test_off_by_default(run_python: Any) -> None:
    with grpc_receiver() as receiver:
        run_python(SETUP + f'start(Grpc("http://127.0.0.1:{receiver.port}"))\ntracer.start_span("x").end()\n')
        assert receiver.names == ["x"] and not receiver.metrics
