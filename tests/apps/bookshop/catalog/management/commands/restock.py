"""A command that ends in the way its option says."""

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--limit", type=int, default=10)
        parser.add_argument("--api-key", default="")
        parser.add_argument("--end", default="well")

    def handle(self, limit, end, **options):
        from catalog.models import Book

        Book.objects.count()
        if end == "nested":
            call_command("restock", limit=1)
        elif end == "error":
            raise CommandError("no such shelf", returncode=3)
        elif end == "exit":
            raise SystemExit(4)
        elif end == "interrupt":
            raise KeyboardInterrupt
        self.stdout.write(f"restocked {limit}")
