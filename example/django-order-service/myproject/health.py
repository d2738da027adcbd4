"""Probes. Health and liveness say that the process answers and touch nothing else; readiness tries the database and the broker."""

import os

from django.conf import settings
from django.db import connection
from django.http import JsonResponse

from myproject.celery import app as celery_app


def health(request):
    return JsonResponse({"status": "ok"})


def readiness(request):
    failures = {}
    for name, probe in (("database", _probe_database), ("broker", _probe_broker)):
        try:
            probe()
        except Exception as error:
            failures[name] = type(error).__name__
    if failures:
        return JsonResponse({"status": "unavailable", "failures": failures}, status=503)
    return JsonResponse({"status": "ready"})


def _probe_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def _probe_broker():
    if settings.CELERY_BROKER_URL.startswith("filesystem:"):
        # This transport has nothing to connect to: what can be missing is the folder.
        os.listdir(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_out"])
        return
    with celery_app.connection_for_write(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=0, timeout=2)
