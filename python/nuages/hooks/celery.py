"""Celery: a PRODUCER span per message sent, a CONSUMER span per task run.

Producer: `Task.apply_async` and `Celery.send_task` (the first calls the second: one span). The context goes into a copy of the message
headers; the span is current only while publishing. Consumer: Celery's own `task_prerun` / `task_postrun` signals, which it sends around every
execution in every pool and in eager mode, `postrun` from a `finally`; they work for tasks and workers that existed before the hook.

`NUAGES_CELERY_RELATION=link` (default): the task is a new trace that links to its producer and follows its sampling decision; `child`: the
producer is its parent. A task run in place without a message is part of the trace that runs it. Each retry links to the first attempt
besides, whose context travels in a message header of its own.
"""

from __future__ import annotations

import threading
from typing import Any, Optional

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nuages import _native, settings
from nuages.hooks import support

FIRST_ATTEMPT = "nuages_first_attempt"

_patches = support.Patches()
_traceparent = TraceContextTextMapPropagator()
_connected: list[tuple[Any, Any]] = []
_open: dict[tuple[int, str], tuple[Any, Any]] = {}


def available() -> bool:
    return support.loaded("celery.app")


def install() -> None:
    from celery import signals
    from celery.app.base import Celery
    from celery.app.task import Task

    _patches.replace(Task, "apply_async", "around", (_before_apply, _after_publish))
    _patches.replace(Celery, "send_task", "around", (_before_send, _after_publish))
    for signal, receiver in (
        (signals.task_prerun, _prerun),
        (signals.task_postrun, _postrun),
        (signals.task_failure, _failure),
        (signals.task_retry, _retry),
    ):
        signal.connect(receiver, weak=False)
        _connected.append((signal, receiver))


def uninstall() -> None:
    _patches.undo()
    while _connected:
        signal, receiver = _connected.pop()
        signal.disconnect(receiver)


# ---- producer ----


def _before_apply(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0]
    return _start_publish(
        task.app, task.name, _argument(args, kwargs, 3, "task_id"), kwargs, getattr(task, "queue", None)
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
    return _start_publish(args[0], name, _argument(args, kwargs, 6, "task_id"), kwargs, None)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def _broker(app: Any) -> str:
    """messaging.system: the broker, from the URL's scheme; the URL itself holds a password and goes nowhere."""
    try:
        scheme = str(app.conf.broker_write_url or app.conf.broker_url or "amqp").partition(":")[0].partition("+")[0]
    except Exception:
        return "celery"
    return {"amqp": "rabbitmq", "pyamqp": "rabbitmq", "rediss": "redis", "sentinel": "redis"}.get(scheme, scheme)


def _start_publish(app: Any, name: str, task_id: Optional[str], kwargs: dict[str, Any], queue: Any) -> Any:
    attributes: dict[str, Any] = {
        "messaging.system": _broker(app),
        "messaging.operation": "publish",
        "celery.task_name": name,
        "messaging.destination": str(
            getattr(kwargs.get("queue"), "name", kwargs.get("queue")) or queue or kwargs.get("routing_key") or "celery"
        ),
    }
    if task_id:
        attributes["messaging.message.id"] = str(task_id)
    tracer = trace.get_tracer("nuages.celery")
    span = tracer.start_span(
        f"celery.apply_async: {name.rpartition('.')[2]}", kind=SpanKind.PRODUCER, attributes=attributes
    )
    current = trace.set_span_in_context(span)
    headers = dict(kwargs.get("headers") or {})
    propagate.inject(headers, current)
    attempt = _current(str(task_id)) if task_id else None  # a retry keeps the id of the task that asks for it
    if attempt is not None and attempt.is_recording() and FIRST_ATTEMPT not in headers:
        context = attempt.get_span_context()
        headers[FIRST_ATTEMPT] = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    if headers:
        kwargs["headers"] = headers
    return span, context_api.attach(current)


def _after_publish(state: Any, result: Any, error: Optional[BaseException]) -> None:
    span, token = state
    context_api.detach(token)
    if error is not None:
        _record(span, error)
    elif span.is_recording():
        task_id = getattr(result, "id", None)
        if task_id:
            span.set_attribute("messaging.message.id", str(task_id))
    span.end()


def _record(span: Any, error: BaseException) -> None:
    span.record_exception(error, escaped=True)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


# ---- consumer ----


def _prerun(task_id: str = "", task: Any = None, **_: Any) -> None:
    try:
        request = task.request
        carrier = _carrier(request)
        producer = (
            trace.get_current_span(propagate.extract(carrier, context_api.Context())).get_span_context()
            if carrier
            else None
        )
        if producer is not None and not producer.is_valid:
            producer = None
        relation = (
            "local"
            if producer is None and trace.get_current_span().get_span_context().is_valid
            else settings.get("celery_relation")
        )
        span = _native.start_task_span(task.name, relation, producer, _attributes(task, task_id, request))
        if span is None:
            return
        first = _first_attempt(request)
        if first is not None:
            span.add_link(first, {"nuages.link": "celery.first_attempt"})
        _open[threading.get_ident(), task_id] = span, context_api.attach(trace.set_span_in_context(span))
    except Exception:
        support.failed("starting a task's span")


def _carrier(request: Any) -> dict[str, str]:
    """The propagation headers, which Celery puts beside its own on the request, and (some versions) into request.headers."""
    own = getattr(request, "headers", None)
    carrier = {key: value for key, value in own.items() if isinstance(value, str)} if isinstance(own, dict) else {}
    for field in propagate.get_global_textmap().fields:
        value = getattr(request, field, None)
        if isinstance(value, str):
            carrier[field] = value
    return carrier


def _first_attempt(request: Any) -> Optional[Any]:
    header = getattr(request, FIRST_ATTEMPT, None) or (getattr(request, "headers", None) or {}).get(FIRST_ATTEMPT)
    if not isinstance(header, str):
        return None
    context = _traceparent.extract({"traceparent": header}, context_api.Context())
    span_context = trace.get_current_span(context).get_span_context()
    return span_context if span_context.is_valid else None


def _attributes(task: Any, task_id: str, request: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": _broker(task.app),
        "messaging.operation": "process",
        "celery.task_name": task.name,
        "messaging.message.id": task_id,
        "celery.retries": int(getattr(request, "retries", 0) or 0),
    }
    delivery = getattr(request, "delivery_info", None)
    if isinstance(delivery, dict):
        destination = delivery.get("routing_key") or delivery.get("exchange")
        if destination:
            attributes["messaging.destination"] = str(destination)
        if delivery.get("is_eager"):
            attributes["celery.eager"] = True
    hostname = getattr(request, "hostname", None)
    if hostname:
        attributes["celery.worker"] = str(hostname)
    return attributes


def _postrun(task_id: str = "", state: Any = None, **_: Any) -> None:
    opened = _open.pop((threading.get_ident(), task_id), None)
    if opened is None:
        return
    span, token = opened
    try:
        if state:
            span.set_attribute("celery.state", str(state))
        _native.annotate_queries(span)
    except Exception:
        support.failed("ending a task's span")
    finally:
        context_api.detach(token)
        span.end()


def _current(task_id: str) -> Any:
    opened = _open.get((threading.get_ident(), task_id))
    return opened[0] if opened is not None else None


def _failure(task_id: str = "", exception: Any = None, **_: Any) -> None:
    span = _current(task_id)
    if span is not None and isinstance(exception, BaseException):
        _record(span, exception)


def _retry(request: Any = None, reason: Any = None, **_: Any) -> None:
    span = _current(getattr(request, "id", ""))
    if span is not None:
        span.add_event(
            "celery.retry",
            {"celery.retry.reason": str(reason), "celery.retries": int(getattr(request, "retries", 0) or 0)},
        )
