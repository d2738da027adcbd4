"""Nuages: native OpenTelemetry for Django.

Any one of these makes a process traced: ``"nuages"`` in INSTALLED_APPS, ``import nuages.auto`` as a first line, ``nuages run COMMAND`` or
``NUAGES_AUTO=1``. Programs then use opentelemetry's own API.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "count_queries", "detect_n_plus_one", "install", "pause", "resume"]


def install(**values: Any) -> None:
    """Makes this process traced; idempotent. Keyword arguments are settings, for example ``install(masking="gdpr")``."""
    from nuages._install import install as install_now

    install_now(**values)


def pause() -> None:
    """Stops all recording in this process until `resume()`: no span starts, none that ends is sent."""
    _set_paused(True)


def resume() -> None:
    _set_paused(False)


def _set_paused(paused: bool) -> None:
    from nuages import _fallback

    if _fallback.problem() is None:  # without the native core the official SDK records, which knows no such switch
        from nuages import _native

        _native.set_paused(paused)


def __getattr__(name: str) -> Any:
    if name in ("count_queries", "detect_n_plus_one"):
        from nuages import n_plus_one

        return getattr(n_plus_one, name)
    if name == "default_app_config":  # Django asks before 3.2; a newer one warns when it is there
        import django

        if django.VERSION < (3, 2):
            return "nuages.apps.NuagesConfig"
    raise AttributeError(f"module 'nuages' has no attribute {name!r}")
