"""The Celery application. Each pool process starts tracing for itself, because exporters do not survive a fork."""

import os

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Celery("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def start_tracing(**kwargs):
    from myproject.tracing import initialize_tracing

    initialize_tracing()
    print("OpenTelemetry initialized in Celery worker", flush=True)


@worker_process_shutdown.connect
def stop_tracing(**kwargs):
    """Sends what is still queued. The API's placeholder provider (tracing never started) has no shutdown method."""
    from opentelemetry import trace

    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        shutdown()
