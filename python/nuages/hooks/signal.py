"""Signals: a span `signal order_paid` around `send()` and its kin, and below it one `receiver orders.receivers.notify` for each receiver.

`NUAGES_SIGNALS=custom` (default) takes the signals that the application and its libraries define; `all` takes Django's own as well; `none` leaves
only what receivers do. A signal without receivers makes no span.

Receivers are timed without touching who is connected: a traced signal gets a `_live_receivers` of its own, which hands `send()` the receivers in
wrappers, and the wrappers are taken out of the responses again.
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextvars import ContextVar
from typing import Any, Callable, Optional

from nuages import settings
from nuages.hooks import support

_patches = support.Patches()
_FRAMEWORKS = ("django.", "django_tasks.")
_METHODS = ("send", "send_robust")
_names: dict[int, tuple[Any, str]] = {}  # id -> (the signal, module.name); signals live as long as their modules
_shadowed: list[Any] = []
_sending: ContextVar[Optional[Any]] = ContextVar("nuages_sending", default=None)


def available() -> bool:
    return support.loaded("django.dispatch")


def install() -> None:
    from django.dispatch import Signal

    for name in _METHODS:
        _patches.replace(Signal, name, "around", (_before, _after))
        awaited = vars(Signal).get(f"a{name}")  # since Django 5.0
        if awaited is not None:
            _patches.put(Signal, f"a{name}", support.awaiting(awaited, _before, _after))


def uninstall() -> None:
    _patches.undo()
    while _shadowed:
        vars(_shadowed.pop()).pop("_live_receivers", None)
    _names.clear()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    signal = args[0]
    if not signal.receivers:
        return None
    wanted = settings.get("signals")
    if wanted == "none":
        return None
    name = _name_of(signal)
    if wanted == "custom" and name.startswith(_FRAMEWORKS):
        return None
    sender = args[1] if len(args) > 1 else kwargs.get("sender")
    attributes: dict[str, Any] = {"nuages.kind": "signal", "django.signal.name": name}
    if sender is not None:
        kind = sender if isinstance(sender, type) else type(sender)
        attributes["django.signal.sender"] = f"{kind.__module__}.{kind.__qualname__}"
    opened = support.open_span("nuages.django", f"signal {name.rpartition('.')[2]}", attributes)
    if opened is None:
        return None
    if "_live_receivers" not in vars(signal):
        signal._live_receivers = functools.partial(_live_receivers, signal)
        _shadowed.append(signal)
    return opened, _sending.set(signal)


def _after(state: Any, result: Any, error: Optional[BaseException]) -> None:
    opened, token = state
    _sending.reset(token)
    if isinstance(result, list):
        opened.span.set_attribute("django.signal.receivers", len(result))
        result[:] = [(getattr(receiver, "_nuages_receiver", receiver), response) for receiver, response in result]
    opened.close(error)


def _name_of(signal: Any) -> str:
    """Where the signal can be found: `orders.signals.order_paid`."""
    known = _names.get(id(signal))
    if known is not None and known[0] is signal:
        return known[1]
    places = [
        f"{module_name}.{name}"
        for module_name, module in list(sys.modules.items())
        for name, value in list(getattr(module, "__dict__", {}).items())
        if value is signal
    ]
    # Others import it from where it is defined: Django's own stay Django's, and a definition has the shortest name more often than not.
    found = min(places, key=lambda place: (not place.startswith("django."), len(place)), default="")
    _names[id(signal)] = (signal, found or "unnamed")
    return found or "unnamed"


def _live_receivers(signal: Any, sender: Any) -> Any:
    live = type(signal)._live_receivers(signal, sender)
    if _sending.get() is not signal:
        return live
    if isinstance(live, tuple):  # (synchronous, asynchronous)
        return [_timed(receiver) for receiver in live[0]], [_timed_coroutine(receiver) for receiver in live[1]]
    return [_timed(receiver) for receiver in live]


def _shape(receiver: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    target = inspect.unwrap(receiver)
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    attributes: dict[str, Any] = {"nuages.kind": "signal", "code.function": name}
    code = getattr(target, "__code__", None)
    if code is not None:
        attributes["code.filepath"], attributes["code.lineno"] = code.co_filename, code.co_firstlineno
    return f"receiver {getattr(target, '__module__', '')}.{name}", attributes


def _timed(receiver: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(receiver)
    def timed(*args: Any, **kwargs: Any) -> Any:
        opened = support.open_span("nuages.django", *_shape(receiver))
        try:
            result = receiver(*args, **kwargs)
        except BaseException as error:
            support.close_span(opened, error)
            raise
        support.close_span(opened)
        return result

    timed._nuages_receiver = receiver  # type: ignore[attr-defined]
    return timed


def _timed_coroutine(receiver: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(receiver)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        opened = support.open_span("nuages.django", *_shape(receiver))
        try:
            result = await receiver(*args, **kwargs)
        except BaseException as error:
            support.close_span(opened, error)
            raise
        support.close_span(opened)
        return result

    timed._nuages_receiver = receiver  # type: ignore[attr-defined]
    return timed
