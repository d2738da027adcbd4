from django.core.management.base import BaseCommand
from opentelemetry import trace

from orders.models import Order
from orders.tasks import process_order

tracer = trace.get_tracer(__name__)


class Command(BaseCommand):
    help = "Queue the processing of pending orders."

    def add_arguments(self, parser):
        parser.add_argument("--limit", type=int, default=100, help="queue at most this many orders (default: 100)")
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args, **options):
        with tracer.start_as_current_span("management_command.process_pending_orders") as span:
            span.set_attribute("command.limit", options["limit"])
            span.set_attribute("command.dry_run", options["dry_run"])
            order_ids = list(
                Order.objects.filter(status="pending").order_by("id").values_list("id", flat=True)[: options["limit"]]
            )
            span.set_attribute("orders.pending_count", len(order_ids))
            if options["dry_run"]:
                span.set_attribute("command.result", "dry_run")
                self.stdout.write(f"[DRY RUN] Would process {len(order_ids)} orders")
                return
            failed = sum(not self.queue(order_id) for order_id in order_ids)
            span.set_attribute("orders.processed_count", len(order_ids) - failed)
            span.set_attribute("orders.failed_count", failed)
            self.stdout.write(self.style.SUCCESS(f"Processed {len(order_ids) - failed} orders, {failed} failed"))

    def queue(self, order_id):
        """One order that cannot be queued must not stop the others."""
        with tracer.start_as_current_span("process_single_order") as span:
            span.set_attribute("order.id", order_id)
            try:
                process_order.delay(order_id)
            except Exception as error:
                span.record_exception(error)
                span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
                return False
            span.set_status(trace.Status(trace.StatusCode.OK))
            return True
