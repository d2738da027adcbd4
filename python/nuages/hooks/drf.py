"""Django REST framework around the handler: `drf.authentication`, `drf.permissions`, `drf.object_permissions`, `drf.throttle`, `drf.filter`,
`drf.paginate` and `drf.render`, each where the framework does it; serializers have a hook of their own.

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
    from rest_framework import generics, request, response, throttling, views

    for owner, name, span in (
        (request.Request, "_authenticate", "drf.authentication"),
        (views.APIView, "check_permissions", "drf.permissions"),
        (views.APIView, "check_object_permissions", "drf.object_permissions"),
        (throttling.SimpleRateThrottle, "allow_request", "drf.throttle"),
        (generics.GenericAPIView, "filter_queryset", "drf.filter"),
        (generics.GenericAPIView, "paginate_queryset", "drf.paginate"),
        (response.Response, "rendered_content", "drf.render"),
    ):
        shape = _native.span_template(span, {"nuages.kind": "drf"})
        _patches.replace(owner, name, "span", shape)


def uninstall() -> None:
    _patches.undo()
