"""What the exporter does to its process: no wake-ups while idle, no Python thread state, and an exit that keeps its deadline."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from transport_fixture import grpc_receiver, start_program

# In the program: its exporter thread, by the name it gives itself.
THREAD = """
import os
def exporter_thread():
    for task in os.listdir("/proc/self/task"):
        if open(f"/proc/self/task/{task}/comm").read().strip() == "nuages-export":
            return int(task)
def switches(task):
    lines = open(f"/proc/self/task/{task}/status").read().splitlines()
    return [int(line.split()[1]) for line in lines if "ctxt_switches" in line]
"""


def test_an_idle_exporter_is_never_woken(tmp_path: Path) -> None:
    code = f"""{THREAD}
import time
start(Grpc(), schedule_delay_millis=20)
tracer.start_span("x").end()
assert processor.force_flush(20_000)
task = exporter_thread()
while True:  # until it has gone to sleep: two looks that see the same
    before = switches(task)
    time.sleep(0.05)
    if switches(task) == before and open(f"/proc/self/task/{{task}}/stat").read().rsplit(")", 1)[1].split()[0] == "S":
        break
before = switches(task)
time.sleep(1)  # fifty times the schedule delay
print(json.dumps([before, switches(task)]))
"""
    with grpc_receiver() as receiver:
        program = start_program(code, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}")
        output, errors = program.communicate(timeout=60)
    before, after = json.loads(output)
    assert before == after, errors


def test_the_exporter_thread_is_not_pythons_and_needs_no_gil(tmp_path: Path) -> None:
    """The thread has no Python thread state, and spans arrive while another thread holds the interpreter's lock the whole time."""
    code = f"""{THREAD}
import ctypes, threading
start(Grpc(), schedule_delay_millis=1)
tracer.start_span("first").end()
assert processor.force_flush(20_000)
task = exporter_thread()
# CPython's own list of thread states: every id it knows
ids = set()
api = ctypes.pythonapi
for name in ("PyInterpreterState_Head", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
    getattr(api, name).restype = ctypes.c_void_p
    getattr(api, name).argtypes = [] if name == "PyInterpreterState_Head" else [ctypes.c_void_p]
state, count = api.PyInterpreterState_ThreadHead(api.PyInterpreterState_Head()), 0
while state:
    count += 1
    state = api.PyThreadState_Next(state)
native = {{thread.native_id for thread in threading.enumerate()}}
print(json.dumps({{"states": count, "python": sorted(native), "exporter": task}}), flush=True)
tracer.start_span("second").end()
held = ctypes.PyDLL(None).poll  # PyDLL keeps the lock during the call
held(None, 0, 20_000)
"""
    with grpc_receiver() as receiver:
        program = start_program(code, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.port}")
        try:
            assert program.stdout is not None
            facts = json.loads(program.stdout.readline())
            assert facts["states"] == 1 and facts["exporter"] not in facts["python"]
            receiver.wait_for(lambda: receiver.names == ["first", "second"], "export without the interpreter's lock")
            assert program.poll() is None  # still inside poll(), with the lock
        finally:
            program.kill()
            program.communicate()


@pytest.fixture
def silent() -> Any:
    """Accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("spans", "deadline"), [(1, ""), (1, "0.5"), (2000, "0.5")])
def test_the_exit_keeps_its_deadline_with_a_receiver_that_never_answers(
    tmp_path: Path, silent: int, spans: int, deadline: str
) -> None:
    code = f"""
start(Grpc())
for number in range({spans}):
    tracer.start_span("x").end()
print("made", flush=True)
"""
    program = start_program(
        code,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent}",
        **({"NUAGES_SHUTDOWN_TIMEOUT": deadline} if deadline else {}),
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "made\n"
    made = time.monotonic()
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 0
    # generous: bench/export.py prints the figure
    assert time.monotonic() - made < float(deadline or 5) + 5
    assert "not all spans could be exported" in errors and "no answer" in errors


def test_the_exit_does_not_wait_for_nobody(tmp_path: Path) -> None:
    code = 'start(Grpc("http://127.0.0.1:1"))\ntracer.start_span("x").end()\nprint("made", flush=True)\n'
    program = start_program(code, tmp_path, NUAGES_SHUTDOWN_TIMEOUT="3600")
    _, errors = program.communicate(timeout=60)  # or this test fails after a minute
    assert program.returncode == 0 and "nobody listens" in errors
