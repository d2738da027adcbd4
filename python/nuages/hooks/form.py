"""Forms: `form.full_clean` (validation, asked for by `is_valid()` or `errors`) and `form.save` of forms and formsets, with the class."""

from __future__ import annotations

from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("django.forms.models")


def install() -> None:
    from django.forms import forms, formsets, models

    for owner, name in (
        (forms.BaseForm, "full_clean"),
        (formsets.BaseFormSet, "full_clean"),
        (models.BaseModelForm, "save"),
        (models.BaseModelFormSet, "save"),
    ):
        _patches.replace(owner, name, "part", support.part(f"form.{name}", "form", "django.form"))


def uninstall() -> None:
    _patches.undo()
