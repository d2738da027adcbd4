"""Headers of requests and responses on the SERVER span, where OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST or _RESPONSE name them.

The names are comma lists of names or regular expressions, without regard to case, and the attributes are those of the official instrumentation:
`http.request.header.x_tenant`, a list of values. What OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS names shows no value.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Optional

_VARIABLE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"


def _pattern(variable: str, report: Callable[[str], None]) -> Optional[re.Pattern[str]]:
    names = [name.strip() for name in os.environ.get(_VARIABLE + variable, "").split(",") if name.strip()]
    if not names:
        return None
    try:
        return re.compile("|".join(f"(?:{name})" for name in names), re.IGNORECASE)
    except re.error as error:
        report(f"{_VARIABLE}{variable} is not a list of header names or regular expressions ({error}); it is ignored")
        return None


def capture(report: Callable[[str], None]) -> Optional[Callable[[Any, Any, Any], None]]:
    """(span, request, response) -> None as the environment has it now; None where no header is wanted."""
    asked, answered = _pattern("SERVER_REQUEST", report), _pattern("SERVER_RESPONSE", report)
    secret = _pattern("SANITIZE_FIELDS", report)
    if asked is None and answered is None:
        return None

    def note(span: Any, kind: str, name: str, value: Any) -> None:
        hidden = secret is not None and secret.fullmatch(name)
        shown = "[REDACTED]" if hidden else str(value)
        span.set_attribute(f"http.{kind}.header.{name.lower().replace('-', '_')}", [shown])

    def note_headers(span: Any, request: Any, response: Any) -> None:
        for key, value in list(request.META.items()) if asked is not None else ():
            name = key[5:] if key.startswith("HTTP_") else key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else ""
            name = name.replace("_", "-").lower()
            if name and asked is not None and asked.fullmatch(name) and value != "":
                note(span, "request", name, value)
        for name, value in list(response.items()) if answered is not None else ():
            if answered is not None and answered.fullmatch(name):
                note(span, "response", name, value)

    return note_headers
