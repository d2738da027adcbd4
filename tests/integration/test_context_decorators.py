"""`start_as_current_span` and `use_span` around every kind of code: who is the parent, when the span ends, what an exception leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nuages
import pytest

nuages.install()

from opentelemetry import context as context_api  # noqa: E402
from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402


class Recorder:
    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("context")

    def __getitem__(self, name: str) -> Any:
        (found,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return found

    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def parent(self, name: str) -> str:
        """The name of the span's parent; "" for a root."""
        parent = self[name].parent
        if parent is None:
            return ""
        (found,) = [one.name for one in self.exporter.get_finished_spans() if one.context.span_id == parent.span_id]
        return found


def in_empty_context() -> Iterator[Recorder]:
    token = context_api.attach(context_api.Context())
    yield Recorder()
    context_api.detach(token)


recorder = pytest.fixture(name="recorder")(in_empty_context)


def current_name() -> str:
    return getattr(trace.get_current_span(), "name", "")


def test_a_function_has_a_new_span_for_each_call(recorder: Recorder) -> None:
    @recorder.tracer.start_as_current_span("call")
    def called(value: int) -> tuple[int, str]:
        """Says what it got."""
        return value, current_name()

    assert called.__name__ == "called" and called.__doc__ == "Says what it got."
    assert [called(1), called(2)] == [(1, "call"), (2, "call")]
    assert recorder.names() == ["call", "call"]
    assert current_name() == ""


def test_recursion_nests(recorder: Recorder) -> None:
    @recorder.tracer.start_as_current_span("level")
    def down(levels: int) -> None:
        if levels:
            down(levels - 1)

    down(2)
    inner, middle, outer = recorder.exporter.get_finished_spans()
    assert inner.parent.span_id == middle.context.span_id and middle.parent.span_id == outer.context.span_id
    assert outer.parent is None


def test_a_method_and_a_class_method(recorder: Recorder) -> None:
    class Service:
        @recorder.tracer.start_as_current_span("method")
        def method(self) -> Any:
            return self

        @classmethod
        @recorder.tracer.start_as_current_span("class method")
        def make(cls) -> Any:
            return cls()

    service = Service.make()
    assert service.method() is service
    assert recorder.names() == ["class method", "method"]


def test_an_exception_is_recorded_once_and_passes(recorder: Recorder) -> None:
    error = ValueError("bad")

    @recorder.tracer.start_as_current_span("failing")
    def failing() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        failing()
    assert caught.value is error
    span = recorder["failing"]
    assert [event.name for event in span.events] == ["exception"]
    assert span.status.description == "ValueError: bad"
    assert current_name() == ""


def test_a_coroutine_function_ends_after_its_body(recorder: Recorder) -> None:
    @recorder.tracer.start_as_current_span("coroutine")
    async def coroutine() -> str:
        with recorder.tracer.start_as_current_span("inside"):
            await asyncio.sleep(0)
        return current_name()

    assert asyncio.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine()) == "coroutine"
    assert recorder.names() == ["inside", "coroutine"]
    assert recorder.parent("inside") == "coroutine"


def test_a_coroutine_that_fails(recorder: Recorder) -> None:
    @recorder.tracer.start_as_current_span("coroutine")
    async def coroutine() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(coroutine())
    assert recorder["coroutine"].status.description == "KeyError: 'x'"


def test_a_span_inside_a_generator_is_current_only_while_it_runs(recorder: Recorder) -> None:
    def produce() -> Iterator[str]:
        with recorder.tracer.start_as_current_span("generator"):
            yield current_name()
            yield current_name()

    with recorder.tracer.start_as_current_span("consumer"):
        assert list(produce()) == ["generator", "generator"]
        assert current_name() == "consumer"
    assert recorder.parent("generator") == "consumer"


def test_a_generator_left_alone_does_not_take_the_consumers_span_away(recorder: Recorder) -> None:
    def produce() -> Iterator[int]:
        with recorder.tracer.start_as_current_span("generator"):
            yield 1
            yield 2

    with recorder.tracer.start_as_current_span("consumer"):
        generator = produce()
        next(generator)
        with recorder.tracer.start_as_current_span("between"):
            generator.close()  # type: ignore[attr-defined]
            assert current_name() == "between"
    assert current_name() == ""
    assert sorted(recorder.names()) == ["between", "consumer", "generator"]
    assert recorder["generator"].status.is_unset  # GeneratorExit is no error


def test_an_asynchronous_generator(recorder: Recorder) -> None:
    async def produce() -> AsyncIterator[str]:
        with recorder.tracer.start_as_current_span("generator"):
            for _ in range(2):
                await asyncio.sleep(0)
                yield current_name()

    async def consume() -> list[str]:
        with recorder.tracer.start_as_current_span("consumer"):
            found = [name async for name in produce()]
            found.append(current_name())
            return found

    assert asyncio.run(consume()) == ["generator", "generator", "consumer"]
    assert recorder.parent("generator") == "consumer"


def test_an_asynchronous_context_manager(recorder: Recorder) -> None:
    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        with recorder.tracer.start_as_current_span("managed"):
            await asyncio.sleep(0)
            yield

    async def use() -> None:
        async with managed():
            with recorder.tracer.start_as_current_span("inside"):
                await asyncio.sleep(0)

    asyncio.run(use())
    assert recorder.parent("inside") == "managed"


def test_the_same_manager_twice_is_refused_like_any_generator_manager(recorder: Recorder) -> None:
    manager = recorder.tracer.start_as_current_span("once")
    with manager:
        with pytest.raises(RuntimeError):
            manager.__enter__()
    assert recorder.names() == ["once"]


def test_use_span_leaves_the_end_to_the_caller(recorder: Recorder) -> None:
    span = recorder.tracer.start_span("used")
    with trace.use_span(span):
        assert trace.get_current_span() is span
    assert span.is_recording()
    with trace.use_span(span, end_on_exit=True):
        pass
    assert recorder.names() == ["used"]


def test_exit_stack_unwinds_in_order(recorder: Recorder) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("a", "b", "c"):
            stack.enter_context(recorder.tracer.start_as_current_span(name))
    assert recorder.names() == ["c", "b", "a"]
    assert (recorder.parent("c"), recorder.parent("b"), recorder.parent("a")) == ("b", "a", "")
