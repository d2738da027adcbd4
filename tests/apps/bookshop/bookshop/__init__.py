"""The test project. The Celery application is loaded here, as Celery's own guide for Django asks."""

from .celery import app as celery_app

__all__ = ["celery_app"]
