"""The Celery application (`celery -A shop.tasks`) and its tasks."""

import os
import time

import ledger
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import trace

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from shop.tracing import initialize_module

initialize_module()
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
tracer = trace.get_tracer(__name__)


@app.task
def work(number):
    from shop.views import query

    ledger.note(*ledger.TASK)
    with tracer.start_as_current_span("by hand") as span:
        span.set_attribute("number", number)
        query()


@app.task(soft_time_limit=1)
def endless(number):
    ledger.note("shop.tasks.endless", "by hand")
    try:
        with tracer.start_as_current_span("by hand"):
            time.sleep(60)
    except SoftTimeLimitExceeded:
        return "stopped"
