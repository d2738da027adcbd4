"""`make demo`: the main job, end to end: a real Django application, our agent, our server, the guide's trace tree.

`--check` does it unattended and compares what the server stored with what the guide promises, first for the example, then for a copy in which
the model, the table, the routes, the task and the package carry other names and the lines are shifted.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import demo_check
from demo_api import Api, ApiError, Json
from demo_processes import ProcessFailed, ProcessSet
from demo_rewrite import Vocabulary, copy_renamed
from demo_scenario import Scenario
from demo_stack import EXAMPLE, TASK_PROCESSES, WORKERS, DemoError, Project, Server, port_is_free

TRACES_TIMEOUT = 60.0
APP_PORT = 8000
SHIFTED_LINES = 7


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def say(text: str = "") -> None:
    print(text, flush=True)


def step(text: str) -> None:
    say(f"{bold('[demo]')} {text}")


def start(project: Project) -> None:
    project.prepare()
    project.start_worker()
    project.start_web()


def run_scenario(
    project: Project, server: Server, processes: ProcessSet, vocabulary: Vocabulary, low_value: bool
) -> Scenario:
    scenario = Scenario(project, Api(server.ui), vocabulary, low_value)
    step(f"sending {len(scenario.requests)} requests")
    scenario.send()
    scenario.wait(TRACES_TIMEOUT, processes.check_running)
    return scenario


def show(scenario: Scenario) -> None:
    api = scenario.api
    rows = {row["trace_id"]: row for row in scenario.entries(scenario.project.service)}
    say()
    for request in scenario.requests:
        row = rows[request.trace_id]
        note = f"  N+1: {row['max_repetitions']} times the same query" if row["n_plus_one"] else ""
        say(
            f"  {row['http_status']}  {row['name']:<32} {row['duration'] / 1e6:8.1f} ms  {row['query_count'] or 0:3} queries{note}"
        )
    say(f"\n{bold('The order above 1000, with its task')}\n")
    tree = api.tree(scenario.by_key("above").trace_id)
    say(textwrap.indent(tree.rstrip(), "  "))
    for finding in api.trace(scenario.by_key("loop").trace_id)["findings"]:
        show_finding(finding)


def show_finding(finding: Json) -> None:
    say(f"\n{bold('An N+1 query')}\n")
    say(f"  statement  {without_columns(finding['statement'])}")
    say(f"  count      {finding['count']} times in one request, {finding['total_duration'] / 1e6:.1f} ms together")
    say(f"  line       {from_here(finding['file'])}:{finding['line']} in {finding['function']}")
    say(f"  fix        {finding['suggestion']}{'  (' + finding['relation'] + ')' if finding['relation'] else ''}")


def without_columns(statement: str) -> str:
    return re.sub(r"^SELECT .{40,}? FROM ", "SELECT ... FROM ", statement)


def from_here(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def demo(folder: Path, processes: ProcessSet) -> None:
    server = Server(processes, folder, step)
    step(
        f"server: OTLP/gRPC {server.address['grpc']}, OTLP/HTTP {server.address['http']}, UI and API {server.address['ui']}"
    )
    port = APP_PORT if port_is_free(APP_PORT) else 0
    if not port:
        step(f"port {APP_PORT} taken: using a free one")
    project = Project(EXAMPLE, folder / "example", processes, server.otlp, port)
    start(project)
    step(f"example: {project.base} ({WORKERS} gunicorn workers, {TASK_PROCESSES} Celery processes)")
    scenario = run_scenario(project, server, processes, Vocabulary(), low_value=False)
    show(scenario)
    order_trace = scenario.by_key("above").trace_id
    say(f"\n{bold('In the browser')}\n\n  UI          {server.ui}\n  this order  {server.ui}/trace/{order_trace}")
    say(f"\nMore to look at: curl {project.base}/orders/with-users/\nCtrl-C stops everything.")
    wait_for_interrupt(processes)


def wait_for_interrupt(processes: ProcessSet) -> None:
    forever = threading.Event()
    while not forever.wait(1.0):  # a signal handler's exception leaves this loop
        processes.check_running()


def check(folder: Path, processes: ProcessSet) -> None:
    server = Server(processes, folder, step)
    original = Project(EXAMPLE, folder / "example", processes, server.otlp)
    check_project(original, server, processes, Vocabulary())
    renamed = Vocabulary("purchase")
    copy = copy_renamed(EXAMPLE, folder / "copy-source", renamed, SHIFTED_LINES)
    names = {"service": "renamed-service", "worker_service": "renamed-worker"}
    check_project(Project(copy, folder / "copy", processes, server.otlp, **names), server, processes, renamed)
    step("everything is as the guide says")


def check_project(project: Project, server: Server, processes: ProcessSet, vocabulary: Vocabulary) -> None:
    step(f"{project.scratch.name}: starting gunicorn and Celery")
    start(project)
    scenario = run_scenario(project, server, processes, vocabulary, low_value=True)
    for key, high_value in (("above", True), ("below", False)):
        demo_check.check_order(scenario.api, scenario.by_key(key), vocabulary, high_value)
        step(f"{project.scratch.name}: the tree of {scenario.by_key(key)} with an amount {key} 1000: ok")
    finding = demo_check.check_loop(scenario.api, scenario.by_key("loop"), project.folder)
    step(f"{project.scratch.name}: N+1, {finding['count']} queries, {Path(finding['file']).name}:{finding['line']}: ok")
    demo_check.check_others(scenario.api, scenario)
    project.stop()
    demo_check.check_counts(scenario)
    step(f"{project.scratch.name}: one span for each request and task: ok")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, with everything stopped; Ctrl-C works in a background job of a script, too."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="unattended; fails when the traces are not what the guide says"
    )
    arguments = parser.parse_args()
    with interruptible(), tempfile.TemporaryDirectory(prefix="nuages-demo-") as folder:
        try:
            with ProcessSet(Path(folder)) as processes:
                try:
                    (check if arguments.check else demo)(Path(folder), processes)
                except ProcessFailed as error:
                    step(f"FAILED: {error}; its last lines ({error.process.log}):")
                    say(textwrap.indent(error.process.tail(), "  | "))
                    return 1
                except (DemoError, ApiError, LookupError, TimeoutError) as error:
                    step(f"FAILED: {error}")
                    show_tails(processes)
                    return 1
                except demo_check.Mismatch as error:
                    step(f"MISMATCH: {error}")
                    return 1
        except KeyboardInterrupt:
            say()
            step("stopped")
            return 130 if arguments.check else 0
    return 0


def show_tails(processes: ProcessSet) -> None:
    for process in processes:
        say(f"  last lines of {process.name}:")
        say(textwrap.indent(process.tail(8), "  | "))


if __name__ == "__main__":
    sys.exit(main())
