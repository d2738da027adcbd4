"""Django's own tasks (`django.tasks` of Django 6, the package django-tasks): a PRODUCER span `tasks.enqueue: NAME` and a CONSUMER span per run.

A run is what lies between `task_started` and the end of `Task.call()`; `call()` by the application itself is a plain function call and makes
no span. The framework carries no headers, so a run in another process (django-tasks' `db_worker`) is a trace of its own with the
`messaging.message.id` of its producer; a run in place is part of the trace that enqueues it. What `db_worker` asks its database for between
tasks is not recorded.
"""

from __future__ import annotations

import functools
import importlib
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any, Optional

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()
_connected: list[Any] = []
_started: ContextVar[Any] = ContextVar("nuages_task_started", default=None)
_polling: ContextVar[bool] = ContextVar("nuages_task_polling", default=False)
_WORKERS = tuple(
    f"{root}.management.commands.db_worker" for root in ("django_tasks_db", "django_tasks.backends.database")
)


def available() -> bool:
    return support.loaded("django.tasks") or support.loaded("django_tasks")


def install() -> None:
    _parts.install()


def uninstall() -> None:
    _parts.uninstall()
    _patches.undo()
    while _connected:
        _connected.pop().disconnect(_note_started)


def _install_framework(root: str) -> None:
    task = importlib.import_module(f"{root}.base").Task
    _patches.replace(task, "enqueue", "around", (_before_enqueue, _after_enqueue))
    _patches.put(task, "aenqueue", support.awaiting(vars(task)["aenqueue"], _before_enqueue, _after_enqueue))
    _patches.replace(task, "call", "around", (_before_call, _after_call))
    if "acall" in vars(task):
        _patches.put(task, "acall", support.awaiting(vars(task)["acall"], _before_call, _after_call))
    signal = importlib.import_module(f"{root}.signals").task_started
    signal.connect(_note_started, weak=False)
    _connected.append(signal)


def _install_worker(name: str) -> None:
    worker = importlib.import_module(name).Worker
    _patches.replace(worker, "run", "around", (_before_worker, _after_worker))


_parts = support.Parts(
    {
        **{root: functools.partial(_install_framework, root) for root in ("django.tasks", "django_tasks")},
        **{name: functools.partial(_install_worker, name) for name in _WORKERS},
    }
)


def _attributes(task: Any, operation: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": "django",
        "messaging.operation": operation,
        "messaging.destination": str(task.queue_name),
        "django.task.name": str(task.module_path),
        "django.task.backend": str(task.backend),
    }
    if task.priority:
        attributes["django.task.priority"] = int(task.priority)
    if task.run_after is not None:
        attributes["django.task.run_after"] = task.run_after.isoformat()
    return attributes


# ---- producer


def _before_enqueue(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0]
    return support.OpenSpan(
        trace.get_tracer("nuages.django").start_span(
            f"tasks.enqueue: {task.name}", kind=SpanKind.PRODUCER, attributes=_attributes(task, "publish")
        )
    )


def _after_enqueue(state: Any, result: Any, error: Optional[BaseException]) -> None:
    if result is not None and state.span.is_recording():
        state.span.set_attribute("messaging.message.id", str(result.id))
    state.close(error)


# ---- consumer


def _note_started(task_result: Any = None, **_: Any) -> None:
    _started.set(task_result)


def _before_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result, task = _started.get(), args[0]
    if result is None or result.task.func is not task.func:
        return None
    _started.set(None)
    attributes = _attributes(task, "process")
    attributes["messaging.message.id"] = str(result.id)
    attributes["django.task.attempt"] = len(result.worker_ids)
    wait = _wait(result, task)
    if wait is not None:
        attributes["django.task.queue_time_ms"] = wait
    return support.OpenSpan(
        trace.get_tracer("nuages.django").start_span(
            str(task.module_path),
            context=context_api.Context() if _polling.get() else None,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
        )
    )


def _wait(result: Any, task: Any) -> Optional[float]:
    since = [moment for moment in (result.enqueued_at, task.run_after) if isinstance(moment, datetime)]
    if not since:
        return None
    now = datetime.now(timezone.utc)
    waited = min((now if moment.tzinfo else datetime.now()) - moment for moment in since)
    return round(max(0.0, waited.total_seconds()) * 1000, 3)


def _after_call(state: Any, result: Any, error: Optional[BaseException]) -> None:
    state.span.set_attribute("django.task.state", "SUCCESSFUL" if error is None else "FAILED")
    _native.annotate_queries(state.span)
    state.close(error)


# ---- django-tasks' worker


def _before_worker(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Below a parent that is not sampled nothing is recorded; each task begins a trace of its own."""
    ids = RandomIdGenerator()
    parent = trace.SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False)
    span = trace.NonRecordingSpan(parent)
    return context_api.attach(trace.set_span_in_context(span)), _polling.set(True)


def _after_worker(state: Any, result: Any, error: Optional[BaseException]) -> None:
    token, polling = state
    _polling.reset(polling)
    context_api.detach(token)
