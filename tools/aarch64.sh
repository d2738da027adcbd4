#!/usr/bin/env bash
# aarch64.sh: the agent on aarch64 with glibc: cross-compiles the extension and the C++ tests with warnings as errors, runs the tests under
# qemu-user, and loads the extension into an aarch64 CPython there to record and export spans to a receiver on this machine.
# Headers, libraries and Python come from Debian's arm64 packages, unpacked (never installed) into build/aarch64/sysroot; the machine's own
# package lists are not touched. Needs g++-12-aarch64-linux-gnu and qemu-user-static.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in aarch64-linux-gnu-g++-12 qemu-aarch64-static; do
  command -v "$tool" > /dev/null || { echo "aarch64.sh: $tool is missing: apt-get install g++-12-aarch64-linux-gnu qemu-user-static" >&2; exit 2; }
done
top=$PWD/build/aarch64
export AARCH64_SYSROOT=$top/sysroot
packages=(libc6-dev libstdc++-12-dev zlib1g-dev libcurl4-openssl-dev libnghttp2-dev libxxhash-dev libgtest-dev libgmock-dev libpython3.11-dev python3.11)
if [ ! -f "$AARCH64_SYSROOT/done" ]; then
  . /etc/os-release
  mirror=${NUAGES_DEBIAN_MIRROR:-http://deb.debian.org}
  mkdir -p "$top"/apt/{lists/partial,cache/archives/partial} "$AARCH64_SYSROOT"
  : > "$top/apt/status"
  printf 'deb [arch=arm64] %s/debian %s main\ndeb [arch=arm64] %s/debian-security %s-security main\n' "$mirror" "$VERSION_CODENAME" "$mirror" "$VERSION_CODENAME" > "$top/apt/sources.list"
  apt=(-o Dir::Etc::sourcelist="$top/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$top/apt" -o Dir::State::lists="$top/apt/lists"
       -o Dir::State::status="$top/apt/status" -o Dir::Cache="$top/apt/cache" -o APT::Architecture=arm64 -o APT::Architectures::=arm64
       -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o Debug::NoLocking=true)
  apt-get "${apt[@]}" -qq update
  apt-get "${apt[@]}" -qq -y --download-only --no-install-recommends install "${packages[@]}" > "$top/apt/log" 2>&1 ||
    { tail -n 20 "$top/apt/log" >&2; exit 1; }
  for package in "$top"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$AARCH64_SYSROOT"; done
  # Links of the packages are made for a root of their own.
  find "$AARCH64_SYSROOT" -type l -lname '/*' | while read -r link; do ln -sfn "$AARCH64_SYSROOT$(readlink "$link")" "$link"; done
  touch "$AARCH64_SYSROOT/done"
fi

cmake -S . -B "$top/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/tools/aarch64.cmake" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DNUAGES_WERROR=ON -DNUAGES_BUILD_SERVER=OFF \
  -DPython_EXECUTABLE="$(command -v python3)" -DPython_INCLUDE_DIR="$AARCH64_SYSROOT/usr/include/python3.11" > "$top/cmake.log" 2>&1 ||
  { tail -n 30 "$top/cmake.log" >&2; exit 1; }
cmake --build "$top/build" -j "${JOBS:-$(nproc)}" > "$top/build.log" 2>&1 || { grep -E 'error|FAILED' -A 6 "$top/build.log" | head -n 60 >&2; exit 1; }
extension=$top/_native.cpython-311-aarch64-linux-gnu.so
cp "$(find "$top/build/native/python" -maxdepth 1 -name '_native*.so')" "$extension"
python3 - "$extension" << 'PYTHON'
import sys
from pathlib import Path
sys.path.insert(0, "tools")
import check_wheel
library = Path(sys.argv[1])
faults = [fault for fault in check_wheel.library_faults(library) if "libcurl" not in fault and "libnghttp2" not in fault]
print(f"{library.name}: {check_wheel.platform_tag(library)}", *faults, sep="\n  ")
sys.exit(bool(faults))
PYTHON
# Without ExitDeathTest: a death test starts its own program again, and the kernel cannot start an aarch64 program without qemu in front. Without the
# test of what MADV_DONTFORK does: qemu-user 7.2 ignores it.
ctest --test-dir "$top/build" -j "${JOBS:-$(nproc)}" --output-on-failure --quiet -O "$top/ctest.log" -E '^ExitDeathTest|^SurvivalTest.AChildHasItsOwnFile' || { tail -n 60 "$top/ctest.log" >&2; exit 1; }
tail -n 4 "$top/ctest.log"

# The installed package as far as it goes without an arm64 machine: pure-Python dependencies beside the Python files and the extension.
site=$top/site
if [ ! -d "$site/pytest" ]; then
  python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --target "$site" --only-binary :all: --platform manylinux_2_34_aarch64 --python-version 3.11 \
    opentelemetry-sdk opentelemetry-proto Django pytest
fi
rm -rf "$site/nuages" && cp -r python/nuages "$site/nuages" && rm -f "$site"/nuages/_native*.so && cp "$extension" "$site/nuages/"
PYTHONPATH=$site:tests/wheel/shop:tests/wheel qemu-aarch64-static -L "$AARCH64_SYSROOT" "$AARCH64_SYSROOT/usr/bin/python3.11" tests/wheel/emulated.py
