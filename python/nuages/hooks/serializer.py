"""DRF serializers: `serializer.is_valid`, `serializer.save`, `serializer.data`.

Importing DRF reads Django's settings, so the hook waits until the application has imported it.
"""

from __future__ import annotations

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("rest_framework.serializers")


def install() -> None:
    from rest_framework import serializers

    for name in ("is_valid", "save", "data"):
        shape = _native.span_template(f"serializer.{name}", {"nuages.kind": "serializer"})
        for owner in (serializers.BaseSerializer, serializers.Serializer, serializers.ListSerializer):
            if name in vars(owner):
                _patches.replace(owner, name, "serializer", shape)


def uninstall() -> None:
    _patches.undo()
