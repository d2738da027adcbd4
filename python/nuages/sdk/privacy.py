"""What the settings say about privacy, handed to whoever does it.

The masking profile and the rules that native code can apply (`MASK_PATTERNS`, `MASK_KEYS`) go to the exporters' policy, which they read for each
batch. Rules that are Python (`MASK_FUNCTIONS`, and patterns that the linear-time engine refuses) run when a span ends, in the application's
thread, after every processor that may change the span. Settings may come late (Django's do), so `refresh()` is called whenever they change.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any, Callable, Optional

from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Status

from nuages import _native, settings

logger = logging.getLogger("nuages")

PRIVATE_PROFILES = ("gdpr", "hipaa")
HIDDEN = "***"

Function = Callable[[str, Any], Any]

_listeners: list[Callable[[], None]] = []
_failed: set[str] = set()
_refused: dict[tuple[str, str], str] = {}  # patterns that became functions, and why


def on_change(listener: Callable[[], None]) -> None:
    _listeners.append(listener)


def is_private() -> bool:
    return settings.get("masking") in PRIVATE_PROFILES


def limits(given: Optional[SpanLimits]) -> Optional[SpanLimits]:
    """The limits of a provider whose creator named none: small ones under the GDPR and HIPAA profiles, unless the environment names its own."""
    if given is not None or not is_private():
        return given
    values = {
        name: value
        for name, variable, value in (
            ("max_attributes", "OTEL_ATTRIBUTE_COUNT_LIMIT", 32),
            ("max_events", "OTEL_SPAN_EVENT_COUNT_LIMIT", 32),
            ("max_links", "OTEL_SPAN_LINK_COUNT_LIMIT", 32),
            ("max_attribute_length", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 256),
        )
        if not os.environ.get(variable)
    }
    return SpanLimits(**values)


def refresh() -> None:
    """Reads the settings again; cheap when nothing has changed."""
    profile = settings.get("masking")
    _native.set_masking(profile, bool(profile == "off" and settings.get("capture_parameters")))
    patterns = []
    for pattern in settings.get("mask_patterns"):
        problem = _native.mask_pattern_problem(pattern[0])
        if problem is None:
            patterns.append(pattern)
        elif pattern not in _refused:
            _refused[pattern] = problem
            logger.warning(
                "the mask pattern %r cannot run natively (%s); it runs in Python at the end of each span, which is slow",
                pattern[0],
                problem,
            )
    _native.set_mask_rules(patterns, list(settings.get("mask_keys")))
    for listener in _listeners:
        listener()


def functions() -> tuple[Function, ...]:
    """The rules that are Python."""
    found: list[Function] = []
    for rule in settings.get("mask_functions"):
        if callable(rule):
            found.append(rule)
            continue
        module, _, name = str(rule).rpartition(".")
        try:
            found.append(getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError, ValueError) as error:
            _say_once(f"the mask function {rule!r} cannot be imported ({error}): every text is hidden until it can")
            found.append(_hide)
    found += [_substitution(*pattern) for pattern in settings.get("mask_patterns") if pattern in _refused]
    return tuple(found)


def on_end(rules: Sequence[Function]) -> Callable[[Any], None]:
    """A callback for the end of each span that puts name, status, attributes and events through the rules."""

    def mask(span: Any) -> None:
        name = _apply(rules, "name", span.name)
        if name != span.name:
            span._name = str(name)
        for key, value in span.attributes.items():
            masked = _apply(rules, key, value)
            if masked is None:
                _native.remove_attribute(span, key)
            elif masked is not value:
                _native.put_attribute(span, key, masked)
        status = span.status
        if status.description:
            description = _apply(rules, "status", status.description)
            if description != status.description:
                span._status = Status(status.status_code, str(description))
        events = [(event, _masked_event(rules, event)) for event in span.events]
        if any(before.attributes != after for before, after in events):
            _native.clear_part(span, "events")
            for event, attributes in events:
                _native.put_event(span, event.name, attributes, event.timestamp)

    return mask


def _masked_event(rules: Sequence[Function], event: Any) -> dict[str, Any]:
    masked = {key: _apply(rules, key, value) for key, value in (event.attributes or {}).items()}
    return {key: value for key, value in masked.items() if value is not None}


def _apply(rules: Sequence[Function], key: str, value: Any) -> Any:
    for rule in rules:
        try:
            value = rule(key, value)
        except Exception as error:
            name = getattr(rule, "__qualname__", repr(rule))
            _say_once(
                f"the mask function {name} failed with {type(error).__name__}; what it should have masked is hidden"
            )
            return HIDDEN
        if value is None:
            return None
    return value


def _hide(key: str, value: Any) -> Any:
    return HIDDEN if isinstance(value, (str, bytes, tuple, list)) else value


def _substitution(pattern: str, replacement: str) -> Function:
    compiled = re.compile(pattern)

    def substitute(key: str, value: Any) -> Any:
        if isinstance(value, str):
            return compiled.sub(lambda _: replacement, value)
        if isinstance(value, (tuple, list)):
            return tuple(substitute(key, item) for item in value)
        return value

    return substitute


def _say_once(message: str) -> None:
    if message not in _failed:
        _failed.add(message)
        logger.error("%s", message)


settings.on_change(refresh)
