"""Child processes of the demo: started in groups of their own, watched line by line, stopped gracefully and then for certain.

A child's output goes through a reader thread into a log file; waiting for a line is waiting for that event, never a sleep. Only groups that
were started here are ever signalled: the leader is kept as a zombie until its group is gone, so that its number cannot mean somebody else.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and its like back until the block is done: a child must not be started and then forgotten, nor half stopped."""
    held: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


class ProcessFailed(Exception):
    """A child ended or stayed silent when it should not have. `process` is the guilty one."""

    def __init__(self, process: Process, what: str) -> None:
        super().__init__(f"{process.name} {what}")
        self.process = process


class Process:
    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str], cwd: Path | None = None) -> None:
        self.name = name
        self.log = log
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.end = ""  # how it ended
        self._ended = False
        self._all_read = False
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()
        self._waiter = threading.Thread(target=self._watch, name=f"end of {name}", daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return not self._ended

    @property
    def stopped(self) -> bool:
        """Whether it has been stopped from here."""
        return self._child.returncode is not None

    @property
    def lines(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self.log.open("ab", buffering=0) as log:
            for raw in self._child.stdout:
                log.write(raw)
                with self._changed:
                    self._lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._all_read = True
            self._changed.notify_all()

    def _watch(self) -> None:
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._changed:
            self._ended = True
            if end is not None:
                self.end = f"exit code {end.si_status}" if end.si_code == os.CLD_EXITED else f"signal {end.si_status}"
            self._changed.notify_all()

    def wait_for(self, pattern: str, timeout: float = 60, count: int = 1) -> list[re.Match[str]]:
        """The first `count` matches of `pattern` in the output. Raises ProcessFailed when the process ends or the time is over."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                # several in one line, too: lines of processes that share an output can run together
                matches = [match for line in self._lines for match in regex.finditer(line)]
                if len(matches) >= count:
                    return matches[:count]
                if self._ended and self._all_read:
                    raise ProcessFailed(self, f"ended before it was ready ({self.end})")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProcessFailed(self, f"did not print {pattern!r} within {timeout:.0f} s")
                self._changed.wait(left)

    def wait(self, timeout: float) -> int:
        """The exit status of a process that ends by itself."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise ProcessFailed(self, f"did not end within {timeout:.0f} s")
        return self.stop()

    def stop(self, timeout: float = 20) -> int:
        """Asks the leader to end, then removes what is left of its group. Returns the exit status (negative: a signal)."""
        if self.stopped:
            return self._child.returncode
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            with self._changed:
                self._changed.wait_for(lambda: self._ended, timeout)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # an empty group; a group of zombies only (some systems)
            pass
        self._waiter.join()  # before the leader is reaped
        status = self._child.wait()
        self._reader.join(timeout=5)
        return status

    def tail(self, count: int = 20) -> str:
        # what the process said last may still be in the pipe
        self._reader.join(timeout=0.5)
        return "\n".join(deque(self.lines, maxlen=count))


class ProcessSet:
    """Stops everything it started, last first, also when the block is left by an exception."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: list[Process] = []

    def __enter__(self) -> ProcessSet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop_all()

    def start(self, name: str, command: list[str], env: dict[str, str], cwd: Path | None = None) -> Process:
        with uninterrupted():
            process = Process(name, command, self._logs / f"{name}.log", env, cwd)
            self._processes.append(process)
        return process

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes)

    def stop_all(self) -> None:
        with uninterrupted():
            while self._processes:
                self._processes.pop().stop()

    def check_running(self) -> None:
        for process in self._processes:
            if not process.running and not process.stopped:
                raise ProcessFailed(process, f"ended unexpectedly ({process.end})")
