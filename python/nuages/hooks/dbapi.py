"""The official database instrumentations step aside: connections that they opened before us, or `dbapi.wrap_connect()` called by hand, would
tell each query a second time. Drivers that we do not hook stay theirs.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from nuages import settings
from nuages.hooks import driver, support

logger = logging.getLogger("nuages")

_patches = support.Patches()
_MODULES = {"MySQLdb": "mysqlclient"}
_said: set[str] = set()


def available() -> bool:
    return support.loaded("opentelemetry.instrumentation.dbapi")


def install() -> None:
    from opentelemetry.instrumentation import dbapi

    for name, make in (("traced_execution", _sync), ("traced_execution_async", _async)):
        if name in vars(dbapi.CursorTracer):
            _patches.put(dbapi.CursorTracer, name, make(vars(dbapi.CursorTracer)[name]))


def uninstall() -> None:
    _patches.undo()


def _sync(original: Any) -> Any:
    @functools.wraps(original)
    def traced_execution(self: Any, cursor: Any, query_method: Any, *args: Any, **kwargs: Any) -> Any:
        if support.enabled(traced_execution) and _ours(self):
            return query_method(*args, **kwargs)
        return original(self, cursor, query_method, *args, **kwargs)

    return support.shim(traced_execution)


def _async(original: Any) -> Any:
    @functools.wraps(original)
    async def traced_execution_async(self: Any, cursor: Any, query_method: Any, *args: Any, **kwargs: Any) -> Any:
        if support.enabled(traced_execution_async) and _ours(self):
            return await query_method(*args, **kwargs)
        return await original(self, cursor, query_method, *args, **kwargs)

    return support.shim(traced_execution_async)


def _ours(tracer: Any) -> bool:
    try:
        module = str(tracer._connect_module.__name__).partition(".")[0]
        name = _MODULES.get(module, module)
        if not driver.hooked(name):
            return False
        if name not in _said:
            _said.add(name)
            logger.info("the official instrumentation of %s steps aside: nuages tells its queries", module)
            if tracer._commenter_enabled and not settings.get("sql_commenter"):
                settings.override(sql_commenter=True, commenter_options=dict(tracer._commenter_options))
                support.refresh()
    except Exception:
        support.failed("asking whose query it is")
        return False
    return True
