"""Queries: one CLIENT leaf per statement that goes through Django's cursor, on any backend; COMMIT, ROLLBACK and CONNECT beside them.

`CursorDebugWrapper` calls `CursorWrapper`, so one seam sees both. BEGIN and SAVEPOINT are statements and need no seam of their own. The rows of
a SELECT and the time to fetch them are told on its span, apart from the time of its execution; the seam is `CursorWrapper.__getattr__`, through
which every fetch goes.
"""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    _patches.replace(CursorWrapper, "__getattr__", "cursor_attribute")
    _patches.replace(CursorWrapper, "execute", "execute", True)
    _patches.replace(CursorWrapper, "executemany", "executemany")
    _patches.replace(CursorWrapper, "callproc", "callproc")
    _patches.replace(BaseDatabaseWrapper, "_commit", "transaction_end", "COMMIT")
    _patches.replace(BaseDatabaseWrapper, "_rollback", "transaction_end", "ROLLBACK")
    _patches.replace(BaseDatabaseWrapper, "connect", "connect")
    _patches.replace(BaseDatabaseWrapper, "run_and_clear_commit_hooks", "on_commit")


def uninstall() -> None:
    _patches.undo()
