"""Celery: a PRODUCER span per message sent, a CONSUMER span per task run (celery_task.py).

Producer: `Task.apply_async` and `Celery.send_task` (the first calls the second: one span). The context goes into a copy of the message
headers, with the time of sending; the span is current only while publishing. What beat sends names its schedule. Commands to workers
(`revoke`, ...) are a span in the trace that gives them.

`NUAGES_CELERY_RELATION=link` (default): the task is a new trace that links to its producer and follows its sampling decision; `child`: the
producer is its parent. A task run in place without a message is part of the trace that runs it. Each retry links to the first attempt
besides, whose context travels in a message header of its own.
"""

from __future__ import annotations

import contextvars
import time
from datetime import datetime
from typing import Any, Optional

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from nuages import _native
from nuages.hooks import celery_task, support

_patches = support.Patches()
_connected: list[tuple[Any, Any]] = []
_schedule: contextvars.ContextVar[Optional[str]] = contextvars.ContextVar("nuages_celery_schedule", default=None)
# Options of a message that are shown as they are given, by the official instrumentation's names; the position is send_task's.
_OPTIONS = (("countdown", 4), ("eta", 5), ("expires", 11))


def available() -> bool:
    return support.loaded("celery.app")


def install() -> None:
    from celery import signals
    from celery.app.base import Celery
    from celery.app.control import Control
    from celery.app.task import Task

    _patches.replace(Task, "apply_async", "around", (_before_apply, _after_publish))
    _patches.replace(Celery, "send_task", "around", (_before_send, _after_publish))
    _patches.replace(Control, "broadcast", "around", (_before_broadcast, _after_broadcast))
    for signal, receiver in (
        (signals.task_prerun, celery_task.prerun),
        (signals.task_postrun, celery_task.postrun),
        (signals.task_failure, celery_task.failure),
        (signals.task_retry, celery_task.retry),
        (signals.task_revoked, celery_task.revoked),
        (signals.task_unknown, celery_task.unknown),
    ):
        signal.connect(receiver, weak=False)
        _connected.append((signal, receiver))
    _parts.install()


def uninstall() -> None:
    _parts.uninstall()
    _patches.undo()
    while _connected:
        signal, receiver = _connected.pop()
        signal.disconnect(receiver)


def _install_worker() -> None:
    from celery.worker.request import Request

    _patches.replace(Request, "on_failure", "around", (celery_task.before_failure, _nothing))
    _patches.replace(Request, "on_timeout", "around", (celery_task.before_timeout, _nothing))


def _install_beat() -> None:
    from celery.beat import Scheduler

    _patches.replace(Scheduler, "apply_async", "around", (_before_entry, _after_entry))


# Modules that only workers and beat import, later than the application's.
_parts = support.Parts({"celery.worker.request": _install_worker, "celery.beat": _install_beat})


def _nothing(state: Any, result: Any, error: Optional[BaseException]) -> None:
    return None


# ---- producer


def _before_apply(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0]
    shown = {name: kwargs.get(name) for name, _ in _OPTIONS}
    return _start_publish(
        task.app, task.name, _argument(args, kwargs, 3, "task_id"), kwargs, getattr(task, "queue", None), shown
    )


def _before_send(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = _argument(args, kwargs, 1, "name")
    if not isinstance(name, str):
        return None
    headers = kwargs.get("headers")
    if isinstance(headers, dict) and "traceparent" in headers:
        current = trace.get_current_span().get_span_context()
        if f"{current.span_id:016x}" in headers["traceparent"]:
            return None  # apply_async is around this call
    shown = {option: _argument(args, kwargs, index, option) for option, index in _OPTIONS}
    return _start_publish(args[0], name, _argument(args, kwargs, 6, "task_id"), kwargs, None, shown)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def _start_publish(
    app: Any, name: str, task_id: Optional[str], kwargs: dict[str, Any], queue: Any, shown: dict[str, Any]
) -> Any:
    attributes: dict[str, Any] = {
        "messaging.system": celery_task.broker(app),
        "messaging.operation": "publish",
        "celery.task_name": name,
        "messaging.destination": str(
            getattr(kwargs.get("queue"), "name", kwargs.get("queue")) or queue or kwargs.get("routing_key") or "celery"
        ),
    }
    if task_id:
        attributes["messaging.message.id"] = str(task_id)
    for option, value in shown.items():
        if isinstance(value, (int, float)):
            attributes[f"celery.{option}"] = value
        elif isinstance(value, (str, datetime)):
            attributes[f"celery.{option}"] = value if isinstance(value, str) else value.isoformat()
    schedule = _schedule.get()
    if schedule is not None:
        attributes["celery.schedule"] = schedule
    span = _native.start_task_span(f"celery.apply_async: {name.rpartition('.')[2]}", "publish", None, attributes)
    if span is None:
        return None
    current = trace.set_span_in_context(span)
    headers = dict(kwargs.get("headers") or {})
    propagate.inject(headers, current)
    if headers:
        headers[celery_task.SENT] = f"{time.time():.6f}"
    attempt = (
        celery_task.current(str(task_id)) if task_id else None
    )  # a retry keeps the id of the task that asks for it
    if attempt is not None and attempt.is_recording() and celery_task.FIRST_ATTEMPT not in headers:
        context = attempt.get_span_context()
        headers[celery_task.FIRST_ATTEMPT] = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )
    if headers:
        kwargs["headers"] = headers
    return span, context_api.attach(current)


def _after_publish(state: Any, result: Any, error: Optional[BaseException]) -> None:
    span, token = state
    context_api.detach(token)
    if error is not None:
        celery_task.record(span, error)
    elif span.is_recording():
        task_id = getattr(result, "id", None)
        if task_id:
            span.set_attribute("messaging.message.id", str(task_id))
    span.end()


# ---- commands to workers, beat


def _before_broadcast(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not trace.get_current_span().is_recording():
        return None
    command = str(_argument(args, kwargs, 1, "command"))
    attributes: dict[str, Any] = {"messaging.system": celery_task.broker(args[0].app), "celery.control": command}
    arguments = _argument(args, kwargs, 2, "arguments")
    task_id = arguments.get("task_id") if isinstance(arguments, dict) else None
    if isinstance(task_id, str):
        attributes["messaging.message.id"] = task_id
    span = trace.get_tracer("nuages.celery").start_span(
        f"celery.control: {command}", kind=SpanKind.PRODUCER, attributes=attributes
    )
    return support.OpenSpan(span)


def _after_broadcast(state: Any, result: Any, error: Optional[BaseException]) -> None:
    support.close_span(state, error)


def _before_entry(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    entry = _argument(args, kwargs, 1, "entry")
    return (_schedule.set(str(getattr(entry, "name", entry))),)


def _after_entry(state: Any, result: Any, error: Optional[BaseException]) -> None:
    _schedule.reset(state[0])
