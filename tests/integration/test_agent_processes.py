"""Forks, worker processes and exits: every span arrives exactly once, from the process that made it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

SETUP = """
import os, sys
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["ENDPOINT"]), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("scope")
def span(name):
    tracer.start_span(name).end()
def wait(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
"""


def exactly_once(otlp_server: Any, expected: list[str]) -> None:
    otlp_server.wait_for(len(expected))
    assert Counter(otlp_server.names()) == Counter(expected)


def test_fork_with_queued_spans(run_python: Any, otlp_server: Any) -> None:
    """The parent's queue stays the parent's; the child starts empty and flushes at its own exit."""
    run_python(
        SETUP
        + """
for number in range(100):
    span(f"parent {number}")
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        for number in range(50):
            span(f"child {child} {number}")
        sys.exit(0)
    children.append(pid)
for pid in children:
    wait(pid)
span("parent last")
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(
        otlp_server,
        [f"parent {number}" for number in range(100)]
        + [f"child {child} {number}" for child in range(4) for number in range(50)]
        + ["parent last"],
    )


def test_fork_while_spans_are_exported(run_python: Any, otlp_server: Any) -> None:
    """Forks at any moment of a running export, from a thread too; grandchildren included."""
    run_python(
        SETUP.replace("schedule_delay_millis=3_600_000", "schedule_delay_millis=1")
        + """
import threading
stop = threading.Event()
made = []
def work():
    number = 0
    while not stop.is_set():
        span(f"thread {number}")
        number += 1
        if number % 100 == 0:
            provider.force_flush(20000)
    made.append(number)
thread = threading.Thread(target=work)
thread.start()
for child in range(20):
    pid = os.fork()
    if pid == 0:
        span(f"child {child}")
        if child % 5 == 0:
            grandchild = os.fork()
            if grandchild == 0:
                span(f"grandchild {child}")
                provider.shutdown()
                os._exit(0)
            wait(grandchild)
        provider.shutdown()
        os._exit(0)
    wait(pid)
stop.set()
thread.join()
provider.shutdown()
print(made[0])
""",
        ENDPOINT=otlp_server.endpoint,
    )
    # every child exactly once; the thread's spans all, in the parent only
    names = Counter(otlp_server.names())
    assert all(names[f"child {child}"] == 1 for child in range(20))
    assert all(names[f"grandchild {child}"] == 1 for child in range(0, 20, 5))
    threads = [name for name in names if name.startswith("thread")]
    assert max(names.values()) == 1
    assert sorted(int(name.split()[1]) for name in threads) == list(range(len(threads)))


def test_a_span_open_across_fork_ends_in_its_own_process_only(run_python: Any, otlp_server: Any) -> None:
    run_python(
        SETUP
        + """
with tracer.start_as_current_span("request") as request:
    pid = os.fork()
    if pid == 0:
        assert not request.is_recording()
        request.set_attribute("from", "child")
        with tracer.start_as_current_span("in child") as child:
            assert child.parent == request.get_span_context()
        request.end()
        sys.exit(0)
    wait(pid)
    request.set_attribute("from", "parent")
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(otlp_server, ["request", "in child"])
    by_name = {span.name: span for span in otlp_server.spans()}
    assert by_name["in child"].parent_span_id == by_name["request"].span_id
    assert [attribute.value.string_value for attribute in by_name["request"].attributes] == ["parent"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_children(run_python: Any, otlp_server: Any, method: str) -> None:
    """They leave by os._exit, after multiprocessing's own finalizers."""
    run_python(
        SETUP
        + f"""
import multiprocessing
def work(number):
    span(f"worker {{number}}")
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    workers = [context.Process(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    span("main")
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(otlp_server, ["worker 0", "worker 1", "worker 2", "main"])


def test_multiprocessing_pool(run_python: Any, otlp_server: Any) -> None:
    run_python(
        SETUP
        + """
import multiprocessing
def work(number):
    span(f"task {number}")
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2) as pool:
        pool.map(work, range(10), chunksize=1)
        pool.close()
        pool.join()
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(otlp_server, [f"task {number}" for number in range(10)])


def test_celery_style_pool(run_python: Any, otlp_server: Any) -> None:
    """Celery's pool workers send worker_process_shutdown, then os._exit."""
    run_python(
        SETUP
        + """
from celery.signals import worker_process_shutdown
for number in range(3):
    pid = os.fork()
    if pid == 0:
        span(f"worker {number}")
        worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
        os._exit(0)
    wait(pid)
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(otlp_server, ["worker 0", "worker 1", "worker 2"])


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no preload"])
def test_gunicorn(tmp_path: Any, otlp_server: Any, preload: bool) -> None:
    """A real gunicorn: several workers, recycled while they serve, stopped by SIGTERM."""
    import os
    import signal
    import socket
    import subprocess
    import time
    import urllib.request

    (tmp_path / "app.py").write_text(
        SETUP
        + """
def application(environ, start_response):
    with tracer.start_as_current_span("request " + environ["PATH_INFO"][1:]):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "app:application", "--workers", "3", "--bind", f"127.0.0.1:{port}"]
    command += ["--max-requests", "20", "--log-level", "error"] + (["--preload"] if preload else [])
    server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "ENDPOINT": otlp_server.endpoint})
    try:
        deadline = time.monotonic() + 30
        sent = []
        while len(sent) < 120:
            name = str(len(sent))
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as response:
                    assert response.read() == b"ok"
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
                continue
            sent.append(f"request {name}")
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    exactly_once(otlp_server, sent)


def test_exit_by_exception_and_by_sys_exit(run_python: Any, otlp_server: Any) -> None:
    done = run_python(SETUP + "span('a')\nraise RuntimeError('x')\n", check=False, ENDPOINT=otlp_server.endpoint)
    assert done.returncode == 1 and "RuntimeError: x" in done.stderr
    done = run_python(SETUP + "span('b')\nsys.exit(3)\n", check=False, ENDPOINT=otlp_server.endpoint)
    assert done.returncode == 3 and done.stderr == ""
    exactly_once(otlp_server, ["a", "b"])


def test_signal_handlers_stay_the_applications(run_python: Any, otlp_server: Any) -> None:
    run_python(
        SETUP
        + """
import signal
def handler(number, frame): got.append(number)
got = []
before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)}
span("a")
assert provider.force_flush(20000)
assert before == {number: signal.getsignal(number) for number in before}
signal.signal(signal.SIGUSR1, handler)
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR1)
assert len(got) == 20
""",
        ENDPOINT=otlp_server.endpoint,
    )


def test_resource_of_a_child_names_the_child(run_python: Any, otlp_server: Any) -> None:
    run_python(
        SETUP
        + """
span("parent")
pid = os.fork()
if pid == 0:
    span("child")
    sys.exit(0)
wait(pid)
""",
        ENDPOINT=otlp_server.endpoint,
        OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="process,otel",
    )
    exactly_once(otlp_server, ["parent", "child"])
    pids = set()
    for one in otlp_server.received:
        for resource_spans in one.request.resource_spans:
            attributes = {attribute.key: attribute.value for attribute in resource_spans.resource.attributes}
            pids.add(attributes["process.pid"].int_value)
    assert len(pids) == 2


@pytest.mark.parametrize(
    "exception",
    ["SystemExit(3)", "KeyboardInterrupt()", "__import__('billiard.exceptions').exceptions.SoftTimeLimitExceeded()"],
)
def test_what_a_signal_handler_raises_reaches_the_application(run_python: Any, exception: str) -> None:
    """Also when the signal comes while Python code of ours runs: servers stop and Celery limits tasks in this way."""
    run_python(
        f"""
import os, signal
import nuages.auto
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, DEBUG_PROPAGATE_EXCEPTIONS=True)
import django
django.setup()
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.core.wsgi import get_wsgi_application
from nuages import _native
from nuages.hooks import support
urlpatterns = [path("shelf/", lambda request: HttpResponse("books"))]
thrown = {exception}

def handler(number, frame):
    raise thrown

def route_name(route):
    os.kill(os.getpid(), signal.SIGUSR1)
    return "/shelf/"

signal.signal(signal.SIGUSR1, handler)
application = get_wsgi_application()
_native.configure_hooks(support.request_options, route_name, lambda parameters: None, (), lambda queryset: None)
try:
    application(RequestFactory().get("/shelf/").environ, lambda *answer: None)
except BaseException as caught:
    assert caught is thrown, repr(caught)
else:
    raise AssertionError("the application was not interrupted")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )


def test_a_soft_time_limit_while_an_exception_is_described_reaches_the_task(run_python: Any, otlp_server: Any) -> None:
    run_python(
        SETUP
        + """
import signal
from billiard.exceptions import SoftTimeLimitExceeded

class Slow(Exception):
    limit = True
    def __str__(self):
        if self.limit:  # once: traceback swallows whatever is raised in its own str()
            self.limit = False
            os.kill(os.getpid(), signal.SIGUSR1)
        return "slow"

def handler(number, frame):
    raise SoftTimeLimitExceeded()

signal.signal(signal.SIGUSR1, handler)
for _ in range(3):
    try:
        with tracer.start_as_current_span("task") as task:
            task.record_exception(Slow())
            for _ in range(100):
                pass
        raise AssertionError("the limit was swallowed")
    except SoftTimeLimitExceeded:
        pass
""",
        ENDPOINT=otlp_server.endpoint,
    )
    exactly_once(otlp_server, ["task"] * 3)


def test_daemon_threads_inside_our_hooks_when_the_interpreter_ends(run_python: Any) -> None:
    """CPython before 3.14 ends them by unwinding their stacks: through our frames too, and the exit code stays 0."""
    run_python(
        """
import threading, time
import nuages.auto
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
import django
django.setup()
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import path
from django.core.wsgi import get_wsgi_application
inside = threading.Semaphore(0)

def forever():
    inside.release()
    while True:
        time.sleep(0.001)
        yield b"book"

urlpatterns = [path("shelf/", lambda request: HttpResponse(forever())), path("flow/", lambda request: StreamingHttpResponse(forever()))]
application = get_wsgi_application()

def serve(path):
    list(application(RequestFactory().get(path).environ, lambda *answer: None))

class Teardown:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)  # without the GIL: the threads wake up meanwhile

teardown = Teardown()
for url in ("/shelf/", "/flow/"):
    threading.Thread(target=serve, args=(url,), daemon=True).start()
    inside.acquire()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )


def test_spans_queued_before_a_fork_do_not_wait_for_the_next_span(run_python: Any, otlp_server: Any) -> None:
    """Python 3.12 and later: the exporter's thread ends before fork() and comes back in the parent."""
    run_python(
        SETUP.replace("3_600_000", "200")
        + """
from nuages import _lifecycle
_lifecycle.sys = type("AsIn312", (), {"version_info": (3, 12)})
span("before the fork")
pid = os.fork()
if pid == 0:
    os._exit(0)
wait(pid)
pipeline = provider._pipelines[0]
for _ in range(2000):
    if pipeline.counters()["exported"]:
        break
    time.sleep(0.01)
assert pipeline.counters()["exported"] == 1, pipeline.counters()
""".replace("from nuages", "import time\nfrom nuages", 1),
        ENDPOINT=otlp_server.endpoint,
    )
