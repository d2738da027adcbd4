"""Parentage where code runs beside code: asyncio tasks, cancelled ones too, copied contexts, threads, pools and greenlets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import nuages
import pytest

nuages.install()

from opentelemetry import context as context_api  # noqa: E402
from test_context_decorators import Recorder, current_name, in_empty_context  # noqa: E402

recorder = pytest.fixture(name="recorder")(in_empty_context)


def test_gathered_tasks_are_children_and_do_not_see_each_other(recorder: Recorder) -> None:
    async def work(number: int) -> str:
        with recorder.tracer.start_as_current_span(f"work {number}"):
            for _ in range(3):
                await asyncio.sleep(0)
                assert current_name() == f"work {number}"
            with recorder.tracer.start_as_current_span(f"inner {number}"):
                await asyncio.sleep(0)
        return current_name()

    async def main() -> None:
        with recorder.tracer.start_as_current_span("main"):
            assert await asyncio.gather(*(work(number) for number in range(20))) == ["main"] * 20
            assert current_name() == "main"

    asyncio.run(main())
    for number in range(20):
        assert recorder.parent(f"work {number}") == "main"
        assert recorder.parent(f"inner {number}") == f"work {number}"


def test_a_cancelled_task_ends_its_spans_and_leaves_no_trace_elsewhere(recorder: Recorder) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def work() -> None:
            with recorder.tracer.start_as_current_span("work"):
                with recorder.tracer.start_as_current_span("waiting"):
                    started.set()
                    await asyncio.Event().wait()

        with recorder.tracer.start_as_current_span("main"):
            task = asyncio.create_task(work())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert current_name() == "main"

    asyncio.run(main())
    assert recorder.names() == ["waiting", "work", "main"]
    assert recorder["work"].status.is_unset  # CancelledError is a BaseException: no error of the work
    assert recorder.parent("waiting") == "work" and recorder.parent("work") == "main"


def test_a_task_that_outlives_its_parent_keeps_it_as_parent(recorder: Recorder) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            with recorder.tracer.start_as_current_span("late"):
                pass

        with recorder.tracer.start_as_current_span("request"):
            task = asyncio.create_task(later())
        go.set()
        await task

    asyncio.run(main())
    assert recorder.names() == ["request", "late"]
    assert recorder.parent("late") == "request"


def test_to_thread_and_run_in_executor(recorder: Recorder) -> None:
    def work(name: str) -> None:
        with recorder.tracer.start_as_current_span(name):
            pass

    async def main() -> None:
        with recorder.tracer.start_as_current_span("main"):
            await asyncio.to_thread(work, "to_thread")
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, contextvars.copy_context().run, work, "copied")
            await loop.run_in_executor(None, work, "bare")

    asyncio.run(main())
    assert recorder.parent("to_thread") == "main" and recorder.parent("copied") == "main"
    assert recorder.parent("bare") == ""  # an executor does not carry the context, with the official SDK neither


def test_a_span_entered_in_one_context_and_left_in_a_copy(recorder: Recorder) -> None:
    manager = recorder.tracer.start_as_current_span("outer")
    manager.__enter__()
    copied = contextvars.copy_context()
    copied.run(manager.__exit__, None, None, None)
    assert copied.run(current_name) == ""
    assert recorder.names() == ["outer"]
    assert current_name() == "outer"  # this context still has it, ended as it is


def test_a_new_thread_starts_without_a_span(recorder: Recorder) -> None:
    seen = []

    def work() -> None:
        seen.append(current_name())
        with recorder.tracer.start_as_current_span("thread"):
            seen.append(current_name())

    with recorder.tracer.start_as_current_span("main"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == ["", "thread"]
    assert recorder.parent("thread") == ""


def test_pool_threads_do_not_keep_the_last_jobs_span(recorder: Recorder) -> None:
    def job(number: int) -> str:
        before = current_name()
        with recorder.tracer.start_as_current_span(f"job {number}"):
            with recorder.tracer.start_as_current_span(f"step {number}"):
                pass
        return before + current_name()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert set(pool.map(job, range(60))) == {""}
    assert all(recorder.parent(f"step {number}") == f"job {number}" for number in range(60))


def test_a_context_handed_over_by_hand(recorder: Recorder) -> None:
    def job(context: Any) -> None:
        with recorder.tracer.start_as_current_span("job", context=context):
            pass

    with recorder.tracer.start_as_current_span("main"):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(job, context_api.get_current()).result()
    assert recorder.parent("job") == "main"


def test_one_span_written_and_ended_by_many_threads(recorder: Recorder) -> None:
    span = recorder.tracer.start_span("shared")
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        barrier.wait()
        for index in range(300):
            span.set_attribute(f"{number}.{index % 10}", index)
            span.add_event("event", {"n": index})
        span.end()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.names() == ["shared"]
    assert len(recorder["shared"].attributes) <= 60


def test_greenlets_have_a_current_span_each(run_python: Any) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    run_python(
        """
        from gevent import monkey
        monkey.patch_all()
        import gevent, gevent.pool
        import nuages
        nuages.install()
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("gevent")

        def work(number):
            with tracer.start_as_current_span(f"work {number}") as span:
                for _ in range(5):
                    gevent.sleep(0)
                    assert trace.get_current_span() is span
                with tracer.start_as_current_span(f"inner {number}") as inner:
                    gevent.sleep(0)
                    assert trace.get_current_span() is inner

        with tracer.start_as_current_span("main") as main:
            gevent.joinall([gevent.spawn(work, number) for number in range(20)], raise_error=True)
            assert trace.get_current_span() is main
            killed = gevent.spawn(work, 99)
            gevent.sleep(0)
            killed.kill()
            assert trace.get_current_span() is main
        spans = {span.name: span for span in exporter.get_finished_spans()}
        for number in range(20):
            assert spans[f"inner {number}"].parent.span_id == spans[f"work {number}"].context.span_id
        assert spans["work 99"].status.is_unset
        """
    )
