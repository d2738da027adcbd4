from django.core.management.base import BaseCommand

from store.models import Book


class Command(BaseCommand):
    def handle(self, *args, **options):
        Book.objects.update(stock=7)
