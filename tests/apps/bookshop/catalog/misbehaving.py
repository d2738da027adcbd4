"""Middleware and views that break Django's rules, or only a reader's expectations."""

from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin


def returns_nothing(get_response):
    return lambda request: None


def is_nothing(get_response):
    return None


def redirecting(get_response):
    return lambda request: HttpResponseRedirect("/elsewhere/")


def exits(get_response):
    def middleware(request):
        raise SystemExit("the middleware leaves")

    return middleware


class NoResponse(MiddlewareMixin):
    def process_response(self, request, response):
        return None


class Slotted:
    __slots__ = ("get_response",)

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        return HttpResponse("by the slotted one")


class Unhashable:
    __hash__ = None

    def __init__(self, get_response):
        self.get_response = get_response

    def __eq__(self, other):
        return True

    def __call__(self, request):
        return self.get_response(request)


def refuses(get_response):
    from django.core.exceptions import MiddlewareNotUsed

    raise MiddlewareNotUsed("not here")


def keyboard(request):
    raise KeyboardInterrupt("the view stops everything")


def leaves(request):
    raise SystemExit(3)


class Unprintable(BaseException):
    def __str__(self):
        raise ValueError("no text")


def unprintable(request):
    raise Unprintable


def nothing(request):
    return None


def coroutine(request):
    async def later():
        return HttpResponse("later")

    return later()


def broken_stream(request):
    def rows():
        yield "first"
        raise LookupError("in the middle of the body")

    return StreamingHttpResponse(rows())


def strange_status(request):
    return HttpResponse("x", status=599)


urlpatterns = [
    path("keyboard/", keyboard),
    path("leaves/", leaves),
    path("unprintable/", unprintable),
    path("nothing/", nothing),
    path("coroutine/", coroutine),
    path("broken_stream/", broken_stream),
    path("strange_status/", strange_status),
    path("only/", lambda request: HttpResponse("only here")),
]
