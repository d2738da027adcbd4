"""What each process says it produced: one line for each span, written while the span is open, by an append that no other process can split."""

from __future__ import annotations

import json
import os

# The spans that one request, task or command of shop/ makes, told apart by its trace id.
REQUEST = (
    "GET /work/{number}/",
    "CommonMiddleware.process_request",
    "CommonMiddleware.process_response",
    "shop.views.work",
    "SELECT",
    "by hand",
)
TASK = ("shop.tasks.work", "SELECT", "by hand")


def note(*names: str, request: int = -1) -> None:
    """The current trace of this process has (or will have) spans of these names. `request`: the number its client gave it."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    write(f"{context.trace_id:032x}", *names, request=request)


def write(trace_id: str, *names: str, request: int = -1) -> None:
    lines = "".join(json.dumps([trace_id, name, os.getpid(), request]) + "\n" for name in names)
    file = os.open(os.environ["FORKS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, lines.encode())
    finally:
        os.close(file)
