"""Templates: one span per rendering, named after the template. Includes go through `render()`, parents of `{% extends %}` through `_render()`;
the native hooks know when the second is only the first at work. `{% block %}` is a span as well, `block content`."""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django")


def install() -> None:
    from django.template.base import Template
    from django.template.loader_tags import BlockNode

    _patches.replace(Template, "render", "template_render")
    _patches.replace(Template, "_render", "template_body")
    _patches.replace(BlockNode, "render", "template_block")


def uninstall() -> None:
    _patches.undo()
