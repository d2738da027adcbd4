#!/usr/bin/env bash
# pytest_asan.sh [PYTEST ARGUMENTS]: the agent's Python tests on an extension built with the address and undefined-behaviour sanitizers; with
# arguments only what they name (in parts: tests/unit, then tests/integration/test_hooks_*.py, and so on). Twenty minutes on two cores.
# Builds into build/asan-agent and runs from a virtual environment of its own (build/asan-agent/venv: the packages of .venv, the Python files of
# the tree, the sanitized extension), because .venv holds the ordinary one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD build=$PWD/build/asan-agent
venv=$build/venv overlay=$build/overlay
# clang's sanitizer keeps its allocator whole over a fork; GCC 12's leaves it locked in the child when another thread was allocating.
cmake --preset asan -B "$build" -DPython_EXECUTABLE="$root/.venv/bin/python" -DNUAGES_BUILD_SERVER=OFF -DNUAGES_BUILD_TESTS=OFF \
  -DNUAGES_BUILD_BENCH=OFF -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_FLAGS="-shared-libasan -Wno-deprecated-declarations" > "$build.log" 2>&1 || { tail -n 40 "$build.log"; exit 1; }
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target _native >> "$build.log" 2>&1 || { tail -n 40 "$build.log"; exit 1; }

packages=$("$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ ! -x "$venv/bin/python" ]; then
  "$root/.venv/bin/python" -m venv --without-pip "$venv"
  for program in "$root"/.venv/bin/*; do  # gunicorn, celery, ...: started by the tests, on this environment's interpreter
    own=$venv/bin/$(basename "$program")
    [ -e "$own" ] && continue
    if head -c 100 "$program" | grep -aq '^#!.*python'; then
      sed "1s|^#!.*|#!$venv/bin/python|" "$program" > "$own" && chmod +x "$own"
    else
      ln -s "$program" "$own"
    fi
  done
fi
own=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$overlay" "$packages" > "$own/0_tree.pth"  # read before nuages-auto.pth; without the .pth of the editable install, which would win
rm -f "$own/zz_tree.pth"
cp "$root/python/nuages-auto.pth" "$own/"
rm -rf "$overlay" && mkdir -p "$overlay/nuages"
for file in python/nuages/*; do
  case $file in *__pycache__ | *.so) ;; *) ln -s "$root/$file" "$overlay/nuages/" ;; esac
done
cp "$(find "$build" -name '_native*.so' -path '*native/python*' | head -n 1)" "$overlay/nuages/"
cp -r "$packages"/nuages-*.dist-info "$overlay/"

# The server is not built with the sanitizer, and does not bear its library beside the store's.
server=${NUAGES_SERVER:-$root/build/release/native/server/nuages-server}
printf '#!/bin/sh\nunset LD_PRELOAD\nexec "%s" "$@"\n' "$server" > "$build/nuages-server" && chmod +x "$build/nuages-server"
export NUAGES_SERVER=$build/nuages-server

# Leaks are looked for by tests/integration/test_leaks.py only: most tests end their processes in the middle of something. Left out: what preloads
# a library of its own or limits the address space, of which the sanitizer takes terabytes.
left_out=(
  tests/integration/test_leaks.py::test_nothing_stays  # this and the next ask glibc's heap, which the sanitizer replaces
  tests/integration/test_drivers_bad_input.py::test_nothing_stays_of_a_statement
  tests/integration/test_bad_input_environment.py::test_a_wall_clock_that_jumps_does_not_stretch_or_turn_a_span
  tests/integration/test_bad_input_environment.py::test_no_more_file_descriptors  # the sanitizer itself needs some
  tests/integration/test_bad_input_environment.py::test_no_more_memory
  tests/integration/test_survive_kill.py::test_memory_limit_of_the_process
  tests/integration/test_survive_kill.py::test_out_of_memory
  "tests/integration/test_survive_kill.py::test_the_next_process_sends_what_a_dead_one_left[segmentation fault]"  # the sanitizer aborts instead
)
# Tests of the server and of the demo run no code of the extension that others do not, and the server is not sanitized here (make test-asan is).
parts=(tests/unit tests/differential)
for file in tests/integration/test_*.py; do
  case $file in */test_server_* | */test_demo_* | */test_planted_data.py) ;; *) parts+=("$file") ;; esac
done
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc
LD_PRELOAD="$(clang-19 -print-file-name=libclang_rt.asan-x86_64.so)" exec "$venv/bin/python" -m pytest \
  -rs --capture=sys "${left_out[@]/#/--deselect=}" "${@:-${parts[@]}}"
