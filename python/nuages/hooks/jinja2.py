"""Jinja2: one span per rendering of a template, through Django's backend or by itself. Includes are compiled into their template by Jinja2 and
have no call of their own.
"""

from __future__ import annotations

from typing import Any, Optional

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("jinja2")


def install() -> None:
    from jinja2 import Template

    _patches.replace(Template, "render", "template_render", "jinja2")
    _patches.put(Template, "render_async", support.awaiting(vars(Template)["render_async"], _before, _after))


def uninstall() -> None:
    _patches.undo()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = str(args[0].name or "<template>")
    attributes = {"nuages.kind": "template", "django.template.name": name, "django.template.engine": "jinja2"}
    return support.open_span("nuages.django", name, attributes)


def _after(opened: Any, result: Any, error: Optional[BaseException]) -> None:
    opened.close(error)
