"""Jaeger's own headers (OTEL_PROPAGATORS=jaeger): `uber-trace-id` and, for baggage, `uberctx-NAME`.

Source: jaegertracing.io/docs/1.19/client-libraries, "Propagation Format"; baggage is bounded as W3C Baggage bounds it, so that a carrier from
outside cannot make unbounded work.
"""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter

from nuages.propagators import support

_TRACE_ID = "uber-trace-id"
_BAGGAGE = "uberctx-"
_SAMPLED, _DEBUG = 1, 2
_MOST_ENTRIES = 180
_MOST_ENTRY_BYTES = 4096
_MOST_BYTES = 8192


class JaegerPropagator(TextMapPropagator):  # type: ignore[misc]
    def extract(self, carrier: Any, context: Optional[Context] = None, getter: Any = default_getter) -> Context:
        context = Context() if context is None else context
        header = getter.get(carrier, _TRACE_ID)
        if not header:
            return context
        keys = itertools.islice((key for key in getter.keys(carrier) if key.startswith(_BAGGAGE)), _MOST_ENTRIES)
        read = ((key, support.first(getter.get(carrier, key))) for key in keys)
        pairs = [(key.replace(_BAGGAGE, ""), value) for key, value in read if value is not None]
        for key, value in _bounded(pairs):
            context = baggage.set_baggage(key, urllib.parse.unquote(value).strip(), context=context)
        trace_id, span_id, flags = _parse(support.first(header) or "")
        if not trace_id or not span_id:
            return context
        return support.with_remote_parent(trace_id, span_id, bool(flags & _SAMPLED), context)

    def inject(self, carrier: Any, context: Optional[Context] = None, setter: Any = default_setter) -> None:
        current = support.to_send(context)
        if current is None:
            return
        span = trace.get_current_span(context)
        parent = getattr(span, "parent", None) if span.is_recording() else None
        flags = int(current.trace_flags)
        if flags & _SAMPLED:
            flags |= _DEBUG
        ids = (current.trace_id, current.span_id, parent.span_id if parent else 0)
        setter.set(carrier, _TRACE_ID, f"{ids[0]:032x}:{ids[1]:016x}:{ids[2]:016x}:{flags:02x}")
        entries = itertools.islice(baggage.get_all(context=context).items(), _MOST_ENTRIES)
        for key, value in _bounded([(key, urllib.parse.quote(str(value))) for key, value in entries]):
            setter.set(carrier, _BAGGAGE + key, value)

    @property
    def fields(self) -> set[str]:
        return {_TRACE_ID}


def _bounded(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    total = 0
    for key, value in pairs:
        size = len(key.encode()) + len(value.encode()) + 1
        wanted = total + size + (1 if total else 0)
        if size <= _MOST_ENTRY_BYTES and wanted <= _MOST_BYTES:
            yield key, value
            total = wanted


def _parse(header: str) -> tuple[int, int, int]:
    """(trace id, span id, flags); zeros for what is no such header."""
    fields = header.split(":")
    if len(fields) != 4:
        return 0, 0, 0
    flags = _hex(fields[3])
    if flags is None:
        return 0, 0, 0
    return _hex(fields[0]) or 0, _hex(fields[1]) or 0, flags


def _hex(text: str) -> Optional[int]:
    try:
        return int(text, 16)
    except ValueError:
        return None
