"""``nuages bootstrap``: the official instrumentation packages that fit what is installed here and that nuages does not trace itself.

``-a requirements`` (default) prints them as lines for a requirements file, ``-a install`` installs them with this Python's pip, both as
``opentelemetry-bootstrap`` does. What nuages traces natively is named on stderr, so that the output stays a requirements file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from typing import Optional

from nuages import _instrumentors

USAGE = "usage: nuages bootstrap [-a requirements|install]   list or install the instrumentation packages that fit this environment\n"


def main(arguments: list[str]) -> int:
    action = _action(arguments)
    if action is None:
        sys.stderr.write(USAGE)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    wanted = requirements()
    native = [name for name in _instrumentors.NATIVE if _version(name) is not None]
    if native:
        sys.stderr.write(f"traced by nuages itself: {', '.join(native)}\n")
    if action == "requirements":
        sys.stdout.write("".join(f"{line}\n" for line in wanted))
        return 0
    return _install(wanted)


def _action(arguments: list[str]) -> Optional[str]:
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if not words:
        return "requirements"
    if len(words) == 2 and words[0] in ("-a", "--action") and words[1] in ("requirements", "install"):
        return words[1]
    return None


def requirements() -> list[str]:
    """One line for each package, of the release series that belongs to the installed SDK."""
    return [known.requirement + _series() for known in _instrumentors.KNOWN if _fits(known)]


def _series() -> str:
    """The instrumentations and the semantic conventions are released together, as 0.66b1, 0.66b2, ... for SDK 1.45."""
    numbers = re.match(r"(\d+)\.(\d+)", _version("opentelemetry-semantic-conventions") or "")
    if numbers is None:
        return ""
    major, minor = int(numbers.group(1)), int(numbers.group(2))
    return f">={major}.{minor}b0,<{major}.{minor + 1}.dev0"


def _fits(known: _instrumentors.Instrumentor) -> bool:
    if not known.distributions:
        return True
    for name in known.distributions:
        version = _version(name)
        major = re.match(r"\d+", version or "")
        if major is None:
            continue
        if known.versions[0] <= int(major.group()) < known.versions[1]:
            return True
        sys.stderr.write(f"{known.requirement} does not support {name} {version}; left out\n")
    return False


def _version(name: str) -> Optional[str]:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# Packages of the official instrumentations that all of them need.
_SHARED = ("opentelemetry-instrumentation", "opentelemetry-util-http")
_KEPT = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-semantic-conventions")


def _install(wanted: list[str]) -> int:
    """All at once, never changing the SDK that is installed. When one of them does not fit that way, one by one; and one that only lacks the
    last patch release of its series, so that its own pins would pull the SDK back, without its pins."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = os.path.join(folder, "constraints.txt")
        with open(constraints, "w") as file:
            file.writelines(f"{name}=={_version(name)}\n" for name in _KEPT if _version(name) is not None)
        left = [line for line in wanted if _version(_name(line)) is None]
        if left and not _pip(["-c", constraints, *left]):
            shared = [f"{name}{_series()}" for name in _SHARED]
            _pip(["-c", constraints, *shared, "wrapt"])
            for line in left:
                if not _pip(["-c", constraints, line]):
                    _pip(["--no-deps", line])
    importlib.invalidate_caches()
    missing = 0
    for line in wanted:
        version = _version(_name(line))
        if version is not None:
            sys.stdout.write(f"{_name(line)} {version}\n")
        else:
            missing += 1
            sys.stderr.write(
                f"nuages bootstrap: pip could not install {line}; its library stays without spans of its own\n"
            )
    return 1 if missing else 0


def _name(line: str) -> str:
    return line.partition(">=")[0]


def _pip(arguments: list[str]) -> bool:
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0 and "--no-deps" in arguments:
        sys.stderr.write("\n".join(done.stdout.strip().splitlines()[-3:]) + "\n")
    return done.returncode == 0
