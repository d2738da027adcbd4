from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail
from opentelemetry import trace

from .models import Order

tracer = trace.get_tracer(__name__)

HIGH_VALUE = 1000
NEEDS_APPROVAL = 10000


@shared_task
def process_order(order_id):
    span = trace.get_current_span()
    span.set_attribute("order.id", order_id)
    order = Order.objects.select_related("user").get(id=order_id)
    if order.amount > HIGH_VALUE:
        validate_high_value_order(order)
    order.status = "processing"
    order.save(update_fields=["status"])
    send_order_confirmation_email(order)
    span.set_attribute("order.status", "completed")
    return {"order_id": order_id, "status": "processed"}


@shared_task
def send_order_confirmation_email(order):
    """Called as a function by process_order. A queued call has to pass the id: a model instance cannot be serialised."""
    if not isinstance(order, Order):
        order = Order.objects.select_related("user").get(id=order)
    with tracer.start_as_current_span("send_confirmation_email") as span:
        span.set_attribute("email.to", order.user.email)
        span.set_attribute("order.id", order.id)
        send_mail(
            subject=f"Order Confirmation - {order.id}",
            message=f"We have received your order of {order.product_name}.",
            from_email=settings.DEFAULT_FROM_EMAIL,
            recipient_list=[order.user.email],
        )


@shared_task
def process_pending_orders(limit=100):
    """For the beat schedule: queues what is still waiting, for example after a broker failure."""
    order_ids = list(Order.objects.filter(status="pending").order_by("id").values_list("id", flat=True)[:limit])
    for order_id in order_ids:
        process_order.delay(order_id)
    return {"queued": len(order_ids)}


def validate_high_value_order(order):
    with tracer.start_as_current_span("validate_high_value_order") as span:
        span.set_attribute("order.id", order.id)
        span.set_attribute("order.amount", float(order.amount))
        if order.amount > NEEDS_APPROVAL:
            span.set_attribute("validation.requires_approval", True)
        else:
            span.set_attribute("validation.auto_approved", True)
