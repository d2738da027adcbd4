"""`DjangoInstrumentor` over nuages' request, middleware, view, ORM and template hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nuages import settings
from nuages.instrumentation.base import Instrumentor

__all__ = ["DjangoInstrumentor"]


class DjangoInstrumentor(Instrumentor):
    library = "django"

    def apply(self, options: Mapping[str, Any]) -> None:
        from nuages import hooks

        excluded = options.get("excluded_urls")
        if excluded is not None:
            settings.override(excluded_urls=excluded)
        if "is_sql_commentor_enabled" in options:  # the official package's spelling
            settings.override(sql_commenter=bool(options["is_sql_commentor_enabled"]))
        if "request_hook" in options or "response_hook" in options:
            hooks.set_request_hooks(options.get("request_hook"), options.get("response_hook"))

    def refresh(self) -> None:
        from nuages import hooks

        hooks.support.refresh()
