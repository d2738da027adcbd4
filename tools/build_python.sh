#!/usr/bin/env bash
# build_python.sh VERSION...: builds CPython for tools/pythons.py where no package has it: build_python.sh 3.14 3.14t (t: free-threaded).
# The source is Debian's source package: the newest that apt's lists of unstable name (kept in the build tree; the machine's own apt set-up
# is not touched) and the mirror still has, else the one pinned below. Result: build/pythons/VERSION/bin/python3. Five to ten minutes a
# version on two cores; one version is built once. Missing -dev packages cost optional modules, openssl and sqlite3 are needed by the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD/build/pythons
mirror=${NUAGES_DEBIAN_MIRROR:-http://deb.debian.org/debian}
pinned=(3.14 python3.14_3.14.5.orig.tar.xz 7e32597b99e5d9a39abed35de4693fa169df3e5850d4c334337ffd6a19a36db6)
mkdir -p "$top/apt/lists/partial" "$top/src"
printf 'deb-src %s sid main\n' "$mirror" > "$top/apt/sources.list"
apt=(-o Dir::Etc::sourcelist="$top/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$top/apt/lists"
     -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)

have() { compgen -G "$top/src/python$1_*.orig.tar.xz" > /dev/null; }
download() {
  local number=$1 package
  cd "$top/src"
  apt-get "${apt[@]}" -qq update || true
  for package in $(apt-cache "${apt[@]}" showsrc "python$number" 2>/dev/null | awk '/^Version:/ {print $2}' | sort -Vr); do
    apt-get "${apt[@]}" -qq source --download-only "python$number=$package" 2> /dev/null && return 0
  done
  if [ "${pinned[0]}" = "$number" ]; then
    curl -sSf -o "${pinned[1]}.part" "$mirror/pool/main/p/python$number/${pinned[1]}"
    echo "${pinned[2]}  ${pinned[1]}.part" | sha256sum -c --quiet && mv "${pinned[1]}.part" "${pinned[1]}"
  fi
}

for version in "$@"; do
  number=${version%t}
  [ -x "$top/$version/bin/python3" ] && continue
  have "$number" || (download "$number")
  have "$number" || { echo "build_python.sh: the mirror has no source package of python$number" >&2; exit 1; }
  folder=$top/src/$version
  rm -rf "$folder" && mkdir -p "$folder"
  tar -xf "$(compgen -G "$top/src/python${number}_*.orig.tar.xz" | sort -V | tail -n 1)" -C "$folder" --strip-components=1
  options=(--prefix="$top/$version" --enable-shared LDFLAGS="-Wl,-rpath,$top/$version/lib")
  [ "$version" = "$number" ] || options+=(--disable-gil)
  (cd "$folder" && ./configure -q "${options[@]}" && make -s -j "${JOBS:-2}" && make -s altinstall) > "$top/$version.log" 2>&1 ||
    { tail -n 30 "$top/$version.log" >&2; echo "build_python.sh: $version could not be built; log: $top/$version.log" >&2; exit 1; }
  ln -sf "python$version" "$top/$version/bin/python3"
  rm -rf "$folder"
  echo "built $("$top/$version/bin/python3" -VV)"
done
