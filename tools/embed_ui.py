"""Writes a C++ source that holds every file of a folder, gzipped: embed_ui.py FOLDER OUTPUT.cc."""

import gzip
import hashlib
import mimetypes
import sys
from pathlib import Path


def main() -> None:
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.parent.mkdir(parents=True, exist_ok=True)
    assembler: list[str] = []
    externs: list[str] = []
    rows: list[str] = []
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    for number, path in enumerate(files):
        content = path.read_bytes()
        packed = output.parent / f"file{number}.gz"
        packed.write_bytes(gzip.compress(content, 9, mtime=0))
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if kind.startswith("text/") or kind == "application/javascript":
            kind += "; charset=utf-8"
        symbol = f"nuages_ui_{number}"
        assembler.append(
            f'asm(".section .rodata\\n{symbol}_begin:\\n.incbin \\"{packed}\\"\\n{symbol}_end:\\n.byte 0\\n.previous\\n");'
        )
        externs.append(f"extern const char {symbol}_begin[], {symbol}_end[];")
        etag = hashlib.sha256(content).hexdigest()[:16]
        rows.append(
            f'      {{"/{path.relative_to(folder).as_posix()}", "{kind}", '
            f'{{{symbol}_begin, static_cast<size_t>({symbol}_end - {symbol}_begin)}}, "\\"{etag}\\""}},'
        )
    lines = ['#include "server/embedded_ui.h"', "", "#include <cstddef>", "", *assembler]
    lines += ['extern "C" {', *externs, "}", "", "namespace nuages::server {", ""]
    lines += ["std::span<const EmbeddedFile> embedded_ui() {"]
    if rows:
        lines += ["  static const EmbeddedFile kFiles[] = {", *rows, "  };", "  return kFiles;"]
    else:
        lines += ["  return {};"]
    lines += ["}", "", "}  // namespace nuages::server", ""]
    output.write_text("\n".join(lines))


main()
