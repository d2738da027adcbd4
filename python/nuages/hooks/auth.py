"""Authentication: `auth.authenticate`, `auth.login`, `auth.logout` with the outcome, and `ModelBackend.authenticate` for each backend asked. No
name, password, token or session key.

Names that the application imported before the hook (`from django.contrib.auth import login`) are replaced in its modules too.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Optional

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.contrib.auth")


def install() -> None:
    from django.contrib import auth

    for name in ("authenticate", "login", "logout"):
        original = vars(auth)[name]
        _patches.replace(auth, name, "around", (functools.partial(_before, name), _after))
        _patches.rebind(original, vars(auth)[name], name)
        awaited = vars(auth).get(f"a{name}")  # since Django 5.0
        if awaited is not None:
            replacement = support.awaiting(awaited, functools.partial(_before, name), _after)
            _patches.put(auth, f"a{name}", replacement)
            _patches.rebind(awaited, replacement, f"a{name}")

    _patches.replace(auth, "load_backend", "around", (_before_load, _after_load))


def uninstall() -> None:
    _patches.undo()


def _before_load(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return True


def _after_load(state: Any, backend: Any, error: Optional[BaseException]) -> None:
    """Backends are made anew for each request; their classes get the hook at the first."""
    for owner in type(backend).__mro__ if error is None else ():
        for name in ("authenticate", "aauthenticate"):
            found = vars(owner).get(name)
            if not callable(found) or isinstance(found, _native.HookFunction) or hasattr(found, "nuages_enabled"):
                continue
            shape = support.part(f"{owner.__name__}.authenticate", "auth", fold=False)
            if inspect.iscoroutinefunction(found):
                _patches.put(owner, name, support.awaiting_part(found, shape))
            else:
                _patches.replace(owner, name, "part", shape)


def _before(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    opened = support.open_span("nuages.django", f"auth.{name}", {"nuages.kind": "auth"})
    return None if opened is None else (name, opened)


def _after(state: Any, result: Any, error: Optional[BaseException]) -> None:
    name, opened = state
    if name == "authenticate" and error is None:
        opened.span.set_attribute("auth.authenticated", result is not None)
        backend = getattr(result, "backend", None)
        if isinstance(backend, str):
            opened.span.set_attribute("auth.backend", backend)
    opened.close(error)
