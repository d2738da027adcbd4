"""check_wheel.py WHEEL...: what a wheel of ours must be, read from the file itself with readelf; prints the platform tag it may carry.

- the extension needs no library outside the allow-list, has no run path, no text relocations, and shows no symbol but PyInit__native;
- the tag promises no older system than its symbol versions need (auditwheel's table for libstdc++, libc's own number for libc);
- the `.pth` file, the entry points, the licence and py.typed are inside, C++ sources are not; a pure wheel has no extension at all.

Exit status 1 and one line per fault otherwise. The functions are what tools/wheel.py uses to name its wheels.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ALLOWED = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0", "libdl.so.2", "libz.so.1"}
ALLOWED |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}  # the loader is part of libc
EXPORTED = {"PyInit__native"}
REQUIRED = ("nuages-auto.pth", "nuages/py.typed", "nuages/__init__.py")
# newest GLIBCXX of each manylinux generation: (minor of glibc, version of libstdc++)
LIBSTDCXX = ((17, 19), (24, 22), (27, 24), (31, 28), (34, 29), (35, 30), (39, 33))
ELF_MACHINES = {"Advanced Micro Devices X86-64": "x86_64", "AArch64": "aarch64"}


class Fault(Exception):
    """The wheel is not what it must be; the text says why."""


def readelf(*arguments: str) -> str:
    return subprocess.run(["readelf", "-W", *arguments], check=True, capture_output=True, text=True).stdout


def needed_libraries(library: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("-d", str(library)))


def exported_symbols(library: Path) -> set[str]:
    found = set()
    for line in readelf("--dyn-syms", str(library)).splitlines():
        words = line.split()
        if len(words) >= 8 and words[4] in {"GLOBAL", "WEAK", "UNIQUE"} and words[6] not in {"UND", "ABS"}:
            found.add(words[7].partition("@")[0])
    return found


def symbol_minor(library: Path, name: str) -> int:
    """The newest `name`_X.Y.Z that the library needs: its last number (GLIBC_2.34 is 34, GLIBCXX_3.4.29 is 29)."""
    text = readelf("-V", str(library))
    versions = re.findall(rf"\b{name}_(\d+(?:\.\d+)*)", text)
    parts = [tuple(int(number) for number in version.split(".")) for version in versions]
    newest = max(parts, default=(0, 0))
    return newest[2] if name == "GLIBCXX" and len(newest) > 2 else newest[1] if name == "GLIBC" else 0


def platform_tag(library: Path) -> str:
    """The oldest manylinux generation whose systems all have what the library needs."""
    machine = re.search(r"Machine:\s+(.*)", readelf("-h", str(library)))
    if machine is None or machine.group(1).strip() not in ELF_MACHINES:
        raise Fault(f"{library.name} is for an unknown machine")
    libc, libstdcxx = symbol_minor(library, "GLIBC"), symbol_minor(library, "GLIBCXX")
    fitting = [minor for minor, version in LIBSTDCXX if version >= libstdcxx]
    if not fitting:
        raise Fault(f"{library.name} needs GLIBCXX_3.4.{libstdcxx}, newer than every manylinux generation known here")
    return f"manylinux_2_{max(libc, fitting[0])}_{ELF_MACHINES[machine.group(1).strip()]}"


def library_faults(library: Path) -> list[str]:
    faults = [f"{library.name} needs {name}" for name in needed_libraries(library) if name not in ALLOWED]
    shown = exported_symbols(library) - EXPORTED
    if shown:
        faults.append(
            f"{library.name} shows {len(shown)} symbols besides PyInit__native, for example {sorted(shown)[0]}"
        )
    if not exported_symbols(library) & EXPORTED:
        faults.append(f"{library.name} does not show PyInit__native")
    dynamic = readelf("-d", str(library))
    faults += [f"{library.name} has {word}" for word in ("RPATH", "RUNPATH", "TEXTREL") if f"({word})" in dynamic]
    return faults


def check(wheel: Path) -> str:
    """The platform tag that the wheel may carry ("any" for a pure one); raises Fault."""
    faults: list[str] = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        faults += [f"{name} is missing" for name in REQUIRED if name not in names]
        faults += [
            f"{name} does not belong into a wheel" for name in names if name.endswith((".cc", ".h", ".a", ".map"))
        ]
        for tail in ("/METADATA", "/entry_points.txt", "/licenses/LICENSE"):
            if not any(".dist-info" in name and name.endswith(tail) for name in names):
                faults.append(f"dist-info{tail} is missing")
        libraries = [name for name in names if name.endswith((".so", ".dylib", ".pyd"))]
        tag = "any"
        if libraries:
            if len(libraries) != 1 or not re.fullmatch(r"nuages/_native\.[\w-]+\.so", libraries[0]):
                faults.append(f"expected nuages/_native.<abi>.so alone, found {', '.join(libraries)}")
            library = Path(archive.extract(libraries[0], folder))
            faults += library_faults(library)
            tag = platform_tag(library)
        elif not wheel.name.endswith("-py3-none-any.whl"):
            faults.append("has no extension but a platform tag")
    carried = wheel.stem.split("-")[-1]
    if not carried.startswith("linux_") and carried != tag:
        faults.append(f"carries the tag {carried} but needs {tag}")
    if faults:
        raise Fault("\n".join(f"{wheel.name}: {fault}" for fault in faults))
    return tag


def main(wheels: list[str]) -> int:
    status = 0
    for name in wheels:
        try:
            print(f"{Path(name).name}: {check(Path(name))}, {Path(name).stat().st_size / 1e6:.1f} MB")
        except Fault as fault:
            print(fault)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
