import os

from celery import shared_task

from .models import Book


@shared_task
def restock(book_id):
    Book.objects.filter(id=book_id).update(stock=5)
    return os.getpid()


@shared_task
def explode(message):
    raise ValueError(message)


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def flaky(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return "ok"


@shared_task
def unserializable(value):
    return value


@shared_task(bind=True, max_retries=3, default_retry_delay=0)
def stubborn(self):
    if self.request.retries < 3:
        raise self.retry(countdown=0)
    return "ok"
