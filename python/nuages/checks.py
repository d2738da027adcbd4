"""Django system checks: ``manage.py check`` shows what is wrong with the configuration.

Warnings only (nuages.W001 bad value, W002 unknown name, W003 NUAGES is no dict): an error would keep ``runserver`` and ``migrate`` from
starting, and a tracing option is no reason for that.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning

from nuages import settings


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    return [Warning(problem.message, hint=problem.hint, id=f"nuages.{problem.id}") for problem in settings.problems()]
