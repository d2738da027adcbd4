from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("patient")
        parser.add_argument("--secret")
        parser.add_argument("--note")

    def handle(self, **options):
        from clinic import plant

        from records.models import Patient

        Patient.objects.filter(name=options["note"]).count()
        raise RuntimeError(f"not released: {plant('command exception')}")
