"""Views: one span around what `BaseHandler.make_view_atomic` hands to Django, so `resolver_match.func` stays the user's own function.

The span is named after what the user wrote: `catalog.views.book_list`, `BookCreateView.post`, `BookViewSet.create`. Authentication,
permission checks and the handler of DRF run inside it. Coroutine views get a real `async def` around them.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable

from nuages import _native
from nuages.hooks import places, support

_patches = support.Patches()
_cache: dict[Any, Any] = {}


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.core.handlers import base

    _cache.clear()
    _patches.replace(base.BaseHandler, "make_view_atomic", "view_seam", (_cache, describe))


def uninstall() -> None:
    _patches.undo()
    _cache.clear()


def describe(view: Callable[..., Any]) -> Any:
    """Called once per view, at its first request: by then the URLconf has imported everything, DRF included."""
    from asgiref.sync import iscoroutinefunction

    from nuages import hooks

    hooks.install_all()
    shape = template(view)
    if not iscoroutinefunction(view):
        return shape

    def make(wrapped: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(wrapped)
        async def traced(*args: Any, **kwargs: Any) -> Any:
            with support.span(shape, share=True):
                return await wrapped(*args, **kwargs)

        return traced

    return make


def template(view: Callable[..., Any]) -> Any:
    owner = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if not isinstance(owner, type):
        target = inspect.unwrap(view)
        while isinstance(target, functools.partial):
            target = inspect.unwrap(target.func)
        module = str(getattr(target, "__module__", "") or "")
        function = str(getattr(target, "__qualname__", None) or type(target).__name__)
        return _native.span_template(f"{module}.{function}" if module else function, _code(target, module, function))
    if owner.__qualname__ == "WrappedAPIView":  # @api_view: a class made around a function
        function = owner.__name__
        return _native.span_template(
            f"{owner.__module__}.{function}", _code(_api_function(owner), owner.__module__, function)
        )
    namespace = f"{owner.__module__}.{owner.__qualname__}"
    actions = getattr(view, "actions", None)
    known = getattr(owner, "http_method_names", ())
    handlers = dict(actions) if isinstance(actions, dict) else {name: name for name in known if hasattr(owner, name)}
    if "get" in handlers:
        handlers.setdefault("head", handlers["get"])
    methods = {
        method.upper(): _native.span_template(f"{owner.__name__}.{name}", _code(_handler(owner, name), namespace, name))
        for method, name in handlers.items()
    }
    return _native.span_template(owner.__name__, _code(owner, namespace, "dispatch"), methods)


def _api_function(owner: type) -> Any:
    for method in getattr(owner, "http_method_names", ()):
        for cell in getattr(getattr(owner, method, None), "__closure__", None) or ():
            if inspect.isfunction(cell.cell_contents):
                return cell.cell_contents
    return None


def _code(target: Any, namespace: str, function: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {"nuages.kind": "view", "code.namespace": namespace, "code.function": function}
    code = getattr(inspect.unwrap(target) if callable(target) else target, "__code__", None)
    if code is not None:
        attributes["code.filepath"], attributes["code.lineno"] = code.co_filename, code.co_firstlineno
    elif isinstance(target, type):
        place = places.class_place(target)
        if place is not None:
            attributes["code.filepath"], attributes["code.lineno"] = place[0], place[1]
    return attributes


def _handler(owner: type, name: str) -> Any:
    """The method if the user wrote it; the class if a library's base class did."""
    for base in owner.__mro__:
        if name in vars(base):
            return vars(base)[name] if places.class_place(base) is not None else owner
    return owner
