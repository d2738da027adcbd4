"""Transactions: a span `transaction.atomic` from `Atomic.__enter__` to `Atomic.__exit__`, with BEGIN, SAVEPOINT and COMMIT as leaves in it."""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.db import transaction

    _patches.replace(transaction.Atomic, "__enter__", "atomic_enter", transaction.get_connection)
    _patches.replace(transaction.Atomic, "__exit__", "atomic_exit", transaction.get_connection)


def uninstall() -> None:
    _patches.undo()
