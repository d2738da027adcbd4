"""A small client of nuages-server's JSON API (docs/openapi.yaml)."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Json = dict[str, Any]


class ApiError(Exception):
    """The API answered with an error, or not at all."""


class Api:
    def __init__(self, base: str) -> None:
        self.base = base

    def traces(self, **filters: str | int) -> list[Json]:
        return self._json("/api/v1/traces", limit=500, **filters)["traces"]

    def trace(self, trace_id: str, follow: bool = False) -> Json:
        return self._json(f"/api/v1/traces/{trace_id}", **({"follow": "true"} if follow else {}))

    def tree(self, trace_id: str, layout: str = "guide") -> str:
        return self._get(f"/api/v1/traces/{trace_id}/tree", layout=layout, follow="true").decode()

    def _json(self, path: str, **query: str | int) -> Json:
        return json.loads(self._get(path, **query))

    def _get(self, path: str, **query: str | int) -> bytes:
        url = f"{self.base}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise ApiError(f"GET {url}: {error.code} {error.read()[:300].decode(errors='replace')}") from None
        except OSError as error:
            raise ApiError(f"GET {url}: {error}") from None


def poll(attempt: Callable[[], T | None], what: str, timeout: float, alive: Callable[[], None]) -> T:
    """Repeats `attempt` until it returns something. The store is asked, since it has no event for "this trace is whole"."""
    deadline = time.monotonic() + timeout
    problem = ""
    while True:
        alive()
        try:
            result = attempt()
            if result is not None:
                return result
        except ApiError as error:
            problem = f" (last answer: {error})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not seen within {timeout:.0f} s{problem}")
        time.sleep(0.2)
