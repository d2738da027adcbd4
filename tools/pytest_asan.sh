#!/usr/bin/env bash
# pytest_asan.sh [PYTEST ARGUMENTS]: the agent's Python tests on an extension built with the address and undefined-behaviour sanitizers.
# Builds into build/asan-agent and runs from a virtual environment of its own (build/asan-agent/venv: the packages of .venv, the Python files of
# the tree, the sanitized extension), because .venv holds the ordinary one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD build=$PWD/build/asan-agent
venv=$build/venv overlay=$build/overlay
cmake --preset asan -B "$build" -DPython_EXECUTABLE="$root/.venv/bin/python" -DNUAGES_BUILD_SERVER=OFF -DNUAGES_BUILD_TESTS=OFF \
  -DNUAGES_BUILD_BENCH=OFF > "$build.log" 2>&1 || { tail -n 40 "$build.log"; exit 1; }
cmake --build "$build" -j "$(nproc)" --target _native >> "$build.log" 2>&1 || { tail -n 40 "$build.log"; exit 1; }

packages=$("$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[ -x "$venv/bin/python" ] || "$root/.venv/bin/python" -m venv --without-pip "$venv"
own=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$overlay" "$packages" > "$own/zz_tree.pth"  # without the .pth of the editable install, which would win
rm -rf "$overlay" && mkdir -p "$overlay/nuages"
for file in python/nuages/*; do
  case $file in *__pycache__ | *.so) ;; *) ln -s "$root/$file" "$overlay/nuages/" ;; esac
done
cp "$(find "$build" -name '_native*.so' -path '*native/python*' | head -n 1)" "$overlay/nuages/"
cp -r "$packages"/nuages-*.dist-info "$overlay/"

# CPython frees little at exit, so leaks are tests/integration/test_leaks.py's business.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" exec "$venv/bin/python" -m pytest \
  --capture=sys --deselect tests/integration/test_leaks.py "${@:-tests/unit}"
