"""Celery application of the test project; every option comes from Django's settings.

BOOKSHOP_TRACING says when a worker initialises tracing: `early`, when this module is imported, or `late`, in each pool process after its tasks
have been built, as the guide does it.
"""

import os

from celery import Celery
from celery.signals import worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")

app = Celery("bookshop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def initialize_tracing(**_):
    import nuages

    nuages.install()
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=200))
    trace.set_tracer_provider(provider)


if os.environ.get("BOOKSHOP_TRACING") == "early":
    initialize_tracing()
elif os.environ.get("BOOKSHOP_TRACING") == "late":
    worker_process_init.connect(initialize_tracing, weak=False)
