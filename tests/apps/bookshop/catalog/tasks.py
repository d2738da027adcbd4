import os
import sys
import time

from celery import chain, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

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


@shared_task
def add(x, y):
    return x + y


@shared_task
def total(values):
    return sum(values)


@shared_task
def patient():
    """Meets its soft time limit."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "softly stopped"


@shared_task
def endless():
    """Meets its hard time limit."""
    time.sleep(60)


@shared_task
def leave(how):
    if how == "os._exit":
        os._exit(3)
    if how == "SystemExit":
        sys.exit(4)
    if how == "BaseException":
        raise BaseException("not an Exception")
    raise {"Ignore": Ignore, "Reject": Reject}[how]("on purpose")


@shared_task
def fan_out():
    chain(add.s(1, 2), add.s(3)).delay()
    return "sent"
