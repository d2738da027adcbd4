# The Celery application must exist in every process that queues tasks: without it `.delay()` talks to Celery's default broker.
from .celery import app as celery_app

__all__ = ["celery_app"]
