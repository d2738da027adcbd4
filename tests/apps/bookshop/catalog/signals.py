"""A signal of the project's own, with receivers of every kind."""

from django.dispatch import Signal

restocked = Signal()
unheard = Signal()


def count_stock(sender, **kwargs):
    from catalog.models import Book

    return Book.objects.count()


def complain(sender, **kwargs):
    raise LookupError("no shelf")


def complain_softly(sender, **kwargs):
    pass


async def tell_later(sender, **kwargs):
    return "told"
