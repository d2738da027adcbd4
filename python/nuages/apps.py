"""The Django application: ``INSTALLED_APPS += ["nuages"]``."""

from __future__ import annotations

from django.apps import AppConfig


class NuagesConfig(AppConfig):  # type: ignore[misc]
    name = "nuages"
    verbose_name = "Nuages"
    default = True

    def ready(self) -> None:
        from django.core import checks

        from nuages import _install
        from nuages.checks import check_settings

        checks.register(check_settings, "nuages")
        _install.install(automatic=True)
        _install.django_ready()
