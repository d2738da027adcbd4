"""python processes.py NAME: one way to fork, start or leave processes, with spans before, during and after.

Every span is written to the ledger by the process that must end it. FORKS_DELAY is the export delay in milliseconds: tiny, so that forks fall into
running exports, or endless, so that only the end of a process sends anything.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading
import time

import ledger
import nuages

nuages.install()
from opentelemetry import context as context_api  # noqa: E402
from opentelemetry import trace  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: E402

provider = TracerProvider()
provider.add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(insecure=True), schedule_delay_millis=int(os.environ["FORKS_DELAY"]))
)
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("processes")


def span(name: str) -> None:
    with tracer.start_as_current_span(name, context=context_api.Context()):
        ledger.note(name)


def spans(name: str, count: int) -> None:
    for number in range(count):
        span(f"{name} {number}")


def wait(*pids: int) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status


def child(work, *arguments) -> int:
    """Forks a process that leaves as Python programs do."""
    pid = os.fork()
    if pid == 0:
        work(*arguments)
        sys.exit(0)
    return pid


def queued() -> None:
    spans("parent", 100)
    wait(*[child(spans, f"child {number}", 50) for number in range(4)])
    span("parent last")


def nested() -> None:
    def generation(left: int) -> None:
        spans(f"{left} left", 20)
        if left:
            wait(child(generation, left - 1), child(generation, left - 1))
        span(f"{left} left, last")

    generation(3)


def exporting() -> None:
    """Forks while a thread makes spans that are exported all the time, never more than its queue takes while a busy machine's receiver rests."""
    stop = threading.Event()
    made = threading.Semaphore(0)

    def work() -> None:
        number = 0
        while not stop.is_set():
            spans(f"thread {number}", 10)
            number += 1
            if number % 100 == 0:
                assert provider.force_flush()
            made.release()
            time.sleep(0.0005)

    thread = threading.Thread(target=work)
    thread.start()
    for number in range(30):
        made.acquire()
        wait(child(spans, f"child {number}", 3))
    stop.set()
    thread.join()


def from_thread() -> None:
    """The child's only thread is not the one its parent began with, and ends like any thread: Python never finalizes there."""
    spans("parent", 10)

    def fork(leave: str) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            spans(f"child {leave}", 10)
            if leave == "raises":
                sys.exit(0)
            if leave == "exit":
                provider.shutdown()
                os._exit(0)
            return
        assert os.getpid() == parent
        wait(pid)

    for leave in ("returns", "raises", "exit"):
        thread = threading.Thread(target=fork, args=(leave,))
        thread.start()
        thread.join()
    span("parent last")


def open_span() -> None:
    """A span that is open across a fork ends once, in the process that started it, however many try."""
    with tracer.start_as_current_span("request") as request:
        ledger.note("request")

        def work() -> None:
            assert not request.is_recording()
            request.set_attribute("by", "child")
            with tracer.start_as_current_span("inside") as inside:
                assert inside.parent == request.get_span_context()
                ledger.note("inside")
            request.end()

        wait(*[child(work) for _ in range(3)])
        manual = tracer.start_span("manual")
        ledger.write(f"{manual.get_span_context().trace_id:032x}", "manual")
        wait(child(manual.end))
        manual.end()
        manual.end()

    def leave_the_block() -> int:
        with tracer.start_as_current_span("left twice"):
            pid = os.fork()
            if pid:
                ledger.note("left twice")
        return pid

    pid = leave_the_block()
    if pid == 0:
        span("after the block")
        sys.exit(0)
    wait(pid)


def _process(method: str) -> None:
    context = multiprocessing.get_context(method)
    spans("main", 10)
    workers = [context.Process(target=spans, args=(f"worker {number}", 20)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with context.Pool(2, maxtasksperchild=2) as pool:
        pool.map(span, [f"task {number}" for number in range(10)], chunksize=1)
        pool.close()
        pool.join()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(span, [f"future {number}" for number in range(10)]))
    span("main last")


def mp_fork() -> None:
    _process("fork")


def mp_spawn() -> None:
    _process("spawn")


def mp_forkserver() -> None:
    _process("forkserver")


def mp_forkserver_preload() -> None:
    """The fork server itself has the provider, and has made spans."""
    multiprocessing.set_forkserver_preload(["preloaded"])
    _process("forkserver")


def _flush_and_exit(name: str, code: int) -> None:
    spans(name, 20)
    provider.force_flush()
    os._exit(code)


def os_exit() -> None:
    """The documented way out for code that leaves without telling anybody."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_flush_and_exit, args=(f"worker {number}", number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for number, worker in enumerate(workers):
        worker.join()
        assert worker.exitcode == number


def raises() -> None:
    spans("main", 20)
    raise RuntimeError("on purpose")


def exits() -> None:
    spans("main", 20)
    sys.exit(3)


def c_exit() -> None:
    """Not by way of Python: its exit handlers do not run, those of C do. uWSGI leaves like this when a worker is busy."""
    import ctypes

    spans("main", 20)
    pid = os.fork()
    if pid == 0:
        spans("child", 20)
    else:
        wait(pid)
    ctypes.CDLL(None).exit(0)


def interrupted() -> None:
    with tracer.start_as_current_span("interrupted"):
        ledger.note("interrupted")
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def terminated() -> None:
    """SIGTERM and SIGHUP as most programs take them: an exception in the main thread."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        pid = os.fork()
        if pid == 0:
            signal.signal(number, lambda *_: sys.exit(0))
            with tracer.start_as_current_span("waiting"):
                ledger.note("waiting")
                spans("before", 10)
                os.kill(os.getpid(), number)
                signal.pause()
        wait(pid)


def subinterpreters() -> None:
    """As mod_wsgi has them: the GIL is shared, modules are not."""
    import _xxsubinterpreters as interpreters

    spans("main", 10)
    program = "import runpy, sys; sys.argv = ['processes.py', 'in_subinterpreter']; "
    program += f"sys.path[:] = {sys.path!r}; runpy.run_path({__file__!r}, run_name='__main__')"
    for _ in range(3):
        interpreter = interpreters.create(isolated=False)
        interpreters.run_string(interpreter, program)
        interpreters.destroy(interpreter)
    span("main last")


def in_subinterpreter() -> None:
    spans("sub", 10)  # sent when the interpreter is destroyed


if __name__ == "__main__":
    globals()[sys.argv[1]]()
