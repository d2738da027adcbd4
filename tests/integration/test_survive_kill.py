"""Spans of killed processes: real processes, the real server, every way to die. The file format has its tests in native/export/survival_test.cc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from server_fixture import Server, make_server, shared_server, wait_until  # noqa: F401 (fixtures)

# What both processes of a test run: N queued spans that nothing sends by itself.
PROGRAM = """
import os, signal, sys, time
import nuages
nuages.install()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["ENDPOINT"], insecure=True), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("scope")
def span(name, **attributes):
    tracer.start_span(name, attributes=attributes).end()
def counters():
    return provider._pipelines[0].counters()
def leave(count):
    for number in range(count):
        span(f"left {number}")
    print("ready", flush=True)
def adopt(count):
    span("next")
    deadline = time.monotonic() + 30
    while counters()["adopted"] < count:
        assert time.monotonic() < deadline, counters()
        time.sleep(0.01)
    provider.shutdown()
    print(counters()["adopted"], flush=True)
"""

# A process that ends when nothing of $VICTIMS is left.
AWAIT_NO_FILES = """
span("last")
deadline = time.monotonic() + 30
def left():
    names = os.listdir(f"/dev/shm/nuages-{os.geteuid()}")
    return [name for name in names for pid in os.environ["VICTIMS"].split(",") if f"-{pid}-" in name]
while left():
    assert time.monotonic() < deadline, left()
    time.sleep(0.01)
provider.shutdown()
"""

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def service() -> str:
    return "survive-" + uuid.uuid4().hex[:12]


@pytest.fixture
def run(tmp_path: Path, service: str) -> Iterator[Run]:
    """run(code, endpoint, **environment): PROGRAM and the code in a new process; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(
        code: str,
        endpoint: str,
        *,
        prefix: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        user: int | None = None,
        **environment: str,
    ) -> Any:
        script = tmp_path / f"program{len(started)}.py"
        script.write_text(PROGRAM + code)
        started.append(
            subprocess.Popen(
                [*prefix, sys.executable, *(command or (str(script),))],
                env={
                    **os.environ,
                    "OTEL_SERVICE_NAME": service,
                    "ENDPOINT": endpoint,
                    "PYTHONPATH": str(tmp_path),
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                user=user,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str], line: str = "ready") -> None:
    assert process.stdout is not None and process.stderr is not None
    said = process.stdout.readline().strip()
    assert said == line, said + process.stderr.read()


def finished(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, out + errors
    return out.strip()


def queue_files(pid: int, user: int | None = None) -> list[Path]:
    return list(Path(f"/dev/shm/nuages-{os.geteuid() if user is None else user}").glob(f"*-{pid}-*"))


def endpoint_of(server: Server) -> str:
    return f"http://{server.grpc}"


def root_only(what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {what}")


# Each ends the process by itself, without any chance to flush.
DEATHS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("os.abort()", -signal.SIGABRT),
    "os._exit": ("os._exit(7)", 7),
    "CPU limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        -signal.SIGKILL,
    ),
    "exec": ("os.execv('/bin/true', ['true'])", 0),
    "unhandled SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_next_process_sends_what_a_dead_one_left(shared_server: Server, run: Run, service: str, death: str) -> None:  # noqa: F811
    how, code = DEATHS[death]
    victim = run("leave(20)\n" + how, endpoint_of(shared_server))
    assert victim.wait(60) == code, victim.communicate()
    assert shared_server.stored_spans(service) == 0
    assert len(queue_files(victim.pid)) == 1
    adopter = run("adopt(20)", endpoint_of(shared_server))
    assert finished(adopter) == "20"
    shared_server.wait_stored(service, 21)
    assert shared_server.stored_spans(service) == 21
    assert queue_files(victim.pid) == queue_files(adopter.pid) == []


def test_out_of_memory(shared_server: Server, run: Run, service: str) -> None:  # noqa: F811
    """The kernel's own OOM killer, in a control group with 300 MB."""
    group = Path(f"/sys/fs/cgroup/memory/nuages-{uuid.uuid4().hex}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("300000000")
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    try:
        victim = run(
            f"""
open("{group}/cgroup.procs", "w").write(str(os.getpid()))
leave(20)
hog = []
while True:
    hog.append(bytearray(10_000_000))
""",
            endpoint_of(shared_server),
        )
        assert victim.wait(60) == -signal.SIGKILL
        assert finished(run("adopt(20)", endpoint_of(shared_server))) == "20"
        shared_server.wait_stored(service, 21)
        assert shared_server.stored_spans(service) == 21
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the control group to be empty")
        group.rmdir()


def test_memory_limit_of_the_process(shared_server: Server, run: Run, service: str) -> None:  # noqa: F811
    """RLIMIT_AS: allocations fail, spans go on being queued or counted, nothing of it reaches the application."""
    victim = run(
        """
import resource
leave(10)
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + 5_000_000, size + 5_000_000))
hog = []
try:
    while True:
        hog.append(bytearray(100_000))
except MemoryError:
    pass
for number in range(10):
    span(f"without memory {number}")
os._exit(3)
""",
        endpoint_of(shared_server),
    )
    assert victim.wait(60) == 3, victim.communicate()
    assert int(finished(run("adopt(10)", endpoint_of(shared_server)))) >= 10


def test_killed_while_the_collector_is_down(make_server: Any, run: Run, service: str) -> None:  # noqa: F811
    server = make_server().start()
    address = endpoint_of(server)
    server.arguments = (f"--grpc={server.grpc}",)
    server.kill()
    victim = run("leave(20)\nprovider.force_flush(200)\nprint('tried', flush=True)\ntime.sleep(60)", address)
    ready(victim)
    ready(victim, "tried")
    victim.kill()
    victim.wait()
    assert queue_files(victim.pid)
    # A process that meets no collector either changes nothing.
    helpless = run("span('lost')\nprovider.force_flush(300)\nos._exit(0)", address)
    assert helpless.wait(60) == 0
    assert queue_files(victim.pid)
    server.start()
    assert finished(run("adopt(21)", address)) == "21", "and the helpless one's own"
    server.wait_stored(service, 22)
    assert server.stored_spans(service) == 22
    assert queue_files(victim.pid) == []


def test_a_graceful_end_during_an_outage_leaves_the_spans_to_the_next_process(
    make_server: Any,  # noqa: F811
    run: Run,
    service: str,
) -> None:
    server = make_server().start()
    address = endpoint_of(server)
    server.arguments = (f"--grpc={server.grpc}",)
    deployed = run(
        "span('before')\nassert provider.force_flush()\nprint('ready', flush=True)\nsys.stdin.readline\n"
        "while not os.path.exists(os.environ['GO']): time.sleep(0.01)\nfor n in range(5): span(f'during {n}')\n",
        address,
        GO=str(server.data) + ".go",
        NUAGES_SHUTDOWN_TIMEOUT="1",
    )
    ready(deployed)
    server.kill()
    Path(str(server.data) + ".go").touch()
    _, errors = deployed.communicate(timeout=60)
    assert deployed.returncode == 0
    assert "5 spans could not be sent before the end; the next process of this service sends them" in errors
    server.start()
    assert finished(run("adopt(5)", address)) == "5"
    server.wait_stored(service, 7)
    assert server.stored_spans(service) == 7


def test_other_services_endpoints_and_users_do_not_adopt(
    shared_server: Server,  # noqa: F811
    otlp_server: Any,
    run: Run,
    service: str,
) -> None:
    address = endpoint_of(shared_server)
    victim = run("leave(3)\ntime.sleep(60)", address)
    ready(victim)
    victim.kill()
    victim.wait()
    alone = "span('own')\nprovider.shutdown()\nprint(counters()['adopted'], flush=True)"
    assert finished(run(alone, address, OTEL_SERVICE_NAME=service + "-other")) == "0"
    assert finished(run(alone, otlp_server.endpoint)) == "0"
    assert finished(run(alone, address, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=other")) == "0"
    if os.geteuid() == 0:
        try:
            readable = run("print('ready', flush=True)", address, user=65534).wait(60) == 0
        except PermissionError:  # the tree lies in a folder that nobody else may enter, as /root
            readable = False
        if readable:
            assert finished(run(alone, address, user=65534)) == "0"
    assert len(queue_files(victim.pid)) == 1
    assert finished(run("adopt(3)", address)) == "3"


def test_the_dead_ones_mask_rules_hold(otlp_server: Any, run: Run) -> None:
    victim = run(
        "span('left', mail='jane@example.com')\nprint('ready', flush=True)\ntime.sleep(60)", otlp_server.endpoint
    )
    ready(victim)
    victim.kill()
    victim.wait()
    finished(run("span('open', mail='joe@example.com')\nadopt(1)", otlp_server.endpoint, NUAGES_MASKING="off"))
    otlp_server.wait_for(3)
    mails = {span.name: span.attributes[0].value.string_value for span in otlp_server.spans() if span.attributes}
    assert mails == {"left": "***@***.**", "open": "joe@example.com"}


def test_the_resource_is_the_dead_ones(otlp_server: Any, run: Run) -> None:
    victim = run("leave(1)\ntime.sleep(60)", otlp_server.endpoint, OTEL_RESOURCE_ATTRIBUTES="deployment.slot=blue")
    ready(victim)
    victim.kill()
    victim.wait()
    finished(run("adopt(1)", otlp_server.endpoint, OTEL_RESOURCE_ATTRIBUTES="deployment.slot=green"))
    otlp_server.wait_for(2)
    slots = {}
    for one in otlp_server.received:
        for part in one.request.resource_spans:
            slot = [a.value.string_value for a in part.resource.attributes if a.key == "deployment.slot"]
            slots.update({span.name: slot[0] for scope in part.scope_spans for span in scope.spans})
    assert slots == {"left 0": "blue", "next": "green"}


def test_adopters_race(otlp_server: Any, run: Run, tmp_path: Path) -> None:
    victims = [run("leave(50)\nos._exit(0)", otlp_server.endpoint) for _ in range(3)]
    for victim in victims:
        assert victim.wait(60) == 0
    code = "print('ready', flush=True)\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.001)\nspan('racer')\nprovider.shutdown()"
    racers = [run(code, otlp_server.endpoint, GO=str(tmp_path / "go")) for _ in range(4)]
    for racer in racers:
        ready(racer)
    (tmp_path / "go").touch()
    for racer in racers:
        finished(racer)
    finished(run(AWAIT_NO_FILES, otlp_server.endpoint, VICTIMS=",".join(str(victim.pid) for victim in victims)))
    ids = Counter(span.span_id for span in otlp_server.spans())
    assert len(ids) == 155 and max(ids.values()) == 1


def test_killed_at_any_moment_of_the_export(otlp_server: Any, run: Run) -> None:
    """Every span that had ended before the kill arrives; what comes twice is one batch at most, with the same ids."""
    ended: set[str] = set()
    victims: list[str] = []
    for round_ in range(6):
        victim = run(
            f"""
provider._pipelines[0].force_flush(0)
number = 0
while True:
    span(f"{round_}/{{number}}")
    os.write(1, b"%d\\n" % number)
    number += 1
    if number % 50 == 0:
        provider.force_flush(0)  # wakes the exporter, does not wait
    if number % 500 == 0:
        assert provider.force_flush()  # a full queue would drop
""",
            otlp_server.endpoint,
        )
        victims.append(str(victim.pid))
        ready(victim, "0")
        time.sleep(0.01 * round_)  # the moment, not a wait
        victim.kill()
        out, _ = victim.communicate()
        numbers = [int(line) for line in out.splitlines() if line] or [0]
        ended.update(f"{round_}/{number}" for number in range(max(numbers[:-1] or [0]) + 1))
    finished(run(AWAIT_NO_FILES, otlp_server.endpoint, VICTIMS=",".join(victims)))
    received = Counter(span.name for span in otlp_server.spans())
    missing = ended - set(received)
    assert not missing, sorted(missing)[:10]
    repeated = Counter(name.split("/")[0] for name, count in received.items() if count > 1)
    assert max(received.values()) <= 2
    assert all(count <= 512 for count in repeated.values()), repeated


def test_a_child_that_leaves_by_os_exit_is_adopted_by_its_parent(otlp_server: Any, run: Run) -> None:
    code = """
pid = os.fork()
if pid == 0:
    for number in range(10):
        span(f"child {number}")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
adopt(10)
"""
    assert finished(run(code, otlp_server.endpoint)) == "10"
    otlp_server.wait_for(11)
    assert Counter(otlp_server.names()) == Counter([f"child {number}" for number in range(10)] + ["next"])


def test_gunicorn_worker_killed(tmp_path: Path, otlp_server: Any, run: Run) -> None:
    """The worker that takes its place sends its spans with its own first one."""
    (tmp_path / "application.py").write_text(
        PROGRAM
        + """
def application(environ, start_response):
    with tracer.start_as_current_span("request " + environ["PATH_INFO"][1:]):
        start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
        return [str(os.getpid()).encode()]
"""
    )
    master = run(
        "", otlp_server.endpoint, command=("-m", "gunicorn", "application:application", "--bind", "127.0.0.1:0")
    )
    assert master.stderr is not None
    port = next(line.split(":")[-1].split()[0].strip("()") for line in master.stderr if "Listening at" in line)
    sent = []

    def request(deadline: float) -> int:
        import urllib.request

        while True:
            name = str(len(sent))
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as response:
                    sent.append(f"request {name}")
                    return int(response.read())
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    first = [request(time.monotonic() + 30) for _ in range(10)]
    assert len(set(first)) == 1
    os.kill(first[0], signal.SIGKILL)
    assert request(time.monotonic() + 30) != first[0]
    otlp_server.wait_for(10)
    assert sorted(otlp_server.names()) == sorted(sent[:10])
    master.send_signal(signal.SIGTERM)
    assert master.wait(30) == 0
    otlp_server.wait_for(11)
    assert Counter(otlp_server.names()) == Counter(sent)


@pytest.mark.parametrize("size", ["4k", "2m", "7m", "0"])
def test_tmpfs_without_room(otlp_server: Any, run: Run, size: str) -> None:
    """Anonymous memory and one line; with 0, which is no limit, a file."""
    root_only("mounts a tmpfs")
    code = "span('works')\nassert provider.force_flush()\nprint(len(os.listdir('/dev/shm')), flush=True)\nprovider.shutdown()\n"
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" "$@"'
    process = run(code, otlp_server.endpoint, prefix=("unshare", "-m", "sh", "-c", mount))
    out, errors = process.communicate(timeout=60)
    if "unshare: " in errors or "mount:" in errors:
        pytest.skip(f"cannot mount here: {errors}")
    assert process.returncode == 0, errors
    assert otlp_server.names() == ["works"]
    lines = [line for line in errors.splitlines() if "do not survive a kill" in line]
    if size == "0":
        assert lines == [] and out.strip() == "1"
    else:
        assert len(lines) == 1 and "half full" in lines[0], errors


def test_a_tmpfs_that_fills_up_at_the_wrong_moment(otlp_server: Any, run: Run) -> None:
    """Every block is allocated before it is used: whoever fills the filesystem afterwards gets ENOSPC, we get no SIGBUS."""
    root_only("mounts a tmpfs")
    code = """
span("first")
try:
    with open("/dev/shm/filler", "wb") as filler:
        while True:
            filler.write(bytes(100_000))
except OSError as error:
    assert error.errno == 28, error
for number in range(1500):
    span("full " + "x" * 2000)
provider.shutdown()
print(counters()["exported"], flush=True)
"""
    mount = 'mount -t tmpfs -o size=10m tmpfs /dev/shm && exec "$0" "$@"'
    process = run(code, otlp_server.endpoint, prefix=("unshare", "-m", "sh", "-c", mount))
    out, errors = process.communicate(timeout=60)
    if "unshare: " in errors or "mount:" in errors:
        pytest.skip(f"cannot mount here: {errors}")
    assert process.returncode == 0, errors
    assert out.strip() == "1501"


def test_a_disk_is_never_used(otlp_server: Any, run: Run, tmp_path: Path) -> None:
    root_only("mounts over /dev/shm")
    code = "span('works')\nassert provider.force_flush()\nprovider.shutdown()\n"
    hide = f'mount --bind {tmp_path} /dev/shm && exec "$0" "$@"'
    process = run(code, otlp_server.endpoint, prefix=("unshare", "-m", "sh", "-c", hide), XDG_RUNTIME_DIR=str(tmp_path))
    _, errors = process.communicate(timeout=60)
    if "unshare: " in errors or "mount:" in errors:
        pytest.skip(f"cannot mount here: {errors}")
    assert process.returncode == 0, errors
    assert "/dev/shm is not on tmpfs" in errors and f"{tmp_path} is not on tmpfs" in errors
    assert not list(tmp_path.glob("nuages-*"))


def test_runtime_directory_instead_of_shm(otlp_server: Any, run: Run, tmp_path: Path) -> None:
    root_only("mounts over /dev/shm")
    runtime = Path(f"/dev/shm/runtime-{uuid.uuid4().hex}")
    runtime.mkdir(mode=0o700)
    try:
        hide = (
            f'mkdir {tmp_path}/r && mount --bind {runtime} {tmp_path}/r && mount --bind /tmp /dev/shm && exec "$0" "$@"'
        )
        process = run(
            "leave(2)\nos._exit(0)",
            otlp_server.endpoint,
            prefix=("unshare", "-m", "sh", "-c", hide),
            XDG_RUNTIME_DIR=f"{tmp_path}/r",
        )
        _, errors = process.communicate(timeout=60)
        if "unshare: " in errors or "mount:" in errors:
            pytest.skip(f"cannot mount here: {errors}")
        assert process.returncode == 0, errors
        assert len(list(runtime.glob("nuages-*/queue-*"))) == 1
        assert finished(run("adopt(2)", otlp_server.endpoint, XDG_RUNTIME_DIR=str(runtime))) == "2"
    finally:
        for path in sorted(runtime.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        runtime.rmdir()


def test_file_size_limit(otlp_server: Any, run: Run) -> None:
    """RLIMIT_FSIZE would raise SIGXFSZ: the file is not even tried."""
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
span("works")
assert provider.force_flush()
provider.shutdown()
"""
    process = run(code, otlp_server.endpoint)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "RLIMIT_FSIZE" in errors
    assert otlp_server.names() == ["works"]


def test_switched_off(otlp_server: Any, run: Run) -> None:
    victim = run("leave(2)\ntime.sleep(60)", otlp_server.endpoint, NUAGES_SURVIVE_KILL="false")
    ready(victim)
    assert queue_files(victim.pid) == []
    victim.kill()
    victim.wait()


def test_damaged_files_do_not_disturb(otlp_server: Any, run: Run) -> None:
    victim = run("leave(20)\ntime.sleep(60)", otlp_server.endpoint)
    ready(victim)
    victim.kill()
    victim.wait()
    (path,) = queue_files(victim.pid)
    sound = path.read_bytes()
    directory = path.parent
    made = []
    for number, damage in enumerate(
        (
            sound[:100],
            sound[:5000],
            b"\0" * len(sound),
            b"\xff" * len(sound),
            sound[:4096] + b"\xff" * (len(sound) - 4096),
            sound[:12300] + b"\x41" * 3000 + sound[15300:],
        )
    ):
        made.append(directory / f"queue-{victim.pid}-damaged{number}")
        made[-1].write_bytes(damage)
        made[-1].chmod(0o600)
    try:
        out = finished(run("adopt(20)", otlp_server.endpoint))
        assert int(out) >= 20
        assert path.exists() is False
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def test_a_live_neighbour_is_left_alone(otlp_server: Any, run: Run) -> None:
    alive = run("leave(5)\nsys.stdin.readline\ntime.sleep(60)", otlp_server.endpoint)
    ready(alive)
    assert (
        finished(
            run("span('own')\ntime.sleep(0.3)\nprovider.shutdown()\nprint(counters()['adopted'])", otlp_server.endpoint)
        )
        == "0"
    )
    assert len(queue_files(alive.pid)) == 1
    assert otlp_server.names() == ["own"]


def test_another_pid_namespace_is_not_taken_for_dead(otlp_server: Any, run: Run) -> None:
    """Its pid means nothing here; only a heart that stopped would (native/export/survival_test.cc)."""
    root_only("makes a pid namespace")
    inside = run(
        "leave(5)\ntime.sleep(60)",
        otlp_server.endpoint,
        prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    )
    assert inside.stdout is not None and inside.stderr is not None
    if inside.stdout.readline().strip() != "ready":
        pytest.skip(f"cannot make a pid namespace here: {inside.stderr.read()}")
    assert (
        finished(
            run("span('own')\ntime.sleep(0.3)\nprovider.shutdown()\nprint(counters()['adopted'])", otlp_server.endpoint)
        )
        == "0"
    )
    assert otlp_server.names() == ["own"]
