"""The import finder: serves names we replace and tells when a library we care about has been imported.

Kept tiny, because the `.pth` file loads it at every interpreter start when NUAGES_AUTO is set: it imports only the standard library's import
machinery. Two jobs:

- *served names*: `opentelemetry.exporter.otlp.proto.grpc.trace_exporter` and the instrumentor modules resolve to modules of ours, whether or
  not the official packages are installed. Parents that exist nowhere are made up as empty packages. Nothing is written into `opentelemetry/`.
- *watched names*: callbacks that run right after a module was executed, for example to hook Django the moment it is there.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Callable, Optional

_OTLP = "opentelemetry.exporter.otlp.proto"
_INSTRUMENTATION = "opentelemetry.instrumentation"

EXPORTERS = {
    f"{_OTLP}.grpc.trace_exporter": "nuages.sdk.otlp_grpc",
    f"{_OTLP}.http.trace_exporter": "nuages.sdk.otlp_http",
}
INSTRUMENTORS = {
    f"{_INSTRUMENTATION}.{name}": f"nuages.instrumentation.{name}"
    for name in ("django", "psycopg", "psycopg2", "pymysql", "mysqlclient", "sqlite3", "redis", "celery")
}

OPENTELEMETRY_TRIGGERS = frozenset({"opentelemetry.trace", "opentelemetry.sdk.trace"})
TRIGGERS = ("django", "celery", *OPENTELEMETRY_TRIGGERS)

Callback = Callable[[ModuleType], None]


class ServedLoader:
    """Executes a module whose namespace is that of one of ours; the module object itself is the one import made."""

    def __init__(self, target: str) -> None:
        self.target = target

    def create_module(self, spec: Any) -> Optional[ModuleType]:
        return None

    def exec_module(self, module: ModuleType) -> None:
        source = importlib.import_module(self.target)
        names = getattr(source, "__all__", None) or [name for name in vars(source) if not name.startswith("_")]
        for name in names:
            setattr(module, name, getattr(source, name))
        module.__doc__ = source.__doc__
        setattr(module, "__nuages__", True)  # noqa: B010 - ModuleType has no such attribute for mypy


class EmptyPackageLoader:
    """A parent package that no installed distribution provides."""

    def create_module(self, spec: Any) -> Optional[ModuleType]:
        return None

    def exec_module(self, module: ModuleType) -> None:
        return None


class Finder:
    """First on sys.meta_path for the names it knows; None for everything else, at the cost of two dictionary lookups."""

    def __init__(self) -> None:
        self.served: dict[str, str] = {}
        self.parents: set[str] = set()
        self.watched: dict[str, list[Callback]] = {}
        # watched modules whose body has run: importlib itself notes that only after our callbacks
        self.executed: set[str] = set()
        self._settling: Optional[Callable[[], None]] = None
        self._depth = threading.local()

    def serve(self, names: dict[str, str]) -> None:
        self.served.update(names)
        for name in names:
            parts = name.split(".")
            # the namespace package `opentelemetry` itself always exists: opentelemetry-api is a dependency
            self.parents.update(".".join(parts[:end]) for end in range(2, len(parts)))

    def watch(self, name: str, callback: Callback) -> None:
        """Runs callback(module) once after the module is imported; at once when it is there already."""
        module = sys.modules.get(name)
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            callback(module)
            return
        self.watched.setdefault(name, []).append(callback)

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Runs callback() once, as soon as no `opentelemetry.*` module is in the middle of its import in this thread: our own classes
        import the SDK, and must not do so while it is half there."""
        if getattr(self._depth, "value", 0) == 0 and not _importing_opentelemetry():
            callback()
        else:
            self._settling = callback

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None) -> Any:
        if name in self.served:
            return self._find_served(name, path)
        if name in self.parents:
            return self._find_parent(name, path)
        if name in self.watched or (name.startswith("opentelemetry.") and self._pending()):
            return self._find_watched(name, path)
        return None

    def _pending(self) -> bool:
        return self._settling is not None or bool(self.watched.keys() & OPENTELEMETRY_TRIGGERS)

    def _find_elsewhere(self, name: str, path: Optional[Sequence[str]]) -> Any:
        for finder in list(sys.meta_path):
            if finder is self:
                continue
            find = getattr(finder, "find_spec", None)
            spec = find(name, path) if find is not None else None
            if spec is not None:
                return spec
        return None

    def _find_served(self, name: str, path: Optional[Sequence[str]]) -> Any:
        from nuages import _fallback

        target = self.served[name]
        if _fallback.problem() is not None:
            spec = self._find_elsewhere(name, path)
            if spec is not None:
                return spec
            if name in EXPORTERS:
                target = "nuages._fallback_exporter"
        return importlib.machinery.ModuleSpec(name, ServedLoader(target), origin="nuages")  # type: ignore[arg-type]

    def _find_parent(self, name: str, path: Optional[Sequence[str]]) -> Any:
        spec = self._find_elsewhere(name, path)
        if spec is not None:
            return spec
        return importlib.machinery.ModuleSpec(name, EmptyPackageLoader(), origin="nuages", is_package=True)  # type: ignore[arg-type]

    def _find_watched(self, name: str, path: Optional[Sequence[str]]) -> Any:
        spec = self._find_elsewhere(name, path)
        loader = getattr(spec, "loader", None)
        if spec is None or loader is None or not hasattr(loader, "exec_module"):
            return spec
        original = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # The loader object stays the library's own, so module.__loader__, inspect and importlib.resources see nothing new.
            try:
                del loader.exec_module
            except AttributeError:
                pass
            self._depth.value = getattr(self._depth, "value", 0) + 1
            try:
                original(module)
            finally:
                self._depth.value -= 1
            self._imported(name, module)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader without a __dict__: the callbacks run at the next explicit check
            return spec
        return spec

    def _imported(self, name: str, module: ModuleType) -> None:
        self.executed.add(name)
        for callback in self.watched.pop(name, ()):
            try:
                callback(module)
            except Exception:
                _log_failure(name)
        if self._settling is not None and self._depth.value == 0:
            settled, self._settling = self._settling, None
            settled()


def _importing_opentelemetry() -> bool:
    return any(
        name.startswith("opentelemetry.") and getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
    )


def _log_failure(name: str) -> None:
    import logging

    logging.getLogger("nuages").exception("nuages could not prepare %s; it stays untraced", name)


_finder: Optional[Finder] = None
_lock = threading.Lock()


def finder() -> Finder:
    """The process's one finder, put on sys.meta_path at the first call."""
    global _finder
    with _lock:
        if _finder is None:
            _finder = Finder()
            sys.meta_path.insert(0, _finder)
        return _finder


def is_loaded(name: str) -> bool:
    """The module is imported and its body has run to the end; true in its own watchers too."""
    module = sys.modules.get(name)
    if module is None:
        return False
    if _finder is not None and name in _finder.executed:
        return True
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


def served(name: str) -> ModuleType:
    """The module that `import name` gives in this process: ours where we serve it, else the official one, else the one we would serve."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith(str(error.name)):
            raise
        return importlib.import_module({**EXPORTERS, **INSTRUMENTORS}[name])


def official_module(name: str, alias: str) -> ModuleType:
    """Loads the official module behind a served name, under another name; ImportError when it is not installed."""
    if alias in sys.modules:
        return sys.modules[alias]
    parent = name.rpartition(".")[0]
    package = importlib.import_module(parent)
    for other in sys.meta_path:
        if isinstance(other, Finder):
            continue
        find = getattr(other, "find_spec", None)
        spec = find(name, getattr(package, "__path__", None)) if find is not None else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            sys.modules[alias] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(alias, None)
                raise
            return module
    raise ImportError(f"{name} is not installed", name=name)


def start() -> None:
    """What the `.pth` file calls when NUAGES_AUTO or OTEL_PYTHON_DJANGO_INSTRUMENT is set: only the finder, nothing heavy."""
    import os

    words = [os.environ.get(name, "").strip().lower() for name in ("NUAGES_AUTO", "OTEL_PYTHON_DJANGO_INSTRUMENT")]
    if any(word in {"1", "true", "yes", "on"} for word in words):
        install_when_needed()


def install_when_needed() -> None:
    """Installs with an automatic provider as soon as there is something to trace: Django, Celery or OpenTelemetry's API. A process
    that imports none of them pays for nothing."""
    import os

    found = finder()
    hooks = os.environ.get("NUAGES_HOOKS", "").lower()
    serve_names(found, instrumentors="none" not in [word.strip() for word in hooks.split(",")])

    def appeared(module: ModuleType) -> None:
        for name, callbacks in list(found.watched.items()):
            if appeared in callbacks:
                callbacks.remove(appeared)
            if not callbacks:
                found.watched.pop(name, None)
        found.when_settled(install)

    def install() -> None:
        from nuages._install import install as install_now

        install_now(automatic=True)

    if any(name in sys.modules for name in TRIGGERS):
        found.when_settled(install)
        return
    for name in TRIGGERS:
        found.watch(name, appeared)


def serve_names(found: Finder, instrumentors: bool = True) -> None:
    found.serve(EXPORTERS)
    if instrumentors:
        found.serve(INSTRUMENTORS)
