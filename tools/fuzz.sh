#!/usr/bin/env bash
# fuzz.sh SECONDS: runs every fuzz target of build/fuzz on a copy of its corpus; a crash leaves its input in build/fuzz/crashes and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/fuzz/crashes
for program in build/fuzz/fuzz/*_fuzzer; do
  name=$(basename "$program" _fuzzer)
  work=build/fuzz/corpus/$name
  mkdir -p "$work"
  [ -d "fuzz/corpus/$name" ] && cp -n "fuzz/corpus/$name"/* "$work"/
  echo "== $name for $1 s"
  "$program" -max_total_time="$1" -rss_limit_mb=2048 -artifact_prefix="build/fuzz/crashes/$name-" -print_final_stats=1 "$work" 2>&1 | tail -n 12
done
