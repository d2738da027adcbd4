"""`"nuages.middleware.NuagesMiddleware"` in MIDDLEWARE: one more way to switch tracing on, as the first middleware is where people look for it.

Requests are traced by a hook around Django's handlers, whether or not the middleware is there, so it hands requests straight through and
costs nothing. `DjangoInstrumentor().instrument()` puts it first.
"""

from __future__ import annotations

from typing import Any

import nuages

PATH = "nuages.middleware.NuagesMiddleware"


def NuagesMiddleware(get_response: Any) -> Any:
    nuages.install()
    return get_response


NuagesMiddleware.sync_capable = NuagesMiddleware.async_capable = True  # type: ignore[attr-defined]
