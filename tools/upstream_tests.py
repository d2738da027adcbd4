#!/usr/bin/env python3
"""Runs the public-behaviour tests of opentelemetry-python on the native SDK and prints which share of them passes.

Their code is fetched as source distributions of exactly the installed versions (pip's index), unpacked into a work folder outside this
tree and never committed. Each suite runs in a pytest process of its own, with `nuages.install()` done before the first test module is
imported and with masking and hooks off (`--official` leaves nuages out: the baseline). Tests that cannot apply are listed with the private
object they need in docs/design/drop-in.md, the one list that this program reads; they count as not passed. The exit status is 1 when an
unlisted test fails, a listed one passes, or the share is below --least.

The exporters' suites use OTLP's own ports, so each suite runs in a network namespace of its own where that is allowed (root on Linux). What
they register with `mocket`, a mock of Python's sockets, is answered by a real server there (tools/upstream_mocket.py): C++ uses no Python sockets.

    .venv/bin/python tools/upstream_tests.py [--work FOLDER] [--official] [--only sdk/trace] [--least 95]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXCLUSIONS = ROOT / "docs" / "design" / "drop-in.md"
HELPERS = ("flaky", "psutil", "mocket", "responses", "requests", "wrapt", "asgiref", "typing_extensions")
# Packages beside the installed ones: the version is that of the release the installed API belongs to, or the one before it.
UNINSTALLED = {"opentelemetry-propagator-b3", "opentelemetry-propagator-jaeger", "opentelemetry-test-utils"}


@dataclass(frozen=True)
class Suite:
    name: str
    package: str
    paths: tuple[str, ...]


SUITES = (
    Suite("api/trace", "opentelemetry-api", ("tests/trace",)),
    Suite("api/context", "opentelemetry-api", ("tests/context",)),
    Suite("api/propagation", "opentelemetry-api", ("tests/propagators", "tests/baggage")),
    Suite("sdk/trace", "opentelemetry-sdk", ("tests/trace/test_*.py",)),
    Suite("sdk/sampling", "opentelemetry-sdk", ("tests/trace/composite_sampler",)),
    Suite("sdk/export", "opentelemetry-sdk", ("tests/trace/export", "tests/shared_internal")),
    Suite("sdk/context", "opentelemetry-sdk", ("tests/context",)),
    Suite("sdk/resources", "opentelemetry-sdk", ("tests/resources", "tests/test_util.py")),
    Suite("propagator/b3", "opentelemetry-propagator-b3", ("tests",)),
    Suite("propagator/jaeger", "opentelemetry-propagator-jaeger", ("tests",)),
    Suite(
        "otlp/encoder",
        "opentelemetry-exporter-otlp-proto-common",
        ("tests/test_trace_encoder.py", "tests/test_attribute_encoder.py"),
    ),
    Suite(
        "otlp/grpc",
        "opentelemetry-exporter-otlp-proto-grpc",
        ("tests/test_otlp_exporter_mixin.py", "tests/test_otlp_trace_exporter.py"),
    ),
    Suite("otlp/http", "opentelemetry-exporter-otlp-proto-http", ("tests/test_proto_span_exporter.py",)),
)

PLUGIN = """
import os
if os.environ.get("UPSTREAM_OFFICIAL") != "1":
    import nuages
    nuages.install()
    from opentelemetry.sdk import trace
    assert trace.TracerProvider.__module__ == "nuages.sdk.trace", "the native SDK is not installed"
    import sys, upstream_mocket
    for name in ("mocket", "mocket.mocks", "mocket.mocks.mockhttp"):
        sys.modules[name] = upstream_mocket
"""


@dataclass
class Result:
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)  # excluded, and passes


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pass
    return ""


def fetch(package: str, work: pathlib.Path) -> pathlib.Path:
    """The unpacked source distribution of `package` at the version that is installed (or the newest, for what is not)."""
    version = version_of(package)
    stem = package.replace("-", "_")
    pattern = f"{stem}-{version or '[0-9]*'}"
    if not (found := [path for path in work.glob(pattern) if path.is_dir()]):
        if not list((work / "sdist").glob(f"{pattern}.tar.gz")):
            build = work / "build-backend"
            if not build.exists():
                pip("install", "-q", "--target", str(build), "hatchling")
            wanted = f"{package}=={version}" if version else package
            arguments = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(work / "sdist"), wanted)
            pip("download", "-q", *(("--pre",) if not version else ()), *arguments, path=str(build))
        (archive,) = (work / "sdist").glob(f"{pattern}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(work)
        found = [path for path in work.glob(pattern) if path.is_dir()]
    return found[0]


def pip(*arguments: str, path: str = "") -> None:
    environment = {**os.environ, "PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, env=environment, timeout=600)


def read_exclusions() -> dict[str, str]:
    """`suite :: class :: test` of each table row that starts with one, and the private object the row names."""
    rows = re.findall(
        r"^\| `(\S+::[^`]+)` \| ([^|]+) \|", EXCLUSIONS.read_text() if EXCLUSIONS.exists() else "", re.MULTILINE
    )
    return {name: reason.strip() for name, reason in rows}


def is_excluded(name: str, exclusions: dict[str, str]) -> bool:
    """A row names one test, or all parameters of one, or a whole class."""
    return any(name == row or name.startswith((row + "[", row + "::")) for row in exclusions)


def isolated(command: list[str]) -> list[str]:
    """The command with a loopback interface of its own; as it is where namespaces are not allowed."""
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        allowed = subprocess.run([*inside, "true"], capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        allowed = False
    return [*inside, *command] if allowed else command


def run(suite: Suite, work: pathlib.Path, official: bool, exclusions: dict[str, str]) -> Result:
    source = fetch(suite.package, work)
    files = [str(path) for pattern in suite.paths for path in sorted(source.glob(pattern))]
    report = work / f"{suite.name.replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    path = [
        work / "plugin",
        *(work.glob("opentelemetry_test_utils-*/src")),
        *work.glob("opentelemetry_propagator_*/src"),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NUAGES_"))},
        "NUAGES_MASKING": "off",
        "NUAGES_HOOKS": "none",
        "UPSTREAM_OFFICIAL": "1" if official else "0",
        "PYTHONPATH": os.pathsep.join([*map(str, path), str(work / "helpers")]),
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "nuages_upstream", "-p", "no:cacheprovider"]
    command += ["--import-mode=importlib", "--tb=short", f"--rootdir={source}", f"--junitxml={report}", *files]
    with (work / f"{suite.name.replace('/', '-')}.log").open("w") as log:
        subprocess.run(isolated(command), cwd=source, env=environment, stdout=log, stderr=log, timeout=600, check=False)
    result = Result()
    if not report.exists():
        result.failed.append(f"{suite.name}::(did not run, see {suite.name.replace('/', '-')}.log)")
        return result
    for case in ET.parse(report).iter("testcase"):
        file, _, rest = case.get("classname", "").rpartition("tests.")[2].rpartition(".")
        name = f"{suite.name}::{rest or file}::{case.get('name')}"
        kinds = {child.tag for child in case}
        excluded = not official and is_excluded(name, exclusions)
        if kinds & {"failure", "error"}:
            (result.excluded if excluded else result.failed).append(name)
        elif "skipped" in kinds:
            result.skipped.append(name)
        else:
            result.passed.append(name)
            if excluded:
                result.unexpected.append(name)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "nuages-upstream-tests"
    )
    parser.add_argument("--official", action="store_true", help="without nuages: the baseline")
    parser.add_argument("--only", action="append", help="run only this suite")
    parser.add_argument("--least", type=float, default=95.0, help="the smallest share of passing tests, in per cent")
    options = parser.parse_args()
    work = options.work.resolve()
    if work.is_relative_to(ROOT):
        parser.error("--work must lie outside the repository: upstream's code is never part of it")
    (work / "plugin").mkdir(parents=True, exist_ok=True)
    (work / "plugin" / "nuages_upstream.py").write_text(PLUGIN)
    shutil.copy(ROOT / "tools" / "upstream_mocket.py", work / "plugin")
    if not (work / "helpers").exists():
        pip("install", "-q", "--target", str(work / "helpers"), *HELPERS)
    for package in sorted(UNINSTALLED):
        fetch(package, work)
    exclusions = read_exclusions()
    total = Result()
    print(f"opentelemetry-sdk {version_of('opentelemetry-sdk')}, {'official' if options.official else 'native'} SDK")
    print(f"{'suite':20} {'passed':>7} {'failed':>7} {'excluded':>9} {'skipped':>8}")
    for suite in SUITES:
        if options.only and suite.name not in options.only:
            continue
        result = run(suite, work, options.official, exclusions)
        for kind in vars(total):
            getattr(total, kind).extend(getattr(result, kind))
        counts = [len(names) for names in (result.passed, result.failed, result.excluded, result.skipped)]
        print(f"{suite.name:20} {counts[0]:7} {counts[1]:7} {counts[2]:9} {counts[3]:8}", flush=True)
    for name in total.failed:
        print(f"FAILED {name}")
    for name in total.unexpected:
        print(f"PASSES ALTHOUGH EXCLUDED {name}")
    ran = len(total.passed) + len(total.failed) + len(total.excluded)
    share = 100 * len(total.passed) / ran if ran else 0.0
    print(f"{len(total.passed)} of {ran} pass: {share:.1f} %")
    return 1 if total.failed or total.unexpected or share < options.least else 0


if __name__ == "__main__":
    sys.exit(main())
