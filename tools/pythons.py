"""pythons.py [--only VERSION]... [--list] [--system-curl]: the wheel on every interpreter this machine has.

For each of CPython 3.9 to 3.14, a free-threaded CPython and PyPy: finds an interpreter, builds the wheel (tools/wheel.py; where there is no
native core the pure one), installs it with the newest opentelemetry-sdk and Django that fit into a fresh environment and runs tests/wheel
there. One that is not found is an open skip in the table. Where interpreters are looked for: NUAGES_PYTHONS (paths, separated by colons),
build/pythons (tools/build_python.sh makes them), pyenv, uv, /opt/python, PATH. Exit status 1 when one of them fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import check_wheel
import wheel

WANTED = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t", "pypy")
NATIVE = frozenset(WANTED[:6])
PLACES = (
    "build/pythons/*/bin/python3",
    "~/.pyenv/versions/*/bin/python3",
    "~/.local/share/uv/python/*/bin/python3",
    "/opt/python/*/bin/python3",
)
# pytest and the receiver's message classes; what a user installs besides nuages on these systems comes with the wheel itself.
REQUIREMENTS = (
    "Django",
    "pytest",
    "opentelemetry-proto",
    "opentelemetry-instrumentation-django",
    "opentelemetry-exporter-otlp-proto-http",
)
DESCRIBE = """
import json, platform, sys, sysconfig
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
name = "pypy" if sys.implementation.name == "pypy" else "%d.%d%s" % (*sys.version_info[:2], "t" if free else "")
import ensurepip, ssl, sqlite3, venv
print(json.dumps({"name": name, "version": platform.python_version(), "order": list(sys.version_info[:3]), "implementation": sys.implementation.name}))
"""
VERSIONS = """
import importlib.metadata as m
print("\\n".join(m.version(name) for name in ("opentelemetry-sdk", "Django")))
"""


@dataclass
class Interpreter:
    path: str
    name: str
    version: str
    order: list[int]
    implementation: str


@dataclass
class Row:
    name: str
    version: str = ""
    sdk: str = ""
    django: str = ""
    wheel: str = ""
    result: str = ""
    failed: bool = False


def candidates() -> Iterator[str]:
    yield from filter(None, os.environ.get("NUAGES_PYTHONS", "").split(":"))
    for place in PLACES:
        pattern = Path(place).expanduser()
        root = Path("/") if pattern.is_absolute() else wheel.ROOT
        yield from (
            str(path) for path in sorted(root.glob(str(pattern.relative_to("/") if pattern.is_absolute() else pattern)))
        )
    for name in ("python3", *(f"python{name}" for name in WANTED if name != "pypy"), "pypy3"):
        yield shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin") or ""


def describe(path: str) -> Optional[Interpreter]:
    """What an interpreter is; None when it cannot be started or lacks the modules that an environment with the tests needs."""
    if not path or not os.access(path, os.X_OK):
        return None
    try:
        done = subprocess.run([path, "-I", "-c", DESCRIBE], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Interpreter(path, **json.loads(done.stdout)) if done.returncode == 0 else None


def find() -> dict[str, Interpreter]:
    """The newest interpreter of each wanted version."""
    found: dict[str, Interpreter] = {}
    for path in dict.fromkeys(candidates()):
        interpreter = describe(path)
        if interpreter is not None and (
            interpreter.name not in found or found[interpreter.name].order < interpreter.order
        ):
            found[interpreter.name] = interpreter
    return found


def make_wheel(interpreter: Interpreter, source: Path, libraries: str) -> Path:
    python = wheel.build_environment(interpreter.path)
    if interpreter.name not in NATIVE:
        return wheel.call_hook(python, "build_wheel", source, {})
    return wheel.make_wheel(python, source, libraries)


def test(interpreter: Interpreter, built: Path, row: Row) -> None:
    folder = wheel.WORK / f"test-{interpreter.name}"
    shutil.rmtree(folder, ignore_errors=True)
    wheel.run(interpreter.path, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    wheel.run(
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--prefer-binary",
        str(built),
        *REQUIREMENTS,
    )
    row.sdk, row.django = wheel.run(python, "-c", VERSIONS).split()
    tests = wheel.WORK / f"tests-{interpreter.name}"
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(wheel.ROOT / "tests" / "wheel", tests)  # away from the checkout and its conftest.py
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tests)],
        cwd=tests,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (wheel.WORK / f"test-{interpreter.name}.log").write_text(done.stdout)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)\w*", done.stdout.strip().splitlines()[-1])
    row.result, row.failed = ", ".join(counts) or "no test ran", done.returncode != 0
    if row.failed:
        print("\n".join(done.stdout.splitlines()[-60:]))


def examine(name: str, interpreter: Optional[Interpreter], source: Path, libraries: str) -> Row:
    row = Row(name)
    if interpreter is None:
        hint = f" (tools/build_python.sh {name} makes one)" if name.startswith("3.14") else ""
        row.result = f"SKIPPED: no such interpreter found{hint}"
        return row
    row.version = interpreter.version
    start = time.monotonic()
    try:
        built = make_wheel(interpreter, source, libraries)
        row.wheel = "-".join(built.stem.split("-")[2:])
        test(interpreter, built, row)
    except (SystemExit, check_wheel.Fault) as error:
        row.result, row.failed = f"FAILED: {error}", True
    row.result += f" in {time.monotonic() - start:.0f} s"
    return row


def show(rows: Sequence[Row]) -> None:
    lines = [("python", "version", "wheel", "opentelemetry-sdk", "Django", "smoke tests")]
    lines += [
        (row.name, row.version, row.wheel, row.sdk, row.django, ("FAILED " if row.failed else "") + row.result)
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", action="append", choices=WANTED, help="only this version; may be repeated")
    parser.add_argument("--list", action="store_true", help="say which interpreters are found and stop")
    parser.add_argument(
        "--system-curl", action="store_true", help="link this system's libcurl instead of building a static one"
    )
    options = parser.parse_args(arguments)
    found = find()
    names = options.only or WANTED
    if options.list:
        for name in names:
            print(f"{name:6} {found[name].version + '  ' + found[name].path if name in found else 'not found'}")
        return 0
    source = wheel.make_sdist(wheel.build_environment(sys.executable))
    native = any(name in NATIVE and name in found for name in names)
    libraries = wheel.static_libraries() if native and not options.system_curl else ""
    rows = [examine(name, found.get(name), source, libraries) for name in names]
    show(rows)
    failed, skipped = sum(row.failed for row in rows), sum(not row.version for row in rows)
    print(f"{len(rows) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
