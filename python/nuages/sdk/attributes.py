"""Span attributes as a mapping over the native record, and value cleaning as the installed SDK does it."""

from __future__ import annotations

import inspect
from collections.abc import ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any

from opentelemetry import attributes as api_attributes

from nuages import _native


class SpanAttributes(MutableMapping[str, Any]):
    """`span.attributes`: always what the span holds now, and writable in place.

    The SDK hands out a read-only proxy; processors in the wild (the guide's masking processor is one) assign to it in on_end, and that takes
    effect here before anything is exported. `_dict` and `_immutable` exist because redactors reach for them.
    """

    __slots__ = ("_immutable", "_span")

    def __init__(self, span: Any) -> None:
        self._span = span
        self._immutable = False

    @property
    def _dict(self) -> SpanAttributes:
        return self

    @property
    def dropped(self) -> int:
        return int(self._span.dropped_attributes)

    def copy(self) -> dict[str, Any]:
        return _native.attribute_dict(self._span)

    def __getitem__(self, key: str) -> Any:
        return _native.attribute_dict(self._span)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        _native.put_attribute(self._span, key, value)

    def __delitem__(self, key: str) -> None:
        _native.remove_attribute(self._span, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_native.attribute_dict(self._span))

    def __len__(self) -> int:
        return len(_native.attribute_dict(self._span))

    def __contains__(self, key: object) -> bool:
        return key in _native.attribute_dict(self._span)

    # Views over a copy: the guide assigns while it iterates.
    def items(self) -> ItemsView[str, Any]:
        return _native.attribute_dict(self._span).items()

    def keys(self) -> KeysView[str]:
        return _native.attribute_dict(self._span).keys()

    def values(self) -> ValuesView[Any]:
        return _native.attribute_dict(self._span).values()

    def __repr__(self) -> str:
        return repr(self.copy())


# 1.4x: _clean_attribute_value(value, max_len); before: _clean_attribute(key, value, max_len), which answers None for what it refuses.
_clean_any: Any = getattr(api_attributes, "_clean_attribute_value", None)
_clean_named: Any = getattr(api_attributes, "_clean_attribute", None)
_takes_length = _clean_any is not None and len(inspect.signature(_clean_any).parameters) == 2


def clean_value(value: Any) -> Any:
    """A value of the OTLP types, or NotImplemented when the installed SDK would drop the attribute. It warns as the SDK warns."""
    if isinstance(value, (list, tuple)) and _homogeneous(value):
        return tuple(value)
    if _takes_length:
        cleaned = _clean_any(value, None)
    elif _clean_named is not None:
        cleaned = _clean_named("attribute", value, None)
        if cleaned is None:
            return NotImplemented
    else:
        return str(value)
    return _plain(cleaned)


def _homogeneous(values: Any) -> bool:
    kinds = {type(value) for value in values}
    return len(kinds) <= 1 and kinds <= {str, bool, int, float, bytes}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) and not isinstance(value, dict):
        return dict(value)
    return value


def bounded(values: Mapping[str, Any], dropped: int) -> Any:
    """Event and link attributes as the SDK's own immutable mapping, with the number of dropped ones."""
    made = api_attributes.BoundedAttributes(attributes=values, immutable=True)
    made.dropped = dropped
    return made
