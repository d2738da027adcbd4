"""No span is lost and none arrives twice, however processes come and go: the matrix of servers, workers, forks and exits.

Each cell runs real processes over tests/apps/forks against a counting OTLP receiver; fork_cells.py says how. The output ends with the table of cells.
`make check` runs some cells; `make test-forks` (pytest -m "") all of them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from fork_cells import APP, BIN, PATIENCE, Receiver, Result, Run, execute, serve, uwsgi_get

SIDE_BY_SIDE = 4
CELLS: dict[str, Callable[[Run], None]] = {}
QUICK: set[str] = set()  # the cells of `make check`


def cell(name: str, work: Callable[[Run], None], quick: bool = False) -> None:
    assert name not in CELLS
    CELLS[name] = work
    if quick:
        QUICK.add(name)


# ---- plain processes


def process(name: str, expect: int = 0, options: tuple[str, ...] = (), **environment: str) -> Callable[[Run], None]:
    return lambda run: run.python(str(APP / "processes.py"), name, expect=expect, options=options, **environment)


OFTEN = {"FORKS_DELAY": "1"}
cell("fork: queued spans", process("queued"), quick=True)
cell("fork: grandchildren", process("nested"))
cell("fork: while exporting", process("exporting", **OFTEN), quick=True)
cell("fork: from a thread", process("from_thread"), quick=True)
cell("fork: from a thread, exporting", process("from_thread", **OFTEN))
cell("fork: open span", process("open_span"), quick=True)
cell("fork: open span, exporting", process("open_span", **OFTEN))
for method in ("fork", "spawn", "forkserver"):
    cell(f"multiprocessing {method}", process(f"mp_{method}"), quick=method != "spawn")
    cell(f"multiprocessing {method}, exporting", process(f"mp_{method}", **OFTEN))
cell("multiprocessing forkserver, preloaded", process("mp_forkserver_preload"))
cell("multiprocessing, force_flush and os._exit", process("os_exit"))
cell("exit: exception", process("raises", expect=1))
cell("exit: sys.exit(3)", process("exits", expect=3))
cell("exit: C's exit()", process("c_exit"), quick=True)
cell("exit: C's exit(), exporting", process("c_exit", **OFTEN))
cell("exit: Ctrl-C", process("interrupted", expect=-signal.SIGINT))
cell("exit: SIGTERM, SIGHUP handled", process("terminated"))
cell("subinterpreters", process("subinterpreters"), quick=True)

STRICT = ("-W", "error")
cell("-W error: fork", process("queued", options=STRICT))
cell("-W error: multiprocessing fork", process("mp_fork", options=STRICT))
cell("-W error: multiprocessing spawn", process("mp_spawn", options=STRICT), quick=True)

# ---- manage.py


def command(how: str, expect: int, options: tuple[str, ...] = (), **environment: str) -> Callable[[Run], None]:
    return lambda run: run.python(str(APP / "manage.py"), "work", how, expect=expect, options=options, **environment)


AUTO = {"FORKS_INIT": "auto", "NUAGES_AUTO": "1"}
for how, code in (("returns", 0), ("raises", 1), ("command_error", 1), ("exits", 3), ("interrupted", -signal.SIGINT)):
    cell(f"manage.py {how}", command(how, code), quick=how == "interrupted")
    cell(f"manage.py {how}, NUAGES_AUTO", command(how, code, **AUTO))
cell("-W error: manage.py raises", command("raises", 1, options=STRICT), quick=True)


# ---- gunicorn

WORKERS = {
    "sync": ("shop.wsgi:application", ["--worker-class=sync"]),
    "gthread": ("shop.wsgi:application", ["--worker-class=gthread", "--threads=4"]),
    "gevent": ("shop.wsgi:application", ["--worker-class=gevent"]),
    "uvicorn": ("shop.asgi:application", ["--worker-class=uvicorn_worker.UvicornWorker"]),
}


def gunicorn(worker: str, preload: bool, init: str, *extra: str, **options: Any) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        application, arguments = WORKERS[worker]
        command = [str(BIN / "gunicorn"), application, "--workers=3", f"--bind=unix:{run.socket}", *arguments, *extra]
        command += ["--no-control-socket", "--log-level=warning"]
        if preload:
            command.append("--preload")
        command.append(f"--config={APP / 'gunicorn_master.py'}")
        environment = {"FORKS_INIT": init, "FORKS_GEVENT": str(worker == "gevent")}
        serve(run, command, **environment, **({"NUAGES_AUTO": "1"} if init == "auto" else {}), **options)

    return work


for worker in WORKERS:
    for preload in (True, False):
        for init in ("module", "on_starting", "auto"):
            name = f"gunicorn {worker}, {'preload' if preload else 'no preload'}, init {init}"
            quick = (worker, preload, init) in {
                ("sync", False, "on_starting"),
                ("gthread", True, "module"),
                ("gevent", False, "auto"),
                ("uvicorn", True, "on_starting"),
            }
            # max_requests recycles workers all the time, SIGHUP all of them once, SIGTERM ends it
            cell(
                name,
                gunicorn(worker, preload, init, "--max-requests=15", "--max-requests-jitter=5", reload=True),
                quick,
            )

# ---- uWSGI


def uwsgi(init: str, *extra: str, **options: Any) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        ini = run.folder / "uwsgi.ini"
        lines = {
            **({} if any(line.startswith("mount") for line in extra) else {"wsgi": "shop.wsgi:application"}),
            "master": "true",
            "processes": "4",
            "uwsgi-socket": str(run.socket),
            "chmod-socket": "660",
            "vacuum": "true",
            "die-on-term": "true",
        }
        ini.write_text("[uwsgi]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()) + "\n".join(extra))
        virtual_env = {"VIRTUAL_ENV": sys.prefix}
        auto = {"NUAGES_AUTO": "1"} if init == "auto" else {}
        command = [str(BIN / "uwsgi"), "--ini", str(ini), "--virtualenv", sys.prefix]
        how = {"get": uwsgi_get, **options}
        serve(run, command, finishes=False, FORKS_INIT=init, **virtual_env, **auto, **how)

    return work


APPLICATIONS = ("", "/two", "/three")  # an interpreter each


def one_of_them(path: Path, url: str) -> int:
    return uwsgi_get(path, url, APPLICATIONS[int(url.split("/")[2]) % len(APPLICATIONS)])


def uwsgi_applications(run: Run) -> None:
    mounts = [f"mount = {script or '/'}={APP / 'shop' / 'wsgi.py'}" for script in APPLICATIONS]
    # loaded in the workers: uWSGI tells the main interpreter only that it has forked, so the others' spans would name the master's process
    uwsgi("module", "lazy-apps = true", *mounts, get=one_of_them, loaded=("WSGI app 2", 4))(run)


cell("uWSGI, applications in interpreters of their own", uwsgi_applications)
for init in ("module", "auto"):
    cell(f"uWSGI, the guide's options, init {init}", uwsgi(init), quick=init == "module")
    cell(f"uWSGI, the guide's options, SIGHUP, init {init}", uwsgi(init, reload=True))
    cell(f"uWSGI, max-requests, init {init}", uwsgi(init, "max-requests = 10"))
    cell(f"uWSGI, lazy-apps, init {init}", uwsgi(init, "lazy-apps = true", reload=True, loaded=("WSGI app 0", 4)))
    cell(f"uWSGI, threads, init {init}", uwsgi(init, "enable-threads = true", "threads = 3", reload=True))

# ---- ASGI servers


def uvicorn(workers: int, init: str, stop: int = signal.SIGTERM, **options: Any) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "shop.asgi:application",
            f"--uds={run.socket}",
            "--log-level=warning",
        ]
        command += [f"--workers={workers}", "--lifespan=off"]
        codes = (0, -stop)  # uvicorn gives the signal back to its default action at the end
        serve(run, command, FORKS_INIT=init, stop=stop, codes=codes, **({"NUAGES_AUTO": "1"} if init == "auto" else {}))

    return work


def daphne(init: str, stop: int = signal.SIGTERM) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        command = [sys.executable, "-m", "daphne", "-u", str(run.socket), "shop.asgi:application", "-v", "0"]
        # it drops the requests it has begun
        serve(
            run, command, FORKS_INIT=init, stop=stop, finishes=False, **({"NUAGES_AUTO": "1"} if init == "auto" else {})
        )

    return work


for init in ("module", "auto"):
    cell(f"uvicorn, init {init}", uvicorn(1, init), quick=init == "auto")
    cell(f"uvicorn, 3 workers, init {init}", uvicorn(3, init))
    cell(f"daphne, init {init}", daphne(init), quick=init == "module")
cell("uvicorn, Ctrl-C", uvicorn(1, "module", signal.SIGINT))
cell("daphne, Ctrl-C", daphne("module", signal.SIGINT))

# ---- Celery

TASKS = 12


def celery(
    pool: str, *extra: str, init: str = "module", task: str = "work", stop: int = signal.SIGTERM, expect: int = 0
) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        for name in ("queue", "queue/control"):
            (run.folder / name).mkdir()
        send = f"from shop.tasks import {task}\nfor number in range({TASKS}): {task}.delay(number)"
        run.python("-c", send, FORKS_INIT="auto", OTEL_SDK_DISABLED="true")
        command = [sys.executable, "-m", "celery", "-A", "shop.tasks", "worker", f"--pool={pool}", "--concurrency=2"]
        command += ["--loglevel=INFO", "--without-gossip", "--without-mingle", "--without-heartbeat", *extra]
        auto = {"NUAGES_AUTO": "1"} if init == "auto" else {}
        worker = run.start(command, FORKS_INIT=init, **auto)
        run.wait_logged("] succeeded in", TASKS)
        worker.send_signal(stop)
        code = worker.wait(PATIENCE)
        assert code == expect, f"exit code {code}"

    return work


for init in ("module", "auto"):
    for pool in ("prefork", "solo", "threads", "gevent"):
        extra = ["--max-tasks-per-child=1"] if pool == "prefork" else []
        cell(
            f"Celery {pool}, {'max_tasks_per_child=1, ' * bool(extra)}init {init}",
            celery(pool, *extra, init=init),
            init == "module",
        )
cell("Celery prefork", celery("prefork"))
cell("Celery prefork, Ctrl-C", celery("prefork", stop=signal.SIGINT, expect=1))
cell("Celery prefork, soft time limit", celery("prefork", "--max-tasks-per-child=1", task="endless"))

# ---- running them


class Matrix:
    """All selected cells, started together, a few at a time."""

    def __init__(self, names: list[str], folder: Path) -> None:
        self.receiver = Receiver()
        self._folder = folder
        self._judged: set[str] = set()
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        self.futures: dict[str, Future[Result]] = {
            name: self._pool.submit(execute, name, CELLS[name], folder / f"{number:02}", self.receiver)
            for number, name in enumerate(names)
        }

    def result(self, name: str) -> Result:
        """Of the cell; when asked again (pytest --reruns) it runs again, under another service name."""
        if name in self._judged:
            service = f"{name}, again"
            again = self._pool.submit(
                execute, service, CELLS[name], self._folder / f"again-{list(CELLS).index(name)}", self.receiver
            )
            self.futures[service] = again
            del self.futures[name]
            return again.result()
        self._judged.add(name)
        return self.futures[name].result()

    def table(self) -> str:
        width = max(len(name) for name in self.futures)
        lines = [f"{'cell':{width}}  produced  received  repeated  seconds"]
        for name, future in self.futures.items():
            if not future.done() or future.cancelled():
                continue
            result = future.result()
            arrived = self.receiver.of(name)
            repeated = len(arrived) - len(dict(arrived))
            lines.append(
                f"{name:{width}}  {result.produced:8}  {result.received:8}  {repeated:8}  {result.seconds:7.1f}"
                + ("" if result.ok and not repeated else "  FAILED")
            )
        return "\n".join(lines)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.receiver.stop()


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "callspec", None) and item.module is request.module
    ]
    running = Matrix(selected, tmp_path_factory.mktemp("forks"))
    yield running
    running.close()
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{running.table()}", flush=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.forks], id=name) for name in CELLS]
)
def test_every_span_once(name: str, matrix: Matrix) -> None:
    result = matrix.result(name)
    assert not result.error, result.error
    assert result.ok, result.summary()


def test_nothing_arrived_later(matrix: Matrix) -> None:
    """Repeats that came after their cell had been judged."""
    for name, future in matrix.futures.items():
        arrived = matrix.receiver.of(name)
        assert len(arrived) == len(dict(arrived)) == future.result().received, name
