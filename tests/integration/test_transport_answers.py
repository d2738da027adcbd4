"""What the agent makes of a receiver's answers: try again when told to, give up when refused, count what was rejected, outlive an outage."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from transport_fixture import free_port, grpc_receiver, http_receiver, send_one, start_program


def retry_info(seconds: float) -> bytes:
    """google.rpc.Status{code: 14, details: [RetryInfo]}, as servers put it into grpc-status-details-bin."""
    from google.protobuf import any_pb2, duration_pb2

    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    inner = delay.SerializeToString()
    info = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\x0a" + bytes([len(inner)]) + inner)
    packed = info.SerializeToString()
    return b"\x08\x0e" + b"\x1a" + bytes([len(packed)]) + packed


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_retry_info_says_when(run_python: Any, code: Any) -> None:
    times: list[float] = []

    def answer(number: int, context: Any) -> None:
        times.append(time.monotonic())
        if number == 1:
            context.set_trailing_metadata((("grpc-status-details-bin", retry_info(1.5)),))
            context.abort(code, "later")

    with grpc_receiver() as receiver:
        receiver.answer = answer
        counters, _ = send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
        assert counters["flushed"] is True and counters["retries"] == 1
        assert receiver.names == ["one"] and times[1] - times[0] >= 1.5


def test_resource_exhausted_without_retry_info_is_a_refusal(run_python: Any) -> None:
    with grpc_receiver() as receiver:
        receiver.answer = lambda _, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota")
        counters, log = send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
        assert counters["flushed"] is False and counters["failed"] == 1 and receiver.calls == 1
        assert "RESOURCE_EXHAUSTED: quota" in log


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    ],
)
def test_what_may_pass_is_tried_again(run_python: Any, code: Any) -> None:
    with grpc_receiver() as receiver:
        receiver.answer = lambda number, context: context.abort(code, "x") if number == 1 else None
        counters, _ = send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
        assert counters["exported"] == 1 and receiver.calls == 2


def test_partial_success_is_counted_and_said_once(run_python: Any) -> None:
    def answer(_: int, __: Any) -> Any:
        response = trace_service_pb2.ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 1
        response.partial_success.error_message = "span too old"
        return response

    with grpc_receiver() as receiver:
        receiver.answer = answer
        counters, log = send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
        assert counters["rejected"] == 1 and receiver.calls == 1
        assert log.count("span too old") == 1 and "1 were rejected" in log


def test_a_warning_of_the_receiver_is_passed_on_once(run_python: Any) -> None:
    def answer(_: int, __: Any) -> Any:
        response = trace_service_pb2.ExportTraceServiceResponse()
        response.partial_success.error_message = "use a newer endpoint"
        return response

    with grpc_receiver() as receiver:
        receiver.answer = answer
        counters, log = send_one(run_python, f'Grpc("http://127.0.0.1:{receiver.port}")')
        assert counters["flushed"] is True and counters["rejected"] == 0
        assert log.count("use a newer endpoint") == 1


def test_goaway_between_calls_costs_nothing(run_python: Any, tmp_path: Path) -> None:
    # the server ends each connection after 200 ms, with GOAWAY
    options = [("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 1000)]
    code = """
import time
start(Grpc())
for number in range(12):
    tracer.start_span("x").end()
    assert processor.force_flush(20_000), processor.pipeline.counters()
    time.sleep(0.1)
report()
"""
    with grpc_receiver(options=options) as receiver:
        program = start_program(code, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}")
        output, errors = program.communicate(timeout=60)
        counters = json.loads(output)
        assert (counters["exported"], counters["failed"]) == (12, 0), errors
        assert counters["retries"] == 0 and "WARNING" not in errors
        assert len(receiver.names) == 12


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_http_tries_again_after_retry_after(run_python: Any, status: int) -> None:
    times: list[float] = []

    def answer(number: int) -> Any:
        times.append(time.monotonic())
        return (status, {"Retry-After": "1"}, b"") if number == 1 else None

    with http_receiver() as receiver:
        receiver.answer = answer
        counters, _ = send_one(run_python, f'Http("http://127.0.0.1:{receiver.port}/v1/traces")')
        assert counters["flushed"] is True and receiver.names == ["one"] and times[1] - times[0] >= 1


@pytest.mark.parametrize(
    ("status", "words"), [(401, "OTEL_EXPORTER_OTLP_HEADERS"), (404, "4318"), (500, "500"), (302, "302")]
)
def test_http_refusals_are_final_and_say_what_to_do(run_python: Any, status: int, words: str) -> None:
    with http_receiver() as receiver:
        receiver.answer = lambda _: (status, {"Location": "http://elsewhere/"}, b"")
        counters, log = send_one(
            run_python, f'Http("http://127.0.0.1:{receiver.port}/v1/traces", headers={{"api-key": "s3cret"}})'
        )
        assert counters["failed"] == 1 and receiver.calls == 1
        assert words in log and "s3cret" not in log


def test_nothing_is_lost_in_an_outage_and_everything_follows(tmp_path: Path) -> None:
    code = """
start(Grpc(), schedule_delay_millis=50, max_queue_size=64, max_export_batch_size=16)
import time
for number in range(2000):
    counters = processor.pipeline.counters()
    while counters["enqueued"] - counters["outage_spans"] >= 48:  # as a program would make them, not all at once
        time.sleep(0.001)
        counters = processor.pipeline.counters()
    tracer.start_span(str(number)).end()
report()
sys.stdin.readline()
report(processor.force_flush(30_000))
"""
    port = free_port()  # nobody listens yet
    program = start_program(code, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    assert program.stdout is not None and program.stdin is not None
    before = json.loads(program.stdout.readline())
    assert before["exported"] == 0 and before["dropped_full"] == 0 and before["outage_spans"] > 1900
    assert before["outage_bytes"] < 300 * before["outage_spans"]
    with grpc_receiver(f"127.0.0.1:{port}") as receiver:
        output, errors = program.communicate("go\n", timeout=60)
        after = json.loads(output)
        assert after["flushed"] is True and after["exported"] == 2000 and after["failed"] == 0
        assert receiver.names == [str(number) for number in range(2000)]
        assert errors.count("trying again") == 1 and errors.count("answers again") == 1


def test_a_receiver_that_cuts_the_connection_in_the_middle_is_tried_again(run_python: Any) -> None:
    """Real bytes, no protocol: the first connections are reset after the request has begun."""
    with grpc_receiver() as receiver, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        cuts = 0

        def serve() -> None:
            nonlocal cuts
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if cuts < 2:
                    cuts += 1
                    connection.recv(100)
                    connection.close()
                    continue
                upstream = socket.create_connection(("127.0.0.1", receiver.port))
                for a, b in ((connection, upstream), (upstream, connection)):
                    threading.Thread(target=copy, args=(a, b), daemon=True).start()

        def copy(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        counters, _ = send_one(run_python, f'Grpc("http://127.0.0.1:{listener.getsockname()[1]}")')
        assert counters["flushed"] is True and cuts == 2 and receiver.names == ["one"]
        listener.close()
