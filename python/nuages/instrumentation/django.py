"""`DjangoInstrumentor` over nuages' request, middleware, view, ORM and template hooks."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from nuages import settings
from nuages.instrumentation.base import Instrumentor

__all__ = ["DjangoInstrumentor"]

logger = logging.getLogger("nuages")


class DjangoInstrumentor(Instrumentor):
    library = "django"
    _position: Any = None  # where in MIDDLEWARE; None: not asked to be there

    def apply(self, options: Mapping[str, Any]) -> None:
        from nuages import hooks

        excluded = options.get("excluded_urls")
        if excluded is not None:
            settings.override(excluded_urls=excluded)
        if "is_sql_commentor_enabled" in options:  # the official package's spelling
            settings.override(sql_commenter=bool(options["is_sql_commentor_enabled"]))
        if "request_hook" in options or "response_hook" in options:
            hooks.set_request_hooks(options.get("request_hook"), options.get("response_hook"))

        position: Any = options.get("middleware_position")
        if position is None:
            position = os.environ.get("OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION", 0)
        try:
            type(self)._position = int(position)
        except (TypeError, ValueError):
            logger.error("the middleware position %r is not a whole number; using 0, the first", position)
            type(self)._position = 0

    def refresh(self) -> None:
        from nuages import hooks

        hooks.support.refresh()
        self.put_into_middleware()
        settings.when_django_settings_load(self.put_into_middleware)

    def uninstrument(self, **options: Any) -> None:
        from nuages.middleware import PATH

        type(self)._position = None
        django = settings.django_settings()
        middleware = getattr(django, "MIDDLEWARE", None)
        if isinstance(middleware, (list, tuple)) and PATH in middleware:
            django.MIDDLEWARE = type(middleware)(path for path in middleware if path != PATH)
        super().uninstrument(**options)

    def put_into_middleware(self) -> None:
        """Once, and only when Django's settings are there already; a list stays a list, a tuple a tuple."""
        from nuages.middleware import PATH

        django = settings.django_settings()
        middleware = getattr(django, "MIDDLEWARE", None)
        if self._position is None or not isinstance(middleware, (list, tuple)) or PATH in middleware:
            return
        changed = list(middleware)
        changed.insert(self._position, PATH)
        django.MIDDLEWARE = type(middleware)(changed)
