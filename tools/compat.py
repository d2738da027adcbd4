"""compat.py [--only TEXT]... [--check] [--write]: the compatibility matrix (`make compat`): tests/compat on every pair of versions below.

Each cell is an environment in build/compat (kept; made anew when its line changes) with the wheel of its Python, a Django, and a Celery,
a Django REST framework and a PostgreSQL driver of that time. Interpreters are those that tools/pythons.py finds; a cell without one is an
open skip. PostgreSQL runs in a temporary folder where its programs are installed. --write puts the table into docs/compatibility.md.
--check (`make check`): only the oldest Django, with the agent as it is installed in the Python that runs this, so nothing is compiled.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pythons
import wheel

ROOT = wheel.ROOT
WORK = ROOT / "build" / "compat"
TESTS = ROOT / "tests" / "compat"
DOCUMENT = ROOT / "docs" / "compatibility.md"
MARK = "<!-- make compat writes below -->"

# Libraries with official instrumentors, which must run unmodified: tests/compat/test_instrumentors.py.
CLIENTS = ("requests", "httpx", "urllib3", "aiohttp", "botocore", "grpcio", "kafka-python", "elasticsearch")
# The newest Celery and DRF of a cell's time, and once each what came before: every minor version of Celery 5 is in some line.
CELLS = (
    # Python, Django, DRF, Celery, driver, more
    ("3.9", "3.2", "3.12", "5.0", "psycopg2-binary", "opentelemetry-sdk==1.27.0", "setuptools<81"),
    ("3.9", "4.1", "3.14", "5.1", "psycopg2-binary", "setuptools<81"),
    ("3.9", "4.2", "3.15", "5.2", "psycopg[binary]"),
    ("3.10", "3.2", "3.13", "5.1", "psycopg2-binary", "setuptools<81"),
    ("3.10", "4.1", "3.14", "5.2", "psycopg2-binary"),
    ("3.10", "5.0", "3.15", "5.3", "psycopg[binary]"),
    ("3.10", "5.2", "3.16", "5.5", "psycopg2-binary", "django-tasks"),
    ("3.11", "4.1", "3.14", "5.3", "psycopg2-binary"),
    ("3.11", "4.2", "3.15", "5.3", "psycopg[binary]"),
    ("3.11", "5.1", "3.15", "5.4", "psycopg[binary]"),
    ("3.11", "5.2", "3.16", "5.6", "psycopg2-binary", "django-tasks-db[compat]"),
    ("3.12", "4.2", "3.15", "5.3", "psycopg2-binary"),
    ("3.12", "5.0", "3.15", "5.4", "psycopg[binary]"),
    ("3.12", "5.2", "3.17", "5.5", "psycopg2-binary", *CLIENTS),
    ("3.12", "6.0", "3.17", "5.6", "psycopg[binary]", "django-tasks-db"),
    ("3.12", "6.1", "3.18", "5.7", "psycopg2-binary"),
    ("3.13", "5.1", "3.16", "5.5", "psycopg[binary]"),
    ("3.13", "5.2", "3.17", "5.6", "psycopg2-binary"),
    ("3.13", "6.0", "3.17", "5.7", "psycopg2-binary"),
    ("3.13", "6.1", "3.18", "5.7", "psycopg[binary]"),
    ("3.14", "5.2", "3.17", "5.7", "psycopg[binary]"),
    ("3.14", "6.0", "3.17", "5.7", "psycopg[binary]"),
    ("3.14", "6.1", "3.18", "5.7", "psycopg[binary]"),
)
# `make check`: the oldest that works on its Python, and the HTTP clients.
OLDEST = ("3.2", "3.14", "5.3", "psycopg2-binary", "requests", "httpx", "urllib3")
# nuages says one line and steps aside (tests/compat/refused).
REFUSED = ("3.9", "2.2")
FOREIGN = ("OTEL_", "NUAGES_", "DJANGO_", "COMPAT_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
VERSIONS = """
import importlib.metadata as m
found = {name.lower(): m.version(name) for name in NAMES if any(d.metadata["Name"].lower() == name for d in m.distributions())}
print(*(found.get(name, "-") for name in NAMES))
"""
NAMES = ("django", "djangorestframework", "celery", "psycopg2-binary", "psycopg", "opentelemetry-sdk")


@dataclass
class Cell:
    python: str
    django: str
    requirements: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    result: str = ""
    failed: bool = False
    skipped: bool = False

    @property
    def name(self) -> str:
        return f"python{self.python}-django{self.django}"


def requirements(django: str, drf: str, celery: str, driver: str, *more: str) -> tuple[str, ...]:
    return (f"Django=={django}.*", f"djangorestframework=={drf}.*", f"celery=={celery}.*", driver, "pytest", *more)


def environment(interpreter: str, name: str, wanted: Sequence[str]) -> Path:
    """The environment's interpreter; pip runs only when the list of requirements is another one than last time."""
    folder = WORK / name
    python, stamp = folder / "bin" / "python", folder / "requirements.sha256"
    digest = hashlib.sha256("\n".join((interpreter, *wanted)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    wheel.run(interpreter, "-m", "venv", str(folder))
    pip(python, *wanted, "opentelemetry-sdk>=1.27")
    stamp.write_text(digest)
    return python


def pip(python: Path, *arguments: str) -> None:
    wheel.run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--prefer-binary", *arguments)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def run_tests(cell: Cell, python: Path, postgres: str, keep: Sequence[str] = ()) -> None:
    names = wheel.run(str(python), "-c", f"NAMES = {NAMES!r}\n{VERSIONS}", env=clean_environment()).split()
    cell.versions = dict(zip(NAMES, names))
    environ = {**clean_environment(), **({"COMPAT_POSTGRES": postgres} if postgres else {})}
    done = subprocess.run(
        [str(python), "-m", "pytest", "-c", str(TESTS / "pytest.ini"), str(TESTS), *keep],
        cwd=TESTS,
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    (WORK / f"{cell.name}.log").write_text(done.stdout)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)\w*", (done.stdout.strip().splitlines() or [""])[-1])
    cell.result, cell.failed = ", ".join(counts) or "no test ran", done.returncode != 0
    if cell.failed:
        print("\n".join(done.stdout.splitlines()[-80:]), flush=True)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """host,port,user of a PostgreSQL server in a temporary folder; an empty text where its programs are missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    program = str(found[-1].parent) if found else os.path.dirname(shutil.which("initdb") or "")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if not program or (as_user and shutil.which("runuser") is None):
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        if as_user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        initdb = [*as_user, f"{program}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
        wheel.run(*initdb, cwd="/")
        options = ["-k", folder, "-h", "127.0.0.1", "-p", port, "-c", "fsync=off"]
        server = subprocess.Popen(
            [*as_user, f"{program}/postgres", "-D", data, *options],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if "ready to accept connections" in line:
                    break
            else:
                raise SystemExit(f"compat.py: PostgreSQL ended with {server.wait()}")
            yield f"127.0.0.1,{port},postgres"
        finally:
            server.terminate()  # runuser hands the signal on
            server.stderr.read()
            server.wait()


def show(cells: Sequence[Cell]) -> str:
    lines = [
        "| Python | Django | DRF | Celery | PostgreSQL driver | opentelemetry-sdk | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        versions = cell.versions
        driver = next(
            (f"{name.partition('-')[0]} {versions[name]}" for name in NAMES[3:5] if versions.get(name, "-") != "-"), ""
        )
        columns = (
            cell.python,
            versions.get("django", cell.django),
            versions.get("djangorestframework", ""),
            versions.get("celery", ""),
            driver,
            versions.get("opentelemetry-sdk", ""),
            ("FAILED " if cell.failed else "") + cell.result,
        )
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def agent_of_this_python(python: Path) -> None:
    """Puts what is installed here as `nuages` (a wheel's files, or the hooks of an editable installation) into the environment."""
    target = Path(wheel.run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())
    installed = importlib.metadata.distribution("nuages")
    for file in installed.files or ():
        source = Path(str(file.locate()))
        if source.suffix == ".pyc" or ".." in file.parts or not source.exists():
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / file)


def check() -> int:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    cell = Cell(python, OLDEST[0], requirements(*OLDEST))
    inner = environment(sys.executable, f"check-{cell.name}", cell.requirements)
    agent_of_this_python(inner)
    run_tests(cell, inner, "")
    print(f"Django {cell.versions['django']}, Celery {cell.versions['celery']} on Python {python}: {cell.result}")
    return int(cell.failed)


def examine(cell: Cell, interpreter: Optional[pythons.Interpreter], built: dict[str, Path], postgres: str) -> None:
    if interpreter is None:
        cell.result, cell.skipped = f"SKIPPED: no Python {cell.python} found (docs/design/platforms.md)", True
        return
    start = time.monotonic()
    try:
        python = environment(interpreter.path, cell.name, cell.requirements)
        pip(python, "--no-deps", "--force-reinstall", str(built[cell.python]))
        run_tests(cell, python, postgres)
    except (SystemExit, subprocess.TimeoutExpired) as error:
        cell.result, cell.failed = f"FAILED: {error}", True
    print(f"{cell.name}: {cell.result} in {time.monotonic() - start:.0f} s", flush=True)


def refuse(interpreter: Optional[pythons.Interpreter], built: dict[str, Path]) -> Cell:
    """Every on-ramp on a Django that is too old: the request is served, and one line says that it is not traced."""
    cell = Cell(REFUSED[0], REFUSED[1], (f"Django=={REFUSED[1]}.*",))
    if interpreter is None:
        cell.result, cell.skipped = f"SKIPPED: no Python {cell.python} found (docs/design/platforms.md)", True
        return cell
    python = environment(interpreter.path, cell.name, cell.requirements)
    pip(python, "--no-deps", "--force-reinstall", str(built[cell.python]))
    cell.versions = {"django": wheel.run(str(python), "-c", "import django; print(django.__version__)").strip()}
    for ramp in ("INSTALLED_APPS", "nuages.auto", "NUAGES_AUTO"):
        environ = {**clean_environment(), **({ramp: "1"} if ramp.isupper() else {})}
        command = [str(python), str(TESTS / "refused" / "serve.py"), ramp]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        lines = done.stderr.splitlines()
        if (
            done.returncode
            or "200 OK served" not in done.stdout
            or len(lines) != 1
            or "is not supported" not in lines[0]
        ):
            cell.failed, cell.result = True, f"{ramp}: {done.stdout} {done.stderr}"
            return cell
    cell.result = "refused with one line, requests served"
    return cell


def write(table: str) -> None:
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(text[: text.index(MARK) + len(MARK)] + "\n" + table)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only", action="append", help="cells whose name contains this, for example django6; may be repeated"
    )
    parser.add_argument(
        "--check", action="store_true", help="only the oldest Django, with the agent that is installed here"
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/compatibility.md")
    parser.add_argument("--wheels", help="a folder with wheels to use instead of building them")
    options = parser.parse_args(arguments)
    WORK.mkdir(parents=True, exist_ok=True)
    if options.check:
        return check()
    cells = [Cell(line[0], line[1], requirements(*line[1:])) for line in CELLS]
    if options.only:
        cells = [cell for cell in cells if any(text in cell.name for text in options.only)]
    found = pythons.find()
    wanted = {cell.python: found[cell.python] for cell in cells if cell.python in found}
    built = {}
    if options.wheels:
        for name in wanted:
            [built[name]] = Path(options.wheels).glob(f"nuages-*-cp{name.replace('.', '')}-*.whl")
    else:
        source = wheel.make_sdist(wheel.build_environment(sys.executable))
        for name, interpreter in wanted.items():
            built[name] = wheel.make_wheel(wheel.build_environment(interpreter.path), source, "")
    with postgresql() as postgres:
        if not postgres:
            print("PostgreSQL: SKIPPED, its server's programs are not installed (apt-get install postgresql)")
        for cell in cells:
            examine(cell, wanted.get(cell.python), built, postgres)
    if not options.only:
        cells.insert(0, refuse(wanted.get(REFUSED[0]), built))
    table = show(cells)
    print(table, end="")
    if options.write:
        write(table)
    failed, skipped = sum(cell.failed for cell in cells), sum(cell.skipped for cell in cells)
    print(f"{len(cells) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
