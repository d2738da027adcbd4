"""Queries: one CLIENT leaf per statement that goes through Django's cursor, on any backend; COMMIT and ROLLBACK beside them.

`CursorDebugWrapper` calls `CursorWrapper`, so one seam sees both. BEGIN and SAVEPOINT are statements and need no seam of their own.
"""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    _patches.replace(CursorWrapper, "execute", "execute")
    _patches.replace(CursorWrapper, "executemany", "executemany")
    _patches.replace(CursorWrapper, "callproc", "callproc")
    _patches.replace(BaseDatabaseWrapper, "_commit", "transaction_end", "COMMIT")
    _patches.replace(BaseDatabaseWrapper, "_rollback", "transaction_end", "ROLLBACK")


def uninstall() -> None:
    _patches.undo()
