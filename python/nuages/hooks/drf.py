"""Django REST framework around the handler: `drf.authentication`, `drf.permissions`, `drf.object_permissions`, `drf.throttle`, `drf.filter`,
`drf.paginate`, `drf.parse`, `drf.exception` and `drf.render`, each where the framework does it; serializers have a hook of their own.

A request is authenticated when somebody first asks for its user, so that span is where the time went. What the framework answers with a 4xx
is noted on the span and is no error.
"""

from __future__ import annotations

from nuages import _native
from nuages.hooks import support

_patches = support.Patches()


def available() -> bool:
    return support.loaded("rest_framework.generics")


def install() -> None:
    from rest_framework import generics, request, response, views

    for owner, name, span in (
        (request.Request, "_authenticate", "drf.authentication"),
        (views.APIView, "check_permissions", "drf.permissions"),
        (views.APIView, "check_object_permissions", "drf.object_permissions"),
        (request.Request, "_parse", "drf.parse"),
        (generics.GenericAPIView, "paginate_queryset", "drf.paginate"),
        (response.Response, "rendered_content", "drf.render"),
    ):
        shape = _native.span_template(span, {"nuages.kind": "drf"})
        _patches.replace(owner, name, "span", shape)
    for owner, name, data in (
        (
            views.APIView,
            "check_throttles",
            support.part("drf.throttle", "drf", required="throttle_classes", fold=False),
        ),
        (
            generics.GenericAPIView,
            "filter_queryset",
            support.part("drf.filter", "drf", required="filter_backends", fold=False),
        ),
        (
            views.APIView,
            "handle_exception",
            support.part("drf.exception", "drf", argument_key="drf.exception", fold=False),
        ),
    ):
        _patches.replace(owner, name, "part", data)


def uninstall() -> None:
    _patches.undo()
