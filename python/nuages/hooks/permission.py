"""Permissions: a span `auth.has_perm` per check of a user's permission, with the permission and the answer; decorators, DRF's permission
classes and `{{ perms }}` come here. A superuser's checks, which ask nobody, are seen too.

`django.contrib.auth.models` cannot be imported before the application registry is ready, so the hook waits for the application to do it.
"""

from __future__ import annotations

from typing import Any, Optional

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.contrib.auth.models")


def install() -> None:
    from django.contrib.auth import models

    for owner in (models.PermissionsMixin, models.AnonymousUser):
        _patches.replace(owner, "has_perm", "around", (_before, _after))
        awaited = vars(owner).get("ahas_perm")  # since Django 5.2
        if awaited is not None:
            _patches.put(owner, "ahas_perm", support.awaiting(awaited, _before, _after))
    shape = support.part("auth.check_password", "auth", fold=False)  # hashing: most of a login's time
    _patches.replace(models.AbstractBaseUser, "check_password", "part", shape)
    awaited = vars(models.AbstractBaseUser).get("acheck_password")  # since Django 5.0
    if awaited is not None:
        _patches.put(models.AbstractBaseUser, "acheck_password", support.awaiting_part(awaited, shape))


def uninstall() -> None:
    _patches.undo()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    permission = args[1] if len(args) > 1 else kwargs.get("perm")
    attributes: dict[str, Any] = {"nuages.kind": "auth"}
    if isinstance(permission, str):
        attributes["auth.permission"] = permission
    return support.open_span("nuages.django", "auth.has_perm", attributes)


def _after(opened: Any, result: Any, error: Optional[BaseException]) -> None:
    if isinstance(result, bool):
        opened.span.set_attribute("auth.granted", result)
    opened.close(error)
