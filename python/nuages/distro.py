"""`opentelemetry-instrument COMMAND` on the native SDK: what that command finds by its entry points.

It chooses one distro and one configurator among those installed (OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR name them), then runs every
installed instrumentor. With opentelemetry-distro beside nuages and neither variable set its choice is arbitrary; `pre_instrument` makes the
outcome native either way. OTEL_PYTHON_DISTRO=distro keeps the official SDK.
"""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.sdk._configuration import _OTelSDKConfigurator

try:
    from opentelemetry.instrumentation.distro import BaseDistro
except ImportError:  # only the command itself asks for a distro, and brings the package
    BaseDistro = object


def wanted() -> bool:
    """Whether the user left the choice open, or chose nuages."""
    distro = os.environ.get("OTEL_PYTHON_DISTRO", "").strip()
    return distro in ("", "nuages") or os.environ.get("OTEL_PYTHON_CONFIGURATOR", "").strip() == "nuages"


def _install() -> None:
    from nuages._install import install

    install()


class Distro(BaseDistro):  # type: ignore[misc]
    def _configure(self, **kwargs: Any) -> None:
        # Metrics and logs stay off unless the environment names an exporter for them: that one is Python code.
        os.environ.setdefault("OTEL_TRACES_EXPORTER", "otlp")
        _install()


class Configurator(_OTelSDKConfigurator):  # type: ignore[misc]
    """The SDK's own, which takes the SDK's names: native ones after install()."""

    def _configure(self, **kwargs: Any) -> None:
        if wanted():
            _install()
        super()._configure(**kwargs)


def pre_instrument() -> None:
    """Runs after any configurator and before the instrumentors; adopts the provider that another one has set."""
    if wanted():
        _install()


def tracer_provider() -> Any:
    """OTEL_PYTHON_TRACER_PROVIDER=nuages: a provider as the other variables want it."""
    from nuages import _fallback, _install

    _install.install()
    if _fallback.problem() is not None:
        from opentelemetry.sdk.trace import TracerProvider

        return TracerProvider()
    return _install.make_provider()


def __getattr__(name: str) -> Any:
    """The exporters by their entry points: the class that their official import path gives now, so that a process that does not use nuages
    gets the official one where that is installed."""
    from nuages import _import

    modules = {name.split(".")[4]: name for name in _import.EXPORTERS}
    wanted_protocol = {"GrpcSpanExporter": "grpc", "HttpSpanExporter": "http"}.get(name)
    if wanted_protocol is None:
        raise AttributeError(f"module 'nuages.distro' has no attribute {name!r}")
    return _import.served(modules[wanted_protocol]).OTLPSpanExporter
