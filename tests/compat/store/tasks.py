from celery import shared_task

from store.models import Book


@shared_task
def restock(book_id):
    return Book.objects.filter(id=book_id).update(stock=5)


@shared_task
def explode():
    raise ValueError("loud")


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def flaky(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@shared_task
def titles():
    """Loads its authors one by one."""
    return [book.author.name for book in Book.objects.order_by("id")]
