"""File storage: `storage.save`, `storage.open`, `storage.delete`, `storage.exists`, ... of every storage class, with the name in the storage.

A save asks whether the name is free before it writes; that is part of it. File contents are never looked at.
"""

from __future__ import annotations

from nuages.hooks import support

OPERATIONS = ("open", "save", "delete", "exists", "listdir", "size", "get_modified_time")
_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.core.files.storage")


def install() -> None:
    from django.core.files.storage import Storage

    parts = {
        name: support.part(f"storage.{name}", "storage", "storage.backend", argument_key="file.path")
        for name in OPERATIONS
    }
    support.Family(_patches, lambda owner, name: _patches.replace(owner, name, "part", parts[name]), OPERATIONS).watch(
        Storage
    )


def uninstall() -> None:
    _patches.undo()
