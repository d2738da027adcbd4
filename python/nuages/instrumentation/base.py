"""What every instrumentor shares: one object per class, instrument(), uninstrument()."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Optional

from nuages import settings

logger = logging.getLogger("nuages")


class Instrumentor:
    """The public surface of the official BaseInstrumentor."""

    library = ""  # the distribution that it is about
    _instance: Optional[Instrumentor] = None
    _done = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls._instance is None or type(cls._instance) is not cls:
            cls._instance = super().__new__(cls)
        return cls._instance

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        return self._done

    def instrumentation_dependencies(self) -> Collection[str]:
        return (self.library,) if self.library else ()

    def instrument(self, **options: Any) -> None:
        from nuages import _fallback
        from nuages._install import install

        if (
            _fallback.problem() is not None
        ):  # and the official instrumentation package is not installed, else it had been found
            install()
            return
        try:
            self.apply(options)
            install()
            self.refresh()
        except Exception:
            logger.exception("%s.instrument() failed; the application is not affected", type(self).__name__)
            return
        logger.debug("%s.instrument(): %s", type(self).__name__, "again" if self._done else "done")
        type(self)._done = True

    def uninstrument(self, **options: Any) -> None:
        type(self)._done = False

    # ---- for subclasses

    def apply(self, options: Mapping[str, Any]) -> None:
        """Hands the options on; called again for every instrument(), because options given later count."""

    def refresh(self) -> None:
        """After the hooks are in."""


class DatabaseInstrumentor(Instrumentor):
    """Queries are traced by the hooks whether or not this is called (R4.04); the options are about sqlcommenter comments."""

    def apply(self, options: Mapping[str, Any]) -> None:
        if "enable_commenter" in options:
            settings.override(sql_commenter=bool(options["enable_commenter"]))
        chosen = options.get("commenter_options")
        if chosen:
            settings.override(commenter_options=dict(chosen))
            # The guide promises that this keeps parameter values out; in the official package it only drops the traceparent (R4.13).
            if chosen.get("opentelemetry_values") is False:
                settings.override(capture_parameters=False)

    def refresh(self) -> None:
        from nuages import hooks

        hooks.support.refresh()

    def instrument_connection(self, connection: Any, *args: Any, **options: Any) -> Any:
        """Every connection is traced: this one as it is."""
        self.instrument(**options)
        return connection

    def uninstrument_connection(self, connection: Any) -> Any:
        return connection


__all__ = ["DatabaseInstrumentor", "Instrumentor"]
