"""Prefetches that nothing reads: for tests only, because each watched instance gets a dictionary that notes when it is read.

What `prefetch_related()` loads lies in `_prefetched_objects_cache` (lists) or `_state.fields_cache` (single objects) of each instance; Django's managers
and descriptors read it from there by key. A prefetch whose values no instance was asked for by the end of the block was for nothing. What goes to an
attribute of its own (`Prefetch(to_attr=...)`) is not watched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass
class Prefetch:
    """One prefetch of one place in the code."""

    relation: str  # "Author.books"
    file: str
    line: int
    function: str
    instances: int = 0
    reads: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.relation} was prefetched for {self.instances} instances and read for none\n    at {self.file}:{self.line} in {self.function}"


class _Noting(dict):  # type: ignore[type-arg]
    """A cache of an instance; `watched` says which keys are whose."""

    watched: dict[str, Prefetch]

    def __getitem__(self, key: Any) -> Any:
        prefetch = self.watched.get(key)
        if prefetch is not None:
            prefetch.reads += 1
        return super().__getitem__(key)

    def __reduce__(self) -> Any:  # copied and pickled as what it was
        return dict, (dict(self),)


_lock = threading.RLock()
_open: list[Watch] = []
_original: Any = None


class Watch:
    """Watches the prefetches of this process between enter and exit."""

    def __init__(self) -> None:
        self.prefetches: dict[tuple[str, str, int], Prefetch] = {}

    def __enter__(self) -> Watch:
        global _original
        from django.db.models import query

        with _lock:
            if not _open:
                _original = query.prefetch_one_level
                query.prefetch_one_level = _prefetch_one_level
            _open.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        from django.db.models import query

        with _lock:
            _open.remove(self)
            if not _open and query.prefetch_one_level is _prefetch_one_level:
                query.prefetch_one_level = _original

    def unused(self) -> list[Prefetch]:
        return [prefetch for prefetch in self.prefetches.values() if prefetch.reads == 0]

    def note(self, relation: str, place: Any, instances: list[Any], cache_name: str, single: bool) -> None:
        key = (relation, place.file, place.line)
        prefetch = self.prefetches.setdefault(key, Prefetch(relation, *place))
        prefetch.instances += len(instances)
        for instance in instances:
            _watch(instance, cache_name, single, prefetch)


def _prefetch_one_level(instances: Any, prefetcher: Any, lookup: Any, level: int) -> Any:
    result = _original(instances, prefetcher, lookup, level)
    name, to_attribute = lookup.get_current_to_attr(level)
    if instances and not to_attribute:
        found = _cache_of(instances[0], name)
        if found is not None:
            from nuages.hooks import places

            place = places.application_place() or places.Place("", 0, "")
            relation = f"{type(instances[0]).__name__}.{name}"
            for watch in list(_open):
                watch.note(relation, place, instances, *found)
    return result


def _cache_of(instance: Any, name: str) -> Optional[tuple[str, bool]]:
    """(key, whether it is a single object) under which the relation's values lie."""
    many = instance.__dict__.get("_prefetched_objects_cache") or {}
    model_field = next((each for each in instance._meta.get_fields() if _accessor(each) == name), None)
    names: Iterable[Any] = (name, getattr(model_field, "cache_name", None))
    remote = getattr(model_field, "remote_field", None)
    if remote is not None:
        names = (*names, getattr(remote, "cache_name", None))
    for key in names:
        if key in many:
            return str(key), False
    for key in names:
        if key in instance._state.fields_cache:
            return str(key), True
    return None


def _accessor(model_field: Any) -> str:
    accessor = getattr(model_field, "get_accessor_name", None)
    return str(accessor() if accessor is not None else model_field.name)


def _watch(instance: Any, key: str, single: bool, prefetch: Prefetch) -> None:
    owner, name = (instance._state, "fields_cache") if single else (instance, "_prefetched_objects_cache")
    cache = getattr(owner, name)
    if not isinstance(cache, _Noting):
        cache = _Noting(cache)
        cache.watched = {}
        setattr(owner, name, cache)
    cache.watched[key] = prefetch
