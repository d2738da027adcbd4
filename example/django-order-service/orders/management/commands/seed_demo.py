from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from orders.models import Order
from orders.services import OrderService

PRODUCTS = (("Widget", "19.90"), ("Gadget", "149.00"), ("Sprocket", "4.25"), ("Flange", "32.10"), ("Gearbox", "890.00"))


class Command(BaseCommand):
    help = "Fill the database with users and orders to look at. Running it again adds only what is missing."

    def add_arguments(self, parser):
        parser.add_argument("--users", type=int, default=10)
        parser.add_argument("--orders", type=int, default=40)

    @transaction.atomic
    def handle(self, *args, **options):
        users = [self.demo_user(), *(self.user(f"customer{i}") for i in range(1, options["users"]))]
        existing = Order.objects.count()
        for i in range(existing, options["orders"]):
            OrderService.create_order_with_items(users[i % len(users)], self.items(i))
        created = max(0, options["orders"] - existing)
        self.stdout.write(f"{len(users)} users, {existing + created} orders ({created} new)")

    def demo_user(self):
        """The owner of the orders that come without credentials (orders/authentication.py)."""
        user = User.objects.filter(id=settings.DEMO_USER_ID or None).first()
        return user or self.user("demo")

    def user(self, name):
        user = User.objects.filter(username=name).first()
        return user or User.objects.create_user(name, email=f"{name}@example.com")

    def items(self, i):
        chosen = [PRODUCTS[(i + offset) % len(PRODUCTS)] for offset in range(1 + i % 3)]
        return [
            {"product": name, "sku": f"{name.upper()}-{i}", "quantity": 1 + (i + n) % 3, "price": Decimal(price)}
            for n, (name, price) in enumerate(chosen)
        ]
