"""The Celery application. A worker (COMPAT_SPANS) writes its spans to that file, a line each."""

import json
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "compat_settings")

if os.environ.get("COMPAT_SPANS"):
    import nuages

    nuages.install()
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Lines(SpanExporter):
        def export(self, spans):
            with open(os.environ["COMPAT_SPANS"], "a") as file:
                for span in spans:
                    links = [f"{link.context.span_id:016x}" for link in span.links]
                    file.write(json.dumps([span.name, span.kind.name, dict(span.attributes), links]) + "\n")
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)

app = Celery("store")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
