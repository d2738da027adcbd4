#!/usr/bin/env bash
# setup.sh [check]: installs what the tree needs on Debian 12: apt packages, .venv, libchdb, the UI's node modules. With `check` also what
# `make check` needs. Every step is skipped when its input has not changed since it last succeeded (stamps in build/setup), so running it
# again costs a second.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-demo}
stamps=build/setup
mkdir -p "$stamps"

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$*" >&2; exit 2; }
# fresh NAME FILES...: true when the files' content is what the stamp of NAME says
fresh() { local name=$1; shift; [ -f "$stamps/$name" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$stamps/$name")" ]; }
# thrice COMMAND...: a registry that is slow or drops a connection is asked again
thrice() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    [ "$try" = 3 ] || { say "failed, try $((try + 1)) of 3: $*"; sleep $((try * 5)); }
  done
  return 1
}
done_() { local name=$1; shift; cat "$@" | sha256sum > "$stamps/$name"; }

apt_install() {
  local list=$1 missing=() package
  while read -r package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done < <(grep -v '^#' "$list")
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "these Debian packages are missing and there is neither root nor sudo: ${missing[*]}"
    as_root=(sudo)
  fi
  say "apt-get install ${missing[*]}"
  local log=build/setup/apt.log
  export DEBIAN_FRONTEND=noninteractive
  install_packages() { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -q --no-remove --no-install-recommends "${missing[@]}"; }
  thrice install_packages > "$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "apt-get could not install the packages of $list (log: $log). A conflicting libboost-dev? Remove it or install libboost1.81-dev by hand."; }
}

command -v apt-get >/dev/null || fail "this set-up is for Debian 12 (apt-get not found); see HACKING.md for the list of packages"
apt_install tools/apt-packages.txt
[ "$mode" = check ] && apt_install tools/apt-packages-check.txt

python=${NUAGES_PYTHON:-/usr/bin/python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || fail "$python is older than Python 3.9; set NUAGES_PYTHON"
if [ ! -x .venv/bin/python ]; then
  say "creating .venv with $("$python" --version)"
  "$python" -m venv .venv || fail "python -m venv failed: apt-get install python3-venv"
  rm -f "$stamps"/pip*
fi
if ! fresh pip requirements.txt; then
  say "pip install -r requirements.txt"
  thrice .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt || fail "pip could not install requirements.txt (is a Python package index reachable?)"
  done_ pip requirements.txt
fi
if [ "$mode" = check ] && ! fresh pip-check requirements.txt requirements-check.txt; then
  say "pip install -r requirements-check.txt"
  thrice .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt -r requirements-check.txt || fail "pip could not install requirements-check.txt"
  done_ pip-check requirements.txt requirements-check.txt
fi
if [ "$mode" = check ] && ! fresh pip-official requirements-check-official.txt; then
  say "pip install --no-deps -r requirements-check-official.txt"
  thrice .venv/bin/pip install -q --disable-pip-version-check --no-deps -r requirements-check-official.txt || fail "pip could not install requirements-check-official.txt"
  done_ pip-official requirements-check-official.txt
fi

export PATH="$PWD/.venv/bin:$PATH"
npm_ci() {
  local folder=$1
  fresh "npm-${folder//\//-}" "$folder/package-lock.json" && [ -d "$folder/node_modules" ] && return 0
  say "npm ci in $folder"
  thrice npm ci --prefix "$folder" --prefer-offline --no-audit --no-fund --loglevel=error || fail "npm ci failed in $folder (is the npm registry reachable?)"
  done_ "npm-${folder//\//-}" "$folder/package-lock.json"
}
npm_ci third_party/chdb
[ -f ui/package-lock.json ] && npm_ci ui
say "ready"
