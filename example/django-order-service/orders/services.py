"""Business logic. Works on models and knows nothing about requests."""

import os

import requests
from django.db import transaction
from django.db.models import Count, Q, Sum
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from .models import Order, OrderItem

tracer = trace.get_tracer(__name__)


class OrderService:
    @staticmethod
    def create_order_with_items(user, items_data):
        """One order for `items_data` (each: product, sku, quantity, price). Either everything is stored or nothing."""
        if not items_data:
            raise ValueError("an order needs at least one item")
        with transaction.atomic():
            order = Order.objects.create(
                user=user,
                product_name=items_data[0]["product"],
                amount=sum(item["quantity"] * item["price"] for item in items_data),
                status="pending",
            )
            OrderItem.objects.bulk_create(
                OrderItem(order=order, product_sku=item["sku"], quantity=item["quantity"], unit_price=item["price"])
                for item in items_data
            )
        return order

    @staticmethod
    def get_order_analytics(user_id):
        return Order.objects.filter(user_id=user_id).aggregate(total_orders=Count("id"), total_spent=Sum("amount"))

    @staticmethod
    def search_orders(query):
        matches = Q(product_name__icontains=query) | Q(status__icontains=query)
        return Order.objects.filter(matches).select_related("user").prefetch_related("items")


class PaymentError(Exception):
    """The gateway answered, but did not take the payment."""


class PaymentService:
    METHODS = ("credit_card", "debit_card", "paypal")

    @classmethod
    def process_payment(cls, order_id, payment_method):
        # An exception that leaves a span is recorded on it by OpenTelemetry itself, once, with the status ERROR.
        with tracer.start_as_current_span("process_payment") as span:
            span.set_attribute("order.id", order_id)
            span.set_attribute("payment.method", payment_method)
            order = Order.objects.get(id=order_id)
            span.set_attribute("payment.amount", float(order.amount))
            cls._validate_payment_method(payment_method)
            transaction_id = cls._charge_payment_gateway(order.amount, payment_method)
            span.set_attribute("payment.transaction_id", transaction_id)
            span.set_status(Status(StatusCode.OK))
            return {"success": True, "transaction_id": transaction_id}

    @classmethod
    def _validate_payment_method(cls, method):
        with tracer.start_as_current_span("validate_payment_method") as span:
            span.set_attribute("payment.method", method)
            if method not in cls.METHODS:
                raise ValueError(f"Invalid payment method: {method}")
            span.set_attribute("validation.result", "valid")

    @staticmethod
    def _charge_payment_gateway(amount, method):
        with tracer.start_as_current_span("payment_gateway.charge", kind=trace.SpanKind.CLIENT) as span:
            span.set_attribute("payment.amount", float(amount))
            span.set_attribute("payment.method", method)
            span.set_attribute("payment.gateway", "stripe")
            response = requests.post(
                os.getenv("PAYMENT_GATEWAY_URL", "https://api.stripe.com/v1/charges"),
                json={"amount": float(amount), "method": method},
                timeout=10,
            )
            span.set_attribute("http.status_code", response.status_code)
            if response.status_code != 200:
                raise PaymentError(f"the payment gateway answered {response.status_code}")
            transaction_id = response.json()["id"]
            span.set_attribute("payment.transaction_id", transaction_id)
            return transaction_id
