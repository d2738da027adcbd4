"""Where the application's code asks for rows: the place and the reason of a repeated query, and the place where a list of instances was fetched.

Both walk the Python frames outwards. What is not the application's (Django and its like, installed packages, the standard library) is told by the
file's name, once per file. Django's own frames meanwhile say which relation is being loaded, which method of a queryset runs, which template node or
serializer field is being rendered.
"""

from __future__ import annotations

import datetime
import decimal
import inspect
import os
import sys
import sysconfig
import uuid
import weakref
from types import FrameType
from typing import Any, NamedTuple, Optional

from nuages import _native
from nuages.hooks.support import failed, request_options

_LIBRARY_PARTS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STANDARD = tuple({path + os.sep for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")) if path})
_FRAMEWORKS = (
    "nuages",
    "django",
    "rest_framework",
    "celery",
    "kombu",
    "billiard",
    "asgiref",
    "opentelemetry.trace",
    "opentelemetry.sdk.trace",
)
_APPLICATION, _FRAMEWORK, _LIBRARY, _NEITHER = range(4)
_kinds: dict[str, int] = {}


def _kind_of(file: str) -> int:
    known = _kinds.get(file)
    if known is not None:
        return known
    folders = (getattr(sys.modules.get(name), "__file__", None) for name in _FRAMEWORKS)
    if file.startswith(tuple(os.path.dirname(folder) + os.sep for folder in folders if folder)):
        kind = _FRAMEWORK
    elif any(part in file for part in _LIBRARY_PARTS):
        kind = _LIBRARY
    else:
        kind = _NEITHER if file.startswith((*_STANDARD, "<")) else _APPLICATION
    if len(_kinds) < 10_000:
        _kinds[file] = kind
    return kind


class Place(NamedTuple):
    file: str
    line: int
    function: str


class CallSite(NamedTuple):
    """As native/python/hook_sql.cc reads it."""

    file: str
    line: int
    function: str
    relation: str  # "Order.user"
    suggestion: str
    model: str  # label of the model whose instance asked
    via: str  # templates and serializers, innermost first
    parameters: int  # a hash; 0: unknown
    series: bool  # one of a series by design: no N+1


class Batch(NamedTuple):
    """More than one instance of a model, fetched by one query."""

    model: str
    file: str
    line: int
    function: str
    rows: int
    owner: str  # for a related manager's rows: the label of the model it belongs to ...
    accessor: str  # ... and its name there


class _Reason:
    """What Django's frames say, innermost first; the first that knows decides."""

    def __init__(self) -> None:
        self.relation = self.suggestion = self.model = ""
        self.known = self.series = self.inserting = False
        self.queryset: Any = None

    def settle(self, suggestion: str, relation: str = "", model: str = "") -> None:
        self.known = True
        self.suggestion, self.relation, self.model = suggestion, relation, model

    def finish(self) -> None:
        """A queryset that was read row by row, and nothing said more about it."""
        if self.known or self.queryset is None:
            return
        if _is_page(self.queryset.query):
            self.series = True
            return
        field = _compared_field(self.queryset.query)
        self.suggestion = f"one query with filter({field}__in=[...])" if field else ""


def call_site(parameters: Any = None) -> Optional[CallSite]:
    """Of the query now being executed. Called by the native query hook, only from a statement's third repeat.

    The place is, whichever comes first on the way out: a frame of the application; the template node being rendered; the user's serializer or view
    when a library does the looping; else a frame of an installed package that is not Django or its like.
    """
    reason = _Reason()
    place: Optional[Place] = None
    fallback: Optional[Place] = None
    templates: list[str] = []
    fields: list[str] = []
    serializer = ""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        kind = _kind_of(file)
        if kind == _FRAMEWORK:
            function = frame.f_code.co_name
            if function == "prefetch_one_level" and file.endswith(_QUERY):
                _explain_prefetch(frame, reason)
            elif not reason.known and file.endswith(_TELLING_FILES):
                _explain(frame, function, reason)
            if function in _PLACES:
                found = _framework_place(frame, function, file)
                place = place or found
                if function == "render_annotated" and found is not None:
                    name = f"{found.function}:{found.line}"
                    if not templates or templates[-1].rpartition(":")[0] != found.function:
                        templates.append(name)
                elif function == "to_representation" and file.endswith(_SERIALIZER_FILE):
                    field = getattr(frame.f_locals.get("field"), "field_name", None)
                    if field:
                        fields.insert(0, str(field))
                        serializer = type(frame.f_locals.get("self")).__name__
                elif function in ("_get_response", "_get_response_async"):
                    break  # beyond are middleware and server, which did not ask
        elif kind == _LIBRARY:
            fallback = fallback or _place_of(frame)
        elif kind == _APPLICATION and place is None:
            place = _place_of(frame)
        frame = frame.f_back
    reason.finish()
    found = place or fallback or Place("", 0, "")
    if serializer:
        templates.insert(0, ".".join((serializer, *fields)))
    return CallSite(
        *found,
        reason.relation,
        reason.suggestion,
        reason.model,
        " < ".join(templates),
        _hash(parameters),
        reason.series,
    )


def note_batch(queryset: Any) -> Optional[Batch]:
    """Of a queryset that has just fetched more than one row. Called by the native hook of `QuerySet._fetch_all`."""
    rows = queryset._result_cache
    if not isinstance(rows[0], queryset.model):
        return None  # values(), values_list()
    place: Optional[Place] = None
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and place is None:
        file = frame.f_code.co_filename
        kind = _kind_of(file)
        if kind == _APPLICATION:
            place = _place_of(frame)
        elif kind == _FRAMEWORK and frame.f_code.co_name in _PLACES:
            place = _framework_place(frame, frame.f_code.co_name, file)
            if frame.f_code.co_name in ("_get_response", "_get_response_async"):
                break
        frame = frame.f_back
    if place is None:
        return None
    owner = _manager_relation(queryset) if queryset._hints or queryset._known_related_objects else None
    return Batch(_label(queryset.model), *place, len(rows), owner[2] if owner else "", owner[1] if owner else "")


def application_place() -> Optional[Place]:
    """The innermost frame of the application."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and _kind_of(frame.f_code.co_filename) != _APPLICATION:
        frame = frame.f_back
    return None if frame is None else _place_of(frame)


_PLAIN = frozenset(
    (
        str,
        int,
        float,
        bool,
        bytes,
        type(None),
        decimal.Decimal,
        datetime.date,
        datetime.datetime,
        datetime.time,
        uuid.UUID,
    )
)


def _hash(parameters: Any) -> int:
    """0 where hashing could run code of the application."""
    values = tuple(parameters.values()) if isinstance(parameters, dict) else parameters
    if values is None:
        values = ()
    if not isinstance(values, (list, tuple)) or not all(type(value) in _PLAIN for value in values):
        return 0
    return (hash(tuple(values)) & 0xFFFFFFFFFFFFFFFF) or 1


def _place_of(frame: FrameType) -> Place:
    code = frame.f_code
    return Place(code.co_filename, frame.f_lineno or 0, str(getattr(code, "co_qualname", code.co_name)))


_PLACES = frozenset(("render_annotated", "to_representation", "_get_response", "_get_response_async"))


def _framework_place(frame: FrameType, function: str, file: str) -> Optional[Place]:
    """What of the application's a frame of Django or DRF works on: a template node, a serializer, a view."""
    try:
        if function == "render_annotated" and file.endswith(_TEMPLATE_FILE):
            node = frame.f_locals.get("self")
            origin, token = getattr(node, "origin", None), getattr(node, "token", None)
            if origin is not None and token is not None and os.path.isabs(str(origin.name)):
                return Place(str(origin.name), int(token.lineno or 0), str(origin.template_name or ""))
        elif function == "to_representation" and file.endswith(_SERIALIZER_FILE):
            return class_place(type(frame.f_locals.get("self")))
        elif function in ("_get_response", "_get_response_async"):
            view = frame.f_locals.get("callback")
            owner = getattr(view, "cls", None) or getattr(view, "view_class", None)
            if owner is not None:
                return class_place(owner)
            code = getattr(view, "__code__", None)
            return Place(code.co_filename, code.co_firstlineno, code.co_name) if code else None
    except Exception:
        failed("finding the place of a query")
    return None


_class_places: weakref.WeakKeyDictionary[Any, Optional[Place]] = weakref.WeakKeyDictionary()


def class_place(owner: Any) -> Optional[Place]:
    """Where a class is defined, unless a library defines it. Kept: `inspect` parses the whole file to find it."""
    try:
        if owner not in _class_places:
            _class_places[owner] = _find_class(owner)
        return _class_places[owner]
    except TypeError:  # a class whose metaclass cannot be hashed
        return _find_class(owner)


def _find_class(owner: Any) -> Optional[Place]:
    try:
        file, line = inspect.getsourcefile(owner), inspect.getsourcelines(owner)[1]
    except (OSError, TypeError):
        return None
    if file is None or any(part in file for part in _LIBRARY_PARTS):
        return None
    return Place(file, line, str(owner.__qualname__))


_TEMPLATE_FILE = os.path.join("django", "template", "base.py")
_SERIALIZER_FILE = os.path.join("rest_framework", "serializers.py")
_DESCRIPTORS = os.path.join("django", "db", "models", "fields", "related_descriptors.py")
_QUERY = os.path.join("django", "db", "models", "query.py")
_DEFERRED = os.path.join("django", "db", "models", "query_utils.py")
_MODEL = os.path.join("django", "db", "models", "base.py")
_GENERIC = os.path.join("django", "contrib", "contenttypes", "fields.py")
_TELLING_FILES = (_DESCRIPTORS, _QUERY, _DEFERRED, _MODEL, _GENERIC)
_LAZY_CALLERS = frozenset(("get_object", "__get__", "refresh_from_db", "get_object_for_this_type", "get_or_create"))
_READS = frozenset(("_fetch_all", "iterator", "_iterator", "first", "last", "earliest", "latest", "__getitem__"))
_BY_METHOD = {
    "get": "in_bulk()",
    "count": "annotate(Count(...))",
    "exists": "annotate(Exists(...))",
    "aggregate": "annotate(...)",
    "create": "bulk_create()",
    "get_or_create": "bulk_create(..., ignore_conflicts=True)",
    "update_or_create": "bulk_create(..., update_conflicts=True)",
    "update": "one update() for all rows, or bulk_update()",
    "delete": "filter(pk__in=[...]).delete()",
}


def _explain(frame: FrameType, function: str, reason: _Reason) -> None:
    file = frame.f_code.co_filename
    owner = frame.f_locals.get("self")
    outer = frame.f_back
    inside = outer is not None and _kind_of(outer.f_code.co_filename) == _FRAMEWORK
    caller = outer.f_code.co_name if outer is not None and inside else ""
    try:
        if file.endswith(_QUERY):
            _explain_query(function, owner, caller, reason)
        elif file.endswith(_DESCRIPTORS):
            _explain_descriptor(frame, function, owner, reason)
        elif function == "_do_insert":
            reason.inserting = True
        elif file.endswith(_MODEL):
            if function == "save" and caller not in ("create", "get_or_create", "update_or_create"):
                reason.settle("bulk_create()" if reason.inserting else "bulk_update()")
            elif function == "delete":
                reason.settle(_BY_METHOD["delete"])
            elif function == "refresh_from_db" and caller != "__get__":
                reason.settle("read the rows again in one query")
        elif function == "__get__":
            instance = frame.f_locals.get("instance")
            if file.endswith(_DEFERRED):
                name = owner.field.name  # type: ignore[union-attr]
                model = type(instance)
                fix = f"a deferred column: take {name!r} out of defer() or into only()"
                reason.settle(fix, f"{model.__name__}.{name}", _label(model))
            elif file.endswith(_GENERIC):
                name, model = owner.name, owner.model  # type: ignore[union-attr]
                reason.settle(f'prefetch_related("{name}")', f"{model.__name__}.{name}", _label(type(instance)))
    except Exception:
        failed("explaining a repeated query")


def _explain_descriptor(frame: FrameType, function: str, owner: Any, reason: _Reason) -> None:
    instance = frame.f_locals.get("instance")
    if function == "get_object":
        field = owner.field
        relation, name = f"{field.model.__name__}.{field.name}", field.name
    elif function == "__get__" and hasattr(owner, "related"):
        name = owner.related.get_accessor_name()
        relation = f"{owner.related.model.__name__}.{name}"
    else:
        return
    reason.settle(f'select_related("{name}")', relation, _label(type(instance)))


def _explain_query(function: str, owner: Any, caller: str, reason: _Reason) -> None:
    if function not in _BY_METHOD and function not in _READS:
        return
    relation = _manager_relation(owner) if hasattr(owner, "_hints") else None
    if relation is not None:
        name, accessor, model = relation
        fix = {
            "count": f'annotate(Count("{accessor}"))',
            "exists": f'prefetch_related("{accessor}") or annotate(Exists(...))',
            "aggregate": "annotate(...)",
        }.get(function)
        if fix is None and function in ("create", "update", "delete"):
            fix = _BY_METHOD[function]
        elif fix is None and len(owner.query.where.children) > 1:
            fix = f'prefetch_related(Prefetch("{accessor}", queryset=...))'
        reason.settle(fix or f'prefetch_related("{accessor}")', f"{name}.{accessor}", model)
    elif function in _READS:
        if reason.queryset is None and hasattr(owner, "query"):
            reason.queryset = owner
    elif caller not in _LAZY_CALLERS and caller not in _BY_METHOD:
        reason.settle(_BY_METHOD[function])


def _explain_prefetch(frame: FrameType, reason: _Reason) -> None:
    """Of a list, or of a chunk of one: fine. A prefetch for each single instance is an N+1 of its own."""
    instances = frame.f_locals.get("instances") or ()
    if len(instances) > 1:
        reason.series = True
    elif instances and not reason.known:
        model = type(instances[0])
        name = str(getattr(frame.f_locals.get("lookup"), "prefetch_through", "")).split("__")[0]
        if name and hasattr(model, "_meta"):
            reason.settle(f'prefetch_related("{name}")', f"{model.__name__}.{name}", _label(model))


def _label(model: Any) -> str:
    return str(model._meta.concrete_model._meta.label)


def _is_page(query: Any) -> bool:
    """A slice of more than one row behind others: OFFSET, or a comparison with the last row of the page before. get() reads up to 21 rows."""
    if not query.is_sliced or query.high_mark is None or query.high_mark - query.low_mark < 2:
        return False
    return query.low_mark > 0 or any(
        getattr(child, "lookup_name", "") in ("gt", "gte", "lt", "lte") for child in query.where.children
    )


def _compared_field(query: Any) -> str:
    for child in query.where.children:
        target = getattr(getattr(child, "lhs", None), "target", None)
        if target is not None and getattr(child, "lookup_name", "") == "exact":
            return str(target.name)
    return ""


def _manager_relation(queryset: Any) -> Optional[tuple[str, str, str]]:
    """(model, accessor, model's label) when the queryset came from a related manager such as `author.books` or `book.tags`."""
    known = getattr(queryset, "_known_related_objects", None)
    if known:
        field = next(iter(known))
        model = field.related_model
        return model.__name__, field.remote_field.get_accessor_name(), _label(model)
    instance = getattr(queryset, "_hints", {}).get("instance")
    if instance is None:
        return None
    tables = set(queryset.query.alias_map) | {
        getattr(join, "table_name", "") for join in queryset.query.alias_map.values()
    }
    options = instance._meta
    for field in options.many_to_many:
        if field.related_model is queryset.model and field.remote_field.through._meta.db_table in tables:
            return type(instance).__name__, field.name, _label(type(instance))
    for related in options.related_objects:
        if (
            related.many_to_many
            and related.related_model is queryset.model
            and related.through._meta.db_table in tables
        ):
            return type(instance).__name__, related.get_accessor_name(), _label(type(instance))
    return None


def configure() -> None:
    """What the drivers' hooks need; the request hook adds what needs Django."""
    _native.configure_hooks(request_options, None, call_site, (), note_batch)
