"""Middleware: one span per hook (`ShelfMiddleware.process_request`) or around the whole call (`CallableMiddleware`, `function_middleware`).

The seam is the `import_string` that `BaseHandler.load_middleware` calls: each entry of MIDDLEWARE comes back as a factory that hooks the
instance it makes. Old-style hooks are replaced on the instance, so that subclasses and shared bases keep their own names; everything else
gets a hook around the instance. Capability flags and coroutine marks stay what they were. `request.user` and the session are never touched.
"""

from __future__ import annotations

import functools
import logging
import weakref
from typing import Any

from nuages import _native
from nuages.hooks import support

logger = logging.getLogger("nuages")

_patches = support.Patches()
_active = False
# Weak: every test client loads its own middleware, and a hook holds its instance.
_on_instances: weakref.WeakSet[Any] = weakref.WeakSet()

_HOOKS = ("process_request", "process_view", "process_exception", "process_template_response", "process_response")


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    global _active
    from django.apps import apps
    from django.core.handlers import base

    _active = True
    if apps.ready and support.loaded("django.core.wsgi"):
        logger.info(
            "nuages came after Django's start: applications made before trace requests, views and queries, but not their middleware"
        )
    original = base.import_string

    @functools.wraps(original)
    def import_string(dotted_path: str) -> Any:
        found = original(dotted_path)
        ours = str(getattr(found, "__module__", "")).startswith("nuages.")
        return _Factory(found) if _active and callable(found) and not ours else found

    _patches.put(base, "import_string", import_string)


def uninstall() -> None:
    global _active
    _active = False
    _patches.undo()
    for traced in list(_on_instances):
        traced.nuages_enabled = False
        method, instance = traced.__name__, traced.__wrapped__.__self__
        if vars(instance).get(method) is traced:
            delattr(instance, method)
    _on_instances.clear()


class _Factory:
    """Stands for a middleware class or factory while Django loads it."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __call__(self, get_response: Any) -> Any:
        instance = self._original(get_response)
        if instance is None:
            return None
        try:
            support.refresh()
            return hook_instance(self._original, instance)
        except Exception:
            support.failed(f"hooking the middleware {_name(self._original)}")
            return instance


def _name(factory: Any) -> str:
    return str(getattr(factory, "__name__", None) or type(factory).__name__)


def hook_instance(factory: Any, instance: Any) -> Any:
    """The instance with its hooks traced, or a hook around it."""
    from asgiref.sync import iscoroutinefunction
    from django.utils.deprecation import MiddlewareMixin

    is_class = isinstance(factory, type) and isinstance(instance, factory)
    name = type(instance).__name__ if is_class else _name(factory)
    module = str(getattr(factory, "__module__", ""))
    if is_class:
        for method in _HOOKS:
            bound = getattr(instance, method, None)
            if bound is None:
                continue
            shape = _template(f"{name}.{method}", module, method)
            traced = _async_shim(bound, shape) if iscoroutinefunction(bound) else support.hook(bound, "span", shape)
            try:
                setattr(instance, method, traced)
                _on_instances.add(traced)
            except (AttributeError, TypeError):  # __slots__: Django still gets the span around the whole call
                continue
        if isinstance(instance, MiddlewareMixin) and type(instance).__call__ is MiddlewareMixin.__call__:
            return instance
    shape = _template(name, module, "__call__" if is_class else name)
    return _async_shim(instance, shape) if iscoroutinefunction(instance) else support.hook(instance, "span", shape)


def _template(name: str, module: str, function: str) -> Any:
    return _native.span_template(
        name, {"nuages.kind": "middleware", "code.namespace": module, "code.function": function}
    )


def _async_shim(target: Any, shape: Any) -> Any:
    """A coroutine function around a coroutine callable that keeps its attributes, process_view and its like included."""

    async def traced(*args: Any, **kwargs: Any) -> Any:
        if not _active:
            return await target(*args, **kwargs)
        with support.span(shape, share=True):
            return await target(*args, **kwargs)

    for method in _HOOKS:
        bound = getattr(target, method, None)
        if bound is not None:
            setattr(traced, method, bound)
    traced.__name__ = getattr(target, "__name__", traced.__name__)
    traced.__wrapped__ = target  # type: ignore[attr-defined]
    return traced
