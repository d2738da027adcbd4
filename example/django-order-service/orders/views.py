import time
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views import View
from django.views.decorators.http import require_GET
from opentelemetry import trace
from rest_framework import viewsets

from .models import Order
from .serializers import OrderDetailSerializer, OrderSerializer
from .tasks import process_order
from .utils import detect_n_plus_one

tracer = trace.get_tracer(__name__)


@require_GET
def order_list(request):
    orders = Order.objects.select_related("user").order_by("id")
    data = [{"id": order.id, "product": order.product_name, "amount": str(order.amount)} for order in orders]
    return JsonResponse({"orders": data})


def order_detail(request, order_id):
    order = get_object_or_404(Order, id=order_id)
    return JsonResponse(
        {"id": order.id, "product": order.product_name, "amount": str(order.amount), "status": order.status}
    )


class OrderCreateView(View):
    """A form post by a signed-in user."""

    def post(self, request):
        if not request.user.is_authenticated:
            return JsonResponse({"error": "sign in to create an order"}, status=401)
        product = request.POST.get("product", "").strip()
        try:
            amount = Decimal(request.POST.get("amount", ""))
        except InvalidOperation:
            amount = None
        if not product or amount is None or not amount.is_finite() or not 0 < amount < 10**8:
            return JsonResponse({"error": "a product and an amount above zero are needed"}, status=400)
        order = Order.objects.create(user_id=request.user.id, product_name=product, amount=amount, status="pending")
        return JsonResponse({"id": order.id, "status": "created"}, status=201)


class OrderViewSet(viewsets.ModelViewSet):
    queryset = Order.objects.order_by("id")

    def get_serializer_class(self):
        return OrderDetailSerializer if self.action in ("list", "retrieve") else OrderSerializer

    def get_queryset(self):
        return super().get_queryset().select_related("user").prefetch_related("items")

    def perform_create(self, serializer):
        order = serializer.save(user=self.request.user)
        process_order.delay(order.id)


def order_list_html(request):
    orders = Order.objects.select_related("user").order_by("id")
    return render(request, "orders/list.html", {"orders": orders, "title": "Order list"})


def order_detail_html(request, order_id):
    order = get_object_or_404(Order, id=order_id)
    return render(request, "orders/detail.html", {"order": order})


@require_GET
def order_slow(request):
    """Slow on purpose: the trace has to show where the time goes."""
    recent = list(Order.get_recent_orders(limit=5))
    with tracer.start_as_current_span("warehouse.check_stock") as span:
        span.set_attribute("orders.checked", len(recent))
        time.sleep(settings.SLOW_VIEW_SECONDS)
    return JsonResponse({"checked": [order.id for order in recent]})


@require_GET
@detect_n_plus_one
def get_all_orders_with_users(request):
    """Wrong on purpose: without select_related every order costs one more query for its user."""
    orders = Order.objects.order_by("id")
    buyers = set()
    for order in orders:
        buyers.add(order.user.username)
    return JsonResponse({"count": len(orders), "buyers": sorted(buyers)})


@require_GET
@detect_n_plus_one
def get_all_orders_with_users_optimized(request):
    """The same answer with one query."""
    orders = Order.objects.select_related("user").order_by("id")
    buyers = {order.user.username for order in orders}
    return JsonResponse({"count": len(orders), "buyers": sorted(buyers)})
