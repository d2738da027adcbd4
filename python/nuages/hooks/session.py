"""Sessions: `session.load`, `session.save`, `session.create`, `session.delete` on any backend, synchronous or not. Session keys stay in the process.

Backends are built from their own operations (create from save, save from exists), so what runs inside one of them is part of it; the queries
and cache operations it makes are its children. The session itself is never touched: a request that does not ask for it has no span of it.
"""

from __future__ import annotations

import inspect

from nuages.hooks import support

OPERATIONS = ("load", "save", "create", "delete")
_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.contrib.sessions.backends.base")


def install() -> None:
    from django.contrib.sessions.backends.base import SessionBase

    parts = {name: support.part(f"session.{name}", "session", "session.backend", by_module=True) for name in OPERATIONS}

    def hook_method(owner: type, name: str) -> None:
        found = vars(owner)[name]
        if inspect.iscoroutinefunction(found):
            _patches.put(owner, name, support.awaiting_part(found, parts[name[1:]]))
        else:
            _patches.replace(owner, name, "part", parts[name])

    support.Family(_patches, hook_method, (*OPERATIONS, *(f"a{name}" for name in OPERATIONS))).watch(SessionBase)


def uninstall() -> None:
    _patches.undo()
