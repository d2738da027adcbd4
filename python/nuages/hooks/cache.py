"""Django's cache: `cache.get`, `cache.set_many`, ... one span per operation the application asks for, on any backend, with hit or miss.

Backends are ordinary classes, also those of other packages, so the hook waits for Django to make one and then hooks the operations that its
classes define themselves. An asynchronous form is the span of what the application asked for, including its wait for a thread; the synchronous
operations that it calls there are part of it. `cached_page` and `{% cache %}` come out as the operations they do.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Optional

from nuages import _native
from nuages.hooks import support

OPERATIONS = (
    "get",
    "set",
    "add",
    "delete",
    "touch",
    "incr",
    "decr",
    "has_key",
    "get_or_set",
    "get_many",
    "set_many",
    "delete_many",
    "clear",
)
_patches = support.Patches()
_hooked: set[type] = set()


def available() -> bool:
    return support.loaded("django.core.cache")


def install() -> None:
    from django.core.cache import CacheHandler, caches

    _patches.replace(CacheHandler, "create_connection", "around", (_before_create, _after_create))
    for alias in list(caches.settings) if caches_are_configured() else ():
        made = getattr(caches._connections, alias, None)  # of this thread; classes are hooked for all
        if made is not None:
            adopt(alias, made)


def uninstall() -> None:
    _patches.undo()
    _hooked.clear()


def caches_are_configured() -> bool:
    from django.conf import settings

    return bool(settings.configured)


def _before_create(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("alias")


def _after_create(alias: Any, result: Any, error: Optional[BaseException]) -> None:
    if error is None:
        adopt(str(alias), result)


def adopt(alias: str, backend: Any) -> None:
    """Hooks the classes of a cache object and notes its alias for the spans."""
    try:
        backend._nuages_alias = alias
    except AttributeError:
        pass  # a class with slots: its spans carry no alias
    for owner in type(backend).__mro__:
        if owner in _hooked or owner is object:
            continue
        _hooked.add(owner)
        for name in OPERATIONS:
            if callable(vars(owner).get(name)):
                shape = _native.span_template(f"cache.{name}", {"nuages.kind": "cache", "cache.operation": name})
                _patches.replace(owner, name, "cache", shape)
            awaited = vars(owner).get(f"a{name}")
            if inspect.iscoroutinefunction(awaited):
                shape = _native.span_template(f"cache.{name}", {"nuages.kind": "cache", "cache.operation": name})
                _patches.put(owner, f"a{name}", _awaiting(awaited, shape))


def _awaiting(original: Any, shape: Any) -> Any:
    @functools.wraps(original)
    async def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        opened = _native.enter_cache(shape, self, args, kwargs) if support.enabled(traced) else None
        if opened is None:
            return await original(self, *args, **kwargs)
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            _native.leave_cache(opened, None, error)
            raise
        _native.leave_cache(opened, result, None)
        return result

    return support.shim(traced)
