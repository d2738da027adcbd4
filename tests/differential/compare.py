"""Both implementations side by side: two driver processes, a receiver for what ours exports, the comparison, and shrinking.

What may differ, because a requirement or the specification wants it, is taken out in normalise() and answered(); docs/design/drop-in.md lists
the same points for readers.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, Callable

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

DRIVER = Path(__file__).with_name("driver.py")
AUTO = 3 * 10**18
NOW = 10**18 * 4  # what a time becomes that the implementation took itself
LIBRARY_FRAME = re.compile(
    r'^([ |+]*)  File "[^"]*(?:/opentelemetry/|/contextlib\.py|/nuages/)[^"]*", line \d+, in .*\n(?:\1    .*\n)*',
    re.MULTILINE,
)


def receiver() -> tuple[Any, list[bytes], str]:
    """An OTLP/gRPC receiver that keeps the bytes of each request."""
    import grpc

    received: list[bytes] = []

    def export(request: bytes, context: Any) -> bytes:
        received.append(request)
        return b""

    handler = grpc.unary_unary_rpc_method_handler(export)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, received, f"http://127.0.0.1:{port}"


class Driver:
    def __init__(self, *arguments: str) -> None:
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "NUAGES_"))}
        environment.update(NUAGES_MASKING="off", NUAGES_HOOKS="none", PYTHONHASHSEED="0")
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def send(self, batch: list[Any]) -> None:
        data = pickle.dumps(batch)
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack("<Q", len(data)) + data)
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        size = self.process.stdout.read(8)
        if len(size) < 8:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return pickle.loads(self.process.stdout.read(struct.unpack("<Q", size)[0]))

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


# ---- OTLP, made comparable


def same_time(nanoseconds: int) -> int:
    if nanoseconds >= AUTO or abs(nanoseconds - time.time_ns()) < 3600 * 10**9:
        return NOW
    return nanoseconds


def without(attributes: Any, name: str) -> None:
    for index, attribute in enumerate(attributes):
        if attribute.key == name:
            del attributes[index]
            return


def same_trace(official: str, ours: str) -> bool:
    """Stack traces without the libraries' own frames; what a length limit has cut off is not compared."""
    official, ours = LIBRARY_FRAME.sub("", official), LIBRARY_FRAME.sub("", ours)
    return official == ours or not (official.endswith("\n") and ours.endswith("\n"))


def normalise_span(span: Any) -> list[str]:
    """The stack traces, which it takes out."""
    traces = []
    span.start_time_unix_nano = same_time(span.start_time_unix_nano)
    span.end_time_unix_nano = same_time(span.end_time_unix_nano)
    without(span.attributes, "nuages.sampling.ratio")
    for event in span.events:
        event.time_unix_nano = same_time(event.time_unix_nano)
        for attribute in event.attributes:
            if attribute.key == "exception.stacktrace":
                traces.append(attribute.value.string_value)
                attribute.value.string_value = ""
    for link in span.links:
        link.trace_state = ""
        link.flags &= 0x300
        if not link.attributes:  # the official SDK says 0 when nothing is left
            link.dropped_attributes_count = 0
    if not span.status.code and not span.status.message:
        span.ClearField("status")
    return traces


def normalise(payload: bytes) -> dict[int, tuple[bytes, Any, list[str]]]:
    """span id -> (bytes for the comparison, the messages for the explanation, stack traces)."""
    found: dict[int, tuple[bytes, Any, list[str]]] = {}
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(payload)
    for resource_spans in request.resource_spans:
        without(resource_spans.resource.attributes, "nuages.version")
        resource = resource_spans.resource.SerializeToString(deterministic=True)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.SerializeToString(deterministic=True)
            schemas = f"{resource_spans.schema_url} {scope_spans.schema_url}".encode()
            for span in scope_spans.spans:
                traces = normalise_span(span)
                body = span.SerializeToString(deterministic=True)
                key = int.from_bytes(span.span_id, "big")
                assert key not in found, f"span {key:x} was exported twice"
                found[key] = (
                    body + scope + resource + schemas,
                    (span, scope_spans.scope, resource_spans.resource),
                    traces,
                )
    return found


def differences(official: Any, ours: Any, path: str = "") -> list[str]:
    if isinstance(official, dict) and isinstance(ours, dict):
        keys = sorted(official.keys() | ours.keys(), key=str)
        return [line for key in keys for line in differences(official.get(key), ours.get(key), f"{path}.{key}")]
    if isinstance(official, (list, tuple)) and isinstance(ours, (list, tuple)) and len(official) == len(ours):
        pairs = enumerate(zip(official, ours))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}[{index}]")]
    if path.endswith(".exception.stacktrace") and isinstance(official, str) and isinstance(ours, str):
        return [] if same_trace(official, ours) else [f"{path}: official {official!r}, ours {ours!r}"]
    return [] if official == ours else [f"{path}: official {official!r}, ours {ours!r}"]


def payload_differences(official: bytes, ours: dict[int, tuple[bytes, Any, list[str]]], title: str) -> list[str]:
    expected = normalise(official)
    found = []
    for key in sorted(expected.keys() | ours.keys()):
        if key not in ours or key not in expected:
            found.append(f"{title} span {key & 0xFFFFF}: only in {'official' if key in expected else 'ours'}")
        elif expected[key][0] != ours[key][0]:
            shown = [[MessageToDict(message) for message in one[key][1]] for one in (expected, ours)]
            found += [f"{title} span {key & 0xFFFFF}{line}" for line in differences(*shown)] or [
                f"{title}: bytes differ"
            ]
        elif not all(map(same_trace, expected[key][2], ours[key][2])):
            found.append(f"{title} span {key & 0xFFFFF} stack traces: official {expected[key][2]}, ours {ours[key][2]}")
    return found


def raised(observation: Any) -> bool:
    return isinstance(observation, tuple) and len(observation) == 2 and observation[0] == "raised"


class Pair:
    """Runs sequences on both sides."""

    def __init__(self) -> None:
        self.server, self.received, endpoint = receiver()
        self.official = Driver("official")
        self.ours = Driver("nuages", endpoint)
        self.index = 0
        self.spans = 0
        self.raising = 0

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *error: Any) -> None:
        codes = [self.official.stop(), self.ours.stop()]
        self.server.stop(None)
        if error[0] is None:
            assert codes == [0, 0], codes

    def _answers(self, sequences: list[Any]) -> tuple[list[int], Any, Any, dict[int, Any]]:
        indices = list(range(self.index, self.index + len(sequences)))
        self.index += len(sequences)
        batch = list(zip(indices, sequences))
        self.official.send(batch)
        self.ours.send(batch)
        official, ours = self.official.receive(), self.ours.receive()
        exported = normalise(b"".join(self.received))
        self.received.clear()
        self.spans += len(exported)
        return indices, official, ours, exported

    def compare(self, sequences: list[Any]) -> list[list[str]]:
        """The differences of each sequence; empty lists are what is wanted."""
        results = []
        again: list[tuple[int, Any]] = []
        indices, official, ours, exported = self._answers(sequences)
        for place, (index, sequence, theirs, mine) in enumerate(zip(indices, sequences, official, ours)):
            bad = [number for number, seen in enumerate(theirs[0]) if raised(seen)]
            if bad:
                # Ours must not raise where the official SDK does; what it made of the call may then differ.
                self.raising += 1
                results.append(
                    [f"call {n} raised in ours only: {s}" for n, s in enumerate(mine[0]) if raised(s) and n not in bad]
                )
                kept = [call for number, call in enumerate(sequence["calls"]) if number not in bad]
                again.append((place, {**sequence, "calls": kept}))
                continue
            own = {key: one for key, one in exported.items() if key >> 20 == index + 1}
            found = []
            for number, (one, other) in enumerate(zip(theirs[0], mine[0])):
                found += [f"call {number} {sequence['calls'][number][0]}{line}" for line in differences(one, other)]
            found += [f"processor{line}" for line in differences(theirs[1], mine[1])]
            found += payload_differences(theirs[2], own, "otlp")
            found += payload_differences(theirs[3], normalise(mine[3]), "python exporter")
            results.append(found)
        if again:
            for (place, _), found in zip(again, self.compare([sequence for _, sequence in again])):
                results[place] += found
        return results


def shrink(sequence: Any, fails: Callable[[Any], bool]) -> Any:
    """A smaller sequence that fails too: fewer calls, then a plainer configuration."""
    calls = list(sequence["calls"])
    size = len(calls) // 2 or 1
    while size:
        at = 0
        while at < len(calls):
            shorter = calls[:at] + calls[at + size :]
            if fails({**sequence, "calls": shorter}):
                calls = shorter
            else:
                at += size
        size //= 2
    small = {**sequence, "calls": calls}
    for name, plain in (("sampler", ("on",)), ("limits", None), ("processors", []), ("random ids", False)):
        simpler = {**small, "config": {**small["config"], name: plain}}
        if small["config"][name] != plain and fails(simpler):
            small = simpler
    for number, call in enumerate(small["calls"]):  # the arguments of spans, one by one
        if call[0] not in ("start", "enter", "decorated"):
            continue
        place = 3
        for name in list(call[place]):
            kept = {key: given for key, given in small["calls"][number][place].items() if key != name}
            changed = list(small["calls"])
            changed[number] = (*changed[number][:place], kept, *changed[number][place + 1 :])
            if fails({**small, "calls": changed}):
                small = {**small, "calls": changed}
    return small


def fuzz(pair: Pair, seeds: range, generate: Callable[[int], Any], batch: int = 8) -> Iterator[tuple[int, list[str]]]:
    """(seed, differences) of the sequences that differ."""
    for first in range(seeds.start, seeds.stop, batch):
        chosen = list(range(first, min(first + batch, seeds.stop)))
        for seed, found in zip(chosen, pair.compare([generate(seed) for seed in chosen])):
            if found:
                yield seed, found
