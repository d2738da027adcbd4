"""An OpenTelemetry that moved something under us: the official SDK does the work, one line says why, the application notices nothing.

The installed packages are copied and really changed; each change is one that a release could make.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import opentelemetry.sdk
import opentelemetry.trace
import pytest
from nuages import _selftest

PROGRAM = """
import nuages
nuages.install()
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
import nuages.auto

assert TracerProvider.__module__ == "opentelemetry.sdk.trace", TracerProvider
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
tracer = provider.get_tracer("t")
with tracer.start_as_current_span("outer") as outer:
    with tracer.start_as_current_span("inner"):
        assert trace.get_current_span().name == "inner"
inner, outer = memory.get_finished_spans()
assert inner.parent.span_id == outer.context.span_id and type(inner).__module__ == "opentelemetry.sdk.trace"
print(OTLPSpanExporter.__module__)
"""

# what -> (file below opentelemetry/, pattern, replacement), ..., a word of the line
CHANGES: dict[str, tuple[list[tuple[str, str, str]], str]] = {
    "the key of the current span": (
        [("**/*.py", r"\b_SPAN_KEY\b", "_CURRENT_SPAN_KEY")],
        "opentelemetry.trace.propagation has no _SPAN_KEY",
    ),
    "the global provider": ([("**/*.py", r"\b_TRACER_PROVIDER\b", "_GLOBAL_PROVIDER")], "_TRACER_PROVIDER"),
    "the tracer inside of a proxy": ([("trace/__init__.py", r"\b_tracer\b", "_behind")], "ProxyTracer._tracer"),
    "the provider's processor": (
        [("sdk/**/*.py", r"\b_active_span_processor\b", "_root_processor")],
        "_active_span_processor",
    ),
    "the provider's limits": (
        [("sdk/trace/__init__.py", r"self\._span_limits\b", "self._limits_of_spans")],
        "_span_limits",
    ),
    "the list of processors": ([("sdk/**/*.py", r"\b_span_processors\b", "_chain")], "processors do not get the spans"),
    "another field in SpanContext": (
        [("trace/span.py", r"trace_state, is_valid\)", "trace_state, is_valid, 0)")],
        "SpanContext",
    ),
    "a tracer that needs another argument": (
        [
            (
                "sdk/trace/__init__.py",
                r"(class Tracer\(.*?def __init__\(\n        self,\n)",
                r"\1        region: str,\n",
            ),
            ("sdk/trace/__init__.py", r"tracer = Tracer\(", r"tracer = Tracer(\n                'eu',"),
        ],
        "region",
    ),
    "values of SpanKind": ([("trace/__init__.py", r"INTERNAL = 0", "INTERNAL = 7")], "SpanKind"),
}


def changed_copy(folder: Path, changes: list[tuple[str, str, str]]) -> Path:
    """The API and the SDK, copied and changed; found before the installed ones."""
    copy = folder / "changed" / "opentelemetry"
    for name in ("trace", "context", "sdk", "attributes", "baggage", "propagate", "propagators"):
        source = Path(opentelemetry.trace.__file__).parents[1] / name
        if name == "sdk":
            source = Path(next(iter(opentelemetry.sdk.__path__)))
        shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for files, pattern, replacement in changes:
        hits = 0
        for file in copy.glob(files):
            text, count = re.subn(pattern, replacement, file.read_text(), flags=re.DOTALL)
            if count:
                file.write_text(text)
                hits += count
        assert hits, f"the installed OpenTelemetry has no {pattern!r} any more: write the change anew"
    return copy.parent


@pytest.mark.parametrize(
    ("what", "switch"), [*((what, "") for what in CHANGES), *((what, "1") for what in list(CHANGES)[:2])]
)
def test_a_moved_thing_gives_the_official_sdk(run_python: Any, tmp_path: Path, what: str, switch: str) -> None:
    changes, word = CHANGES[what]
    # what the official classes themselves stand: the change is one that its own code follows
    done = run_python(
        PROGRAM, PYTHONPATH=str(changed_copy(tmp_path, changes)), NUAGES_AUTO=switch, OTEL_TRACES_EXPORTER="none"
    )
    assert done.stdout == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter\n"
    (line,) = done.stderr.splitlines()
    assert "nuages has no native core here: it does not fit the installed opentelemetry-sdk" in line and word in line


def test_an_unchanged_copy_is_native(run_python: Any, tmp_path: Path) -> None:
    code = "import nuages; nuages.install()\nfrom opentelemetry.sdk.trace import TracerProvider as T; print(T.__module__, T.__mro__[1].__module__)"
    done = run_python(code, PYTHONPATH=str(changed_copy(tmp_path, [])))
    assert done.stdout == "nuages.sdk.trace opentelemetry.sdk.trace\n" and done.stderr == ""


def test_the_self_test_is_passed_whatever_the_environment_says(monkeypatch: Any) -> None:
    for name, value in {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many",
        "OTEL_RESOURCE_ATTRIBUTES": "nonsense",
    }.items():
        monkeypatch.setenv(name, value)
    assert _selftest.problem() is None


def test_a_fork_right_after_install(run_python: Any) -> None:
    """The SDK asks resource detectors in a thread pool in the child; the self-test's provider must not make that wait for ever."""
    run_python(
        """
import gc, os
gc.disable()
import nuages
nuages.install()
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider(resource=Resource({"service.name": "explicit"}))
with provider.get_tracer("t").start_as_current_span("a"):
    pid = os.fork()
if pid == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    )
