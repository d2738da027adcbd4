"""Checks that includes follow the layers of the design: python3 tools/check_layers.py (part of `make lint`).

native/: an allow-list of folder -> folders it may include; only native/python may include Python.h.
python/nuages/hooks/: a hook imports the standard library, nuages._native, the hook support modules and the one library it hooks, never
another hook. Prints one line per wrong edge and exits 1.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "base": set(),
    "wire": {"base"},
    "sql": {"base"},
    "mask": {"base"},
    "net": {"base", "wire"},
    "trace": {"base", "wire", "sql", "mask"},
    "export": {"base", "wire", "sql", "mask", "net", "trace"},
    "python": {"base", "wire", "sql", "mask", "net", "trace", "export"},
    "store": {"base", "wire", "sql", "mask"},
    "query": {"base", "wire", "sql", "mask", "store"},
    "gateway": {"base", "wire", "net", "store"},
    "server": {"base", "wire", "sql", "mask", "net", "store", "query", "gateway"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
HOOK_SUPPORT = {
    "asgi_support",
    "base",
    "driver",
    "headers",
    "places",
    "routes",
    "sql_comment",
    "support",
}  # modules of hooks/ that every hook may use


def native_errors() -> list[str]:
    errors = []
    for path in sorted((ROOT / "native").rglob("*")):
        if path.suffix not in {".h", ".cc"}:
            continue
        folder = path.relative_to(ROOT / "native").parts[0]
        for match in INCLUDE.finditer(path.read_text()):
            target = match.group(2)
            line = path.read_text()[: match.start()].count("\n") + 1
            where = f"{path.relative_to(ROOT)}:{line}"
            if target == "Python.h" and folder != "python":
                errors.append(f"{where}: only native/python may include Python.h")
            if match.group(1) != '"':
                continue
            other = target.split("/")[0]
            if other not in ALLOWED:
                errors.append(f'{where}: "{target}" is not below native/; includes are rooted there')
            elif other != folder and other not in ALLOWED.get(folder, set()):
                errors.append(f"{where}: {folder} may not include {other}")
    return errors


def hook_errors() -> list[str]:
    errors = []
    hooks = ROOT / "python" / "nuages" / "hooks"
    for path in sorted(hooks.glob("*.py")):
        if path.stem == "__init__" or path.stem in HOOK_SUPPORT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = (
                    [node.module] if node.module != "nuages.hooks" else [f"{node.module}.{a.name}" for a in node.names]
                )
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                own = len(parts) > 2 and parts[2].startswith(f"{path.stem}_")  # a part of the same hook
                if parts[:2] == ["nuages", "hooks"] and len(parts) > 2 and parts[2] not in HOOK_SUPPORT and not own:
                    errors.append(
                        f"{path.relative_to(ROOT)}:{node.lineno}: a hook may not import another hook ({name})"
                    )
    return errors


def main() -> int:
    errors = native_errors() + hook_errors()
    for error in errors:
        print(error)
    return 1 if errors else 0


sys.exit(main())
