"""manage.py work HOW: spans, and an end of the given kind."""

import os
import signal
import sys

import ledger
from django.core.management.base import BaseCommand, CommandError
from opentelemetry import trace

from shop.views import query

tracer = trace.get_tracer(__name__)


class Command(BaseCommand):
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("how")

    def handle(self, how, **options):
        with tracer.start_as_current_span("command"):
            ledger.note("manage.py work", "command", *["by hand", "SELECT"] * 20)
            for _ in range(20):
                with tracer.start_as_current_span("by hand"):
                    query()
            getattr(self, how)()

    def returns(self):
        return None

    def raises(self):
        raise RuntimeError("on purpose")

    def command_error(self):
        raise CommandError("on purpose")

    def exits(self):
        sys.exit(3)

    def interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
