"""The consumer half of the Celery hook: a CONSUMER span per task run, also for those that never come to an end.

Runs: Celery's own `task_prerun` / `task_postrun` signals, which it sends around every execution in every pool and in eager mode, `postrun`
from a `finally`; they work for tasks and workers that existed before the hook. What a pool process may not be able to tell, the worker's main
process reports (`celery.reported_by = worker`): tasks that were revoked or expired, whose process was lost (`os._exit`, out of memory, hard
time limit), and messages that name no task. A process that is stopped softly enough tells its half besides, as SystemExit.
"""

from __future__ import annotations

import collections
import sys
import threading
import time
import weakref
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Optional

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nuages import _native, settings
from nuages.hooks import support

FIRST_ATTEMPT = "nuages_first_attempt"  # header: the context of the first attempt of a task that is retried
SENT = "nuages_sent"  # header: when the message was sent, in seconds since 1970

_traceparent = TraceContextTextMapPropagator()
_brokers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_open: dict[tuple[int, str], tuple[Any, Any]] = {}
_lost: collections.deque[tuple[str, int]] = collections.deque(maxlen=256)
_NOT_FAILURES = ("Retry", "Ignore", "Reject")


def broker(app: Any) -> str:
    """messaging.system: the broker, from the URL's scheme; the URL itself holds a password and goes nowhere. Celery's configuration is slow to
    ask, so once per application."""
    try:
        return _brokers[app]
    except (KeyError, TypeError):
        pass
    try:
        scheme = str(app.conf.broker_write_url or app.conf.broker_url or "amqp").partition(":")[0].partition("+")[0]
        system = {"amqp": "rabbitmq", "pyamqp": "rabbitmq", "rediss": "redis", "sentinel": "redis"}.get(scheme, scheme)
        _brokers[app] = system
        return system
    except Exception:
        return "celery"


def record(span: Any, error: BaseException) -> None:
    span.record_exception(error, escaped=True)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def current(task_id: str) -> Any:
    """The span of the task that this thread runs, when it has that id."""
    opened = _open.get((threading.get_ident(), task_id))
    return opened[0] if opened is not None else None


# ---- signals around a run


def prerun(task_id: str = "", task: Any = None, **_: Any) -> None:
    try:
        span = _start(task.name, task.app, task_id, task.request)
        if span is not None:
            _open[threading.get_ident(), task_id] = span, context_api.attach(trace.set_span_in_context(span))
    except Exception:
        support.failed("starting a task's span")


def postrun(task_id: str = "", state: Any = None, **_: Any) -> None:
    opened = _open.pop((threading.get_ident(), task_id), None)
    if opened is None:
        return
    span, token = opened
    try:
        if state:
            span.set_attribute("celery.state", str(state))
        else:
            # Celery calls from a `finally`: SystemExit and its like, or an eager task that hands its error on.
            error = sys.exc_info()[1]
            if error is not None and type(error).__name__ not in _NOT_FAILURES:
                record(span, error)
        _native.annotate_queries(span)
    except Exception:
        support.failed("ending a task's span")
    finally:
        context_api.detach(token)
        span.end()


def failure(task_id: str = "", exception: Any = None, **_: Any) -> None:
    span = current(task_id)
    if span is not None and isinstance(exception, BaseException):
        record(span, exception)


def retry(request: Any = None, reason: Any = None, **_: Any) -> None:
    span = current(getattr(request, "id", ""))
    if span is not None:
        text = str(reason)
        span.set_attribute("celery.retry.reason", text)
        span.add_event(
            "celery.retry",
            {"celery.retry.reason": text, "celery.retries": int(getattr(request, "retries", 0) or 0)},
        )


# ---- what only the worker's main process knows


def revoked(sender: Any = None, request: Any = None, terminated: Any = None, expired: Any = None, **_: Any) -> None:
    try:
        attributes = {"celery.state": "REVOKED"}
        reason = "expired" if expired else "terminated" if terminated else "revoked"
        attributes["celery.revoked.reason"] = reason
        _report(sender.name, sender.app, request, attributes)
    except Exception:
        support.failed("recording a revoked task")


def unknown(sender: Any = None, message: Any = None, exc: Any = None, name: Any = None, **_: Any) -> None:
    try:
        headers = getattr(message, "headers", None) or {}
        request = SimpleNamespace(**{key: value for key, value in headers.items() if isinstance(key, str)})
        delivery = getattr(message, "delivery_info", None)
        request.delivery_info = delivery if isinstance(delivery, dict) else {}
        _report(str(name), sender.app, request, {"celery.state": "REJECTED"}, exc)
    except Exception:
        support.failed("recording an unknown task")


def before_failure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`celery.worker.request.Request.on_failure(exc_info)`: the pool has lost the process, so nobody else tells of this run."""
    error = getattr(args[1] if len(args) > 1 else kwargs.get("exc_info"), "exception", None)
    error = getattr(error, "exc", error)
    if isinstance(error, Exception) and type(error).__name__ in ("WorkerLostError", "TimeLimitExceeded"):
        _lost_run(args[0], error)


def before_timeout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`Request.on_timeout(soft, timeout)`: a hard limit kills the pool process."""
    soft = args[1] if len(args) > 1 else kwargs.get("soft")
    if not soft:
        from billiard.exceptions import TimeLimitExceeded

        _lost_run(args[0], TimeLimitExceeded(args[2] if len(args) > 2 else kwargs.get("timeout")))


def _lost_run(request: Any, error: BaseException) -> None:
    context = getattr(request, "_context", request)
    key = str(request.id), int(getattr(context, "retries", 0) or 0)
    if key in _lost:
        return
    _lost.append(key)
    started = getattr(request, "time_start", None)
    start_ns = int(started * 1e9) if isinstance(started, (int, float)) and started > 1e9 else 0
    _report(request.task.name, request.task.app, context, {"celery.state": "FAILURE"}, error, start_ns)


def _report(
    name: str,
    app: Any,
    request: Any,
    attributes: dict[str, Any],
    error: Optional[BaseException] = None,
    start_ns: int = 0,
) -> None:
    attributes["celery.reported_by"] = "worker"
    span = _start(name, app, str(getattr(request, "id", "") or ""), request, attributes, start_ns)
    if span is not None:
        if error is not None:
            record(span, error)
        span.end()


# ---- a run's span


def _start(
    name: str, app: Any, task_id: str, request: Any, more: Optional[dict[str, Any]] = None, start_ns: int = 0
) -> Any:
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
    attributes = _attributes(name, app, task_id, request)
    if more:
        attributes.update(more)
    span = _native.start_task_span(name, relation, producer, attributes, start_ns)
    first = _first_attempt(request) if span is not None else None
    if first is not None:
        span.add_link(first, {"nuages.link": "celery.first_attempt"})
    return span


def _carrier(request: Any) -> dict[str, str]:
    """The propagation headers, which Celery puts beside its own on the request, and (some versions) into request.headers."""
    own = getattr(request, "headers", None)
    carrier = {key: value for key, value in own.items() if isinstance(value, str)} if isinstance(own, dict) else {}
    for field in propagate.get_global_textmap().fields:
        value = getattr(request, field, None)
        if isinstance(value, str):
            carrier[field] = value
    return carrier


def _header(request: Any, name: str) -> Any:
    value = getattr(request, name, None)
    if value is None:
        own = getattr(request, "headers", None)
        value = own.get(name) if isinstance(own, dict) else None
    return value


def _first_attempt(request: Any) -> Optional[Any]:
    header = _header(request, FIRST_ATTEMPT)
    if not isinstance(header, str):
        return None
    context = _traceparent.extract({"traceparent": header}, context_api.Context())
    span_context = trace.get_current_span(context).get_span_context()
    return span_context if span_context.is_valid else None


def _attributes(name: str, app: Any, task_id: str, request: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": broker(app),
        "messaging.operation": "process",
        "celery.task_name": name,
        "messaging.message.id": task_id,
        "celery.retries": int(getattr(request, "retries", 0) or 0),
    }
    delivery = getattr(request, "delivery_info", None)
    eager = False
    if isinstance(delivery, dict):
        destination = delivery.get("routing_key") or delivery.get("exchange")
        if destination:
            attributes["messaging.destination"] = str(destination)
        if delivery.get("redelivered"):
            attributes["celery.redelivered"] = True
        eager = bool(delivery.get("is_eager"))
        if eager:
            attributes["celery.eager"] = True
    for key, field in (("celery.worker", "hostname"), ("celery.group_id", "group"), ("celery.parent_id", "parent_id")):
        value = getattr(request, field, None)
        if value:
            attributes[key] = str(value)
    root = getattr(request, "root_id", None)
    if root and root != task_id:
        attributes["celery.root_id"] = str(root)
    due = _due(request)
    if due is not None:
        attributes["celery.eta"] = str(getattr(request, "eta", ""))
    if not eager:
        wait = _wait(_header(request, SENT), due)
        if wait is not None:
            attributes["celery.queue_time_ms"] = wait
    return attributes


def _due(request: Any) -> Optional[float]:
    eta = getattr(request, "eta", None)
    if not eta:
        return None
    try:
        return (
            eta if isinstance(eta, datetime) else datetime.fromisoformat(str(eta).replace("Z", "+00:00"))
        ).timestamp()
    except ValueError:
        return None


def _wait(sent: Any, due: Optional[float]) -> Optional[float]:
    """Milliseconds that the message waited: since it was sent, or since it was due. Clocks of two machines may disagree: never negative."""
    try:
        start = float(sent)
    except (TypeError, ValueError):
        return None
    return round(max(0.0, time.time() - max(start, due or 0.0)) * 1000, 3)
