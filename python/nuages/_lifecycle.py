"""Process exit and fork: flush within one deadline, and start clean in children.

Ways a process ends that must not lose spans: interpreter exit (gunicorn's and uWSGI's graceful stop end there too), multiprocessing children
(they leave by os._exit after their finalizers) and Celery's pool workers (they send worker_process_shutdown, then os._exit).
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Optional

from nuages import _import, _native, _native_side, settings

logger = logging.getLogger("nuages")

PAUSE_MS = 50
_providers: weakref.WeakSet[Any] = weakref.WeakSet()
_started = False
_exit_deadline: Optional[tuple[int, float]] = None


class _Anchor:
    """multiprocessing keeps its after-fork callbacks by weak reference to an object."""


_anchor = _Anchor()


def register(provider: Any) -> None:
    """Flushes this provider when the process ends, however it ends."""
    global _started
    _providers.add(provider)
    if _started:
        return
    _started = True
    _native.set_exit_timeout(int(settings.get("shutdown_timeout") * 1000))
    atexit.register(at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
    finder = _import.finder()
    finder.watch("multiprocessing.util", _watch_multiprocessing)
    finder.watch("celery.signals", _watch_celery)
    finder.watch("uvicorn.server", _watch_uvicorn)
    _hook_uwsgi(finder)


def at_exit() -> None:
    shutdown(list(_providers), _exit_budget())
    _native.flush_other_interpreters(int(_exit_budget() * 1000))


def _exit_budget() -> float:
    """What is left of the one deadline for leaving this process, however many of its ways out call us. A process that is still there
    long after the deadline did not leave that time."""
    global _exit_deadline
    now = time.monotonic()
    timeout = settings.get("shutdown_timeout")
    if _exit_deadline is None or _exit_deadline[0] != os.getpid() or now > _exit_deadline[1] + timeout:
        _exit_deadline = (os.getpid(), now + timeout)
    return max(0.0, _exit_deadline[1] - now)


def shutdown(providers: Sequence[Any], timeout: float) -> None:
    """Shuts providers down within `timeout` seconds altogether. Idempotent; errors are logged, never raised."""
    deadline = time.monotonic() + timeout
    pipelines: list[Any] = []
    for provider in providers:
        if provider._shut_down:
            continue
        provider._shut_down = True
        for processor in _processors(provider):
            if getattr(processor, "pipeline", None) is not None:
                pipelines.append(processor)
            else:
                _guarded(processor.shutdown)
        provider._core.set_enabled(False)
    for index, processor in enumerate(pipelines):
        # what is left of the deadline, shared fairly by the pipelines still to come
        share = max(0.0, deadline - time.monotonic()) / (len(pipelines) - index)
        if not processor.pipeline.shutdown(int(share * 1000)):
            counters = processor.pipeline.counters()
            reason = f": {counters['last_error']}" if counters["last_error"] else ""
            logger.warning("not all spans could be exported before the process ended%s", reason)
        _guarded(processor.end_exporter)
    _native_side.drain_logs()


def disable() -> None:
    """Every provider makes no-op spans from now on; what is queued still goes out."""
    for provider in list(_providers):
        provider._disabled = True
        provider._core.set_enabled(False)


def flush_all(processors: Iterable[Any], timeout_millis: float) -> bool:
    deadline = time.monotonic() + timeout_millis / 1000
    flushed = True
    for processor in processors:
        left = int((deadline - time.monotonic()) * 1000)
        if left <= 0:
            return False
        try:
            flushed = processor.force_flush(left) is not False and flushed
        except Exception:
            logger.exception("force_flush of %s raised", type(processor).__qualname__)
            flushed = False
    return flushed


def flush_process(*_: Any, **__: Any) -> None:
    """Before a worker process leaves by os._exit: everything out, within the shutdown timeout."""
    deadline = time.monotonic() + _exit_budget()
    for provider in list(_providers):
        left = max(0.0, deadline - time.monotonic())
        _guarded(lambda provider=provider, left=left: provider.force_flush(int(left * 1000)))


def _processors(provider: Any) -> tuple[Any, ...]:
    group = provider._active_span_processor
    return tuple(getattr(group, "_list", None) or ((group,) if not hasattr(group, "_list") else ()))


def _guarded(call: Any) -> None:
    try:
        call()
    except Exception:
        logger.exception("nuages could not flush completely")


class _ThreadEnd:
    """Goes away with the thread whose thread-local storage holds it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __del__(self) -> None:
        if self._pid == os.getpid():
            _guarded(_last_thread_ends)


_forking = threading.local()


def _last_thread_ends() -> None:
    """The child of a fork from another thread than the main one lives as long as that thread and ends without Python's exit handlers. Our
    thread must not keep it alive: everything out, then stop (a later span starts the thread again)."""
    flush_process()
    for provider in list(_providers):
        for pipeline in provider._pipelines:
            pipeline.pause(int(_exit_budget() * 1000))


def _before_fork() -> None:
    """From 3.12 on Python warns about fork() with a second thread, native ones included; ours stops and starts again by itself."""
    _forking.in_main = threading.current_thread() is threading.main_thread()
    if sys.version_info < (3, 12):
        return
    for provider in list(_providers):
        for pipeline in provider._pipelines:
            pipeline.pause(PAUSE_MS)


def _after_fork() -> None:
    """What the parent had queued must not wait for its next span."""
    if sys.version_info < (3, 12):
        return
    for provider in list(_providers):
        for pipeline in provider._pipelines:
            pipeline.resume()


def _after_fork_in_child() -> None:
    if not getattr(_forking, "in_main", True):
        _forking.end = _ThreadEnd(os.getpid())


def _watch_multiprocessing(module: ModuleType) -> None:
    def in_child(_: Any = None) -> None:
        module.Finalize(None, flush_process, exitpriority=-100)

    module.register_after_fork(_anchor, in_child)
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        in_child()  # a spawned child runs this code itself


def _watch_celery(module: ModuleType) -> None:
    module.worker_process_shutdown.connect(flush_process, weak=False, dispatch_uid="nuages.flush")


def _watch_uvicorn(module: ModuleType) -> None:
    """After its graceful stop uvicorn raises the signal that asked for it again, whose default action ends the process on the spot; so
    does a signal that comes when it has stopped by itself after so many requests. While it shuts down it still catches signals."""
    original = module.Server.shutdown

    @functools.wraps(original)
    async def shutdown(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            await original(self, *args, **kwargs)
        finally:
            if getattr(self, "_captured_signals", None) or getattr(self.config, "limit_max_requests", None):
                flush_process()

    module.Server.shutdown = shutdown


def _hook_uwsgi(finder: Any) -> None:
    """uWSGI forks in C without telling Python, but for a hook of its own; uwsgidecorators overwrites that hook and has a list instead."""
    uwsgi: Any = sys.modules.get("uwsgi")  # exists only inside of it
    if uwsgi is None:
        return
    before = getattr(uwsgi, "post_fork_hook", None)

    def post_fork_hook() -> None:
        if before is not None:
            before()
        _process_changed()

    uwsgi.post_fork_hook = post_fork_hook
    finder.watch("uwsgidecorators", lambda module: module.postfork_chain.append(_process_changed))


def _process_changed() -> None:
    """The resource names the process; the SDK asks its detectors again after a fork that Python sees."""
    for provider in list(_providers):
        detect = getattr(provider, "_handle_fork", None)
        if detect is not None:
            _guarded(detect)
