"""One middleware of every style that Django accepts."""

from django.http import HttpResponse
from django.utils.deprecation import MiddlewareMixin
from opentelemetry import trace


class ShelfMiddleware(MiddlewareMixin):
    def process_request(self, request):
        trace.get_current_span().set_attribute("shop.shelf", request.META.get("HTTP_X_SHELF", "none"))

    def process_view(self, request, view, args, kwargs):
        return None

    def process_template_response(self, request, response):
        return response

    def process_exception(self, request, exception):
        return None

    def process_response(self, request, response):
        trace.get_current_span().set_attribute("shop.status", response.status_code)
        return response


class CallableMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.headers.get("X-Short") == "1":
            return HttpResponse("short", status=202)
        return self.get_response(request)


def function_middleware(get_response):
    def middleware(request):
        response = get_response(request)
        response.headers["X-Function"] = "1"
        return response

    return middleware


class FaultMiddleware(MiddlewareMixin):
    def process_request(self, request):
        if request.headers.get("X-Fault") == "1":
            raise RuntimeError("the fault middleware was asked to fail")

    def process_response(self, request, response):
        return response


class AsyncOnlyMiddleware:
    """A coroutine middleware, for the ASGI test."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response):
        from asgiref.sync import markcoroutinefunction

        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        response = await self.get_response(request)
        response.headers["X-Async"] = "1"
        return response
