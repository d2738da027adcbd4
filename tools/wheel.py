"""wheel.py [--python PYTHON]... [--pure] [--system-curl]: an sdist, wheels for the given interpreters and the pure-Python wheel, in dist/.

The wheels are made from the sdist, as an index would, never from the checkout. Each extension carries the static libcurl of
tools/wheel_libs.sh (--system-curl: links this system's instead; such a wheel keeps the tag linux_*, which no index takes). tools/check_wheel.py
reads from the finished file which manylinux tag is true and the wheel gets that one. Build tools live in build/wheels/env-<version>.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from pathlib import Path

import check_wheel

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "wheels"
DIST = ROOT / "dist"
BUILD_REQUIREMENTS = ("scikit-build-core>=1.1", "wheel")
HOOK = """
import json, sys
import scikit_build_core.build as backend
hook, folder, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
name = getattr(backend, hook)(folder, config)
print("\\nresult:", name)
"""


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        sys.stderr.write("\n".join(done.stdout.splitlines()[-60:]) + "\n")
        raise SystemExit(f"wheel.py: {' '.join(command[:4])} ... failed with exit code {done.returncode}")
    return str(done.stdout)


# The build folder has another name each time; the debug information's idea of it is stripped anyway, so the cache may ignore it.
os.environ.setdefault("CCACHE_NOHASHDIR", "1")


def build_environment(python: str) -> Path:
    """A virtual environment of that interpreter with the build requirements; the interpreter in it."""
    tag = run(python, "-c", "import sys; print(sys.implementation.cache_tag + sys.abiflags)").strip()
    inner = WORK / f"env-{tag}" / "bin" / "python"
    if not inner.exists():
        run(python, "-m", "venv", str(inner.parent.parent))
    run(str(inner), "-m", "pip", "install", "-q", "--disable-pip-version-check", *BUILD_REQUIREMENTS)
    return inner


def call_hook(python: Path, hook: str, source: Path, config: dict[str, str]) -> Path:
    import json

    output = run(str(python), "-c", HOOK, hook, str(DIST), json.dumps(config), cwd=source)
    return DIST / output.rsplit("result:", 1)[1].strip()


def make_sdist(python: Path) -> Path:
    """Builds the sdist from the checkout and unpacks it, always at the same place: the compiler's cache keys hold the path."""
    DIST.mkdir(exist_ok=True)
    sdist = call_hook(python, "build_sdist", ROOT, {})
    folder = WORK / "source"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        top = archive.getnames()[0].split("/")[0]
        archive.extractall(WORK)  # our own archive
    (WORK / top).rename(folder)
    return folder


def make_wheel(python: Path, source: Path, libraries: str) -> Path:
    config = {"cmake.define.NUAGES_WERROR": "ON"}
    if libraries:
        config["cmake.define.NUAGES_WHEEL_LIBS"] = libraries
    wheel = call_hook(python, "build_wheel", source, config)
    if wheel.name.endswith("-any.whl"):
        raise SystemExit(
            "wheel.py: the extension could not be built; run with a compiler and the headers of tools/apt-packages.txt"
        )
    if not libraries:
        return wheel
    tag = check_wheel.check(wheel)
    run(str(python), "-m", "wheel", "tags", "--remove", "--platform-tag", tag, str(wheel))
    return wheel.with_name(wheel.name.rpartition("-")[0] + f"-{tag}.whl")


def make_pure_wheel(python: Path, source: Path) -> Path:
    return call_hook(python, "build_wheel", source, {"wheel.cmake": "false", "wheel.py-api": "py3"})


def static_libraries() -> str:
    machine = sysconfig.get_platform().rpartition("-")[2]
    run(str(ROOT / "tools" / "wheel_libs.sh"), machine)
    return str(ROOT / "build" / "wheel-libs" / machine)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--python", action="append", help="an interpreter to build for (default: this one); may be repeated"
    )
    parser.add_argument("--system-curl", action="store_true", help="link this system's libcurl; the tag stays linux_*")
    parser.add_argument("--pure", action="store_true", help="only the pure-Python wheel")
    options = parser.parse_args(arguments)
    pythons = [build_environment(python) for python in options.python or [sys.executable]]
    source = make_sdist(pythons[0])
    wheels = [make_pure_wheel(pythons[0], source)]
    if not options.pure:
        libraries = "" if options.system_curl else static_libraries()
        wheels += [make_wheel(python, source, libraries) for python in pythons]
    return check_wheel.main(
        [str(wheel) for wheel in wheels if not options.system_curl or wheel.name.endswith("any.whl")]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
