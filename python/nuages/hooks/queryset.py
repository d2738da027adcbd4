"""Lists of model instances: no span, but the place where they were fetched, for what N+1 findings say."""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.db.models.query")


def install() -> None:
    from django.db.models.query import QuerySet

    _patches.replace(QuerySet, "_fetch_all", "fetch_all")


def uninstall() -> None:
    _patches.undo()
