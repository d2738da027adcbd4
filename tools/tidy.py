"""Runs clang-tidy-19 over the native sources: tidy.py BUILD_DIR [FILE...].

A file that passed is remembered by a hash of everything that decides the answer (the file, every header it includes from native/, the
configuration and the clang-tidy version), so a second run looks only at what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
CACHE = ROOT / "build" / "tidy"
TIDY = "clang-tidy-19"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def closure(path: Path, seen: set[Path]) -> None:
    """Adds to `seen` the file and every header below native/ that it includes, directly or not."""
    if path in seen or not path.is_file():
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_text()):
        closure(NATIVE / name, seen)


def key(path: Path, base: bytes) -> str:
    seen: set[Path] = set()
    closure(path, seen)
    digest = hashlib.sha256(base)
    for item in sorted(seen):
        digest.update(str(item.relative_to(ROOT)).encode())
        digest.update(item.read_bytes())
    return digest.hexdigest()


def main() -> int:
    build = Path(sys.argv[1])
    commands = json.loads((build / "compile_commands.json").read_text())
    known = {Path(entry["file"]) for entry in commands}
    wanted = [Path(name).resolve() for name in sys.argv[2:]] or sorted(known)
    # Tests are checked by the compiler's warnings only: GoogleTest's macros trip half of the checks.
    files = [
        f for f in wanted if f in known and NATIVE in f.parents and not f.name.endswith(("_test.cc", "_benchmark.cc"))
    ]
    version = subprocess.run([TIDY, "--version"], capture_output=True, text=True, check=True).stdout
    base = (ROOT / ".clang-tidy").read_bytes() + version.encode()
    CACHE.mkdir(parents=True, exist_ok=True)

    def check(path: Path) -> tuple[Path, str]:
        stamp = CACHE / key(path, base)
        if stamp.exists():
            return path, ""
        run = subprocess.run([TIDY, "-p", str(build), "--quiet", str(path)], capture_output=True, text=True, cwd=ROOT)
        if run.returncode == 0:
            stamp.touch()
            return path, ""
        return path, run.stdout + run.stderr

    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, output in pool.map(check, files):
            if output:
                failed += 1
                print(f"--- {path.relative_to(ROOT)}\n{output}")
    print(f"clang-tidy: {len(files)} files, {failed} with findings")
    return 1 if failed else 0


sys.exit(main())
