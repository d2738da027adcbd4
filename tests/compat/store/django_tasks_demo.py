"""Tasks of Django's own framework; only imported where there is one."""

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

from store.models import Book


@task
def restock(book_id):
    return Book.objects.filter(id=book_id).update(stock=6)


@task
def explode():
    raise ValueError("loud")


@task
def leave():
    raise KeyboardInterrupt


@task(takes_context=True)
def attempts(context):
    return context.attempt
