"""What the demo knows about the example's source: where its N+1 loop is, and how to make a copy with other names.

Nothing here names a line: the loop is recognised by what it does, so that the copy, whose lines are shifted and whose model, table, route,
task and package are renamed, is examined by the same code.
"""

from __future__ import annotations

import ast
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

# Names that belong to Django, not to the example.
_NAME = re.compile(r"(?<![A-Za-z])(?P<word>[Oo]rder)(?!_by\b|ing\b)")


@dataclass(frozen=True)
class Vocabulary:
    """The example's word for what it sells, in the original and in the copy."""

    word: str = "order"

    def apply(self, text: str) -> str:
        return _NAME.sub(
            lambda match: self.word.capitalize() if match["word"][0] == "O" else self.word,
            text,
        )


@dataclass(frozen=True)
class Loop:
    """A loop over a queryset without select_related that reads through a relation of each row."""

    file: Path
    line: int
    function: str
    model: str
    relation: str


def find_loop(project: Path) -> Loop:
    loops = [
        loop
        for file in sorted(project.rglob("*.py"))
        if "tests" not in file.relative_to(project).parts
        for loop in _loops_of(file)
    ]
    if len(loops) != 1:
        raise LookupError(f"expected one N+1 loop in {project}, found {len(loops)}: {loops}")
    return loops[0]


def _loops_of(file: Path) -> list[Loop]:
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    found = []
    for function in functions:
        querysets = {
            statement.targets[0].id: statement.value
            for statement in function.body
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
        for loop in function.body:
            if not (
                isinstance(loop, ast.For) and isinstance(loop.iter, ast.Name) and isinstance(loop.target, ast.Name)
            ):
                continue
            query = querysets.get(loop.iter.id)
            model = _model_of(query) if query is not None else None
            if model is None or "select_related" in ast.dump(query):
                continue
            for access in ast.walk(loop):
                # row.relation.field
                if (
                    isinstance(access, ast.Attribute)
                    and isinstance(access.value, ast.Attribute)
                    and isinstance(access.value.value, ast.Name)
                    and access.value.value.id == loop.target.id
                ):
                    found.append(Loop(file, access.lineno, function.name, model, access.value.attr))
    return found


def _model_of(query: ast.expr) -> str | None:
    for node in ast.walk(query):
        if isinstance(node, ast.Attribute) and node.attr == "objects" and isinstance(node.value, ast.Name):
            return node.value.id
    return None


def copy_renamed(project: Path, target: Path, vocabulary: Vocabulary, shift: int) -> Path:
    """A working copy of the example in which the model, its table, routes, task and package carry another name and lines are shifted."""
    shutil.copytree(project, target, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3*", "tests", "staticfiles"))
    for path in sorted(target.rglob("*"), key=lambda path: -len(path.parts)):
        if path.is_file() and path.suffix in (".py", ".html"):
            text = vocabulary.apply(path.read_text())
            if path.suffix == ".py" and path.name != "manage.py":
                text = "# shifted\n" * shift + text
            path.write_text(text)
        renamed = path.with_name(vocabulary.apply(path.name))
        if renamed != path:
            path.rename(renamed)
    return target
