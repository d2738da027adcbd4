"""The project's own middleware: notes about the caller on the request's span, and a span for the view."""

from django.utils.deprecation import MiddlewareMixin
from opentelemetry import trace


class CustomHeaderMiddleware(MiddlewareMixin):
    """Needs `request.user`, so it stands after AuthenticationMiddleware."""

    def process_request(self, request):
        span = trace.get_current_span()
        span.set_attribute("http.custom_header", request.META.get("HTTP_X_CUSTOM", "none"))
        span.set_attribute("request.user.authenticated", request.user.is_authenticated)
        if request.user.is_authenticated:
            span.set_attribute("user.id", str(request.user.id))
            span.set_attribute("user.username", request.user.username)
        context = span.get_span_context()
        if context.is_valid:
            # META is the WSGI environ, from which gunicorn's access log takes the id (gunicorn.conf.py).
            request.META["trace_id"] = trace.format_trace_id(context.trace_id)

    def process_response(self, request, response):
        if not response.streaming:  # a streamed body has no length yet
            trace.get_current_span().set_attribute("http.response.content_length", len(response.content))
        return response


class PerformanceMonitoringMiddleware:
    """A span `view_execution` around everything below this middleware; as the last of MIDDLEWARE that is the view alone.

    Not in MIDDLEWARE by default: a tracing agent times views by itself.
    """

    def __init__(self, get_response):
        self.get_response = get_response
        self.tracer = trace.get_tracer(__name__)

    def __call__(self, request):
        with self.tracer.start_as_current_span("view_execution") as span:
            request.view_execution_span = span
            return self.get_response(request)

    def process_view(self, request, view_func, view_args, view_kwargs):
        # `as_view()` returns a function called `view`: the class is what identifies it.
        view = getattr(view_func, "view_class", None) or getattr(view_func, "cls", None) or view_func
        request.view_execution_span.set_attribute("view.name", view.__name__)
        request.view_execution_span.set_attribute("view.module", view.__module__)
