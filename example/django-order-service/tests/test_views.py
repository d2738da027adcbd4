"""Plain Django views, pages and probes."""

from unittest import mock

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError
from django.test import TestCase, modify_settings, override_settings
from orders.models import Order
from orders.services import OrderService


@override_settings(ALLOWED_HOSTS=["testserver"], SLOW_VIEW_SECONDS=0)
class ViewTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        call_command("seed_demo", users=4, orders=8, stdout=mock.Mock())
        cls.order = Order.objects.first()

    def test_list_is_one_query(self):
        with self.assertNumQueries(1):
            orders = self.client.get("/orders/").json()["orders"]
        self.assertEqual(len(orders), 8)
        self.assertEqual(self.client.post("/orders/").status_code, 405)

    def test_detail(self):
        found = self.client.get(f"/orders/{self.order.id}/").json()
        self.assertEqual((found["id"], found["status"]), (self.order.id, "pending"))
        self.assertEqual(self.client.get("/orders/999999/").status_code, 404)

    def test_create_needs_a_user_and_valid_input(self):
        form = {"product": "Widget", "amount": "12.50"}
        self.assertEqual(self.client.post("/orders/create/", form).status_code, 401)
        self.client.force_login(User.objects.get(username="customer1"))
        response = self.client.post("/orders/create/", form)
        self.assertEqual(response.status_code, 201)
        self.assertEqual(str(Order.objects.get(id=response.json()["id"]).amount), "12.50")
        for bad in ({"product": "Widget"}, {"amount": "1"}, {**form, "amount": "NaN"}, {**form, "amount": "1e9"}):
            self.assertEqual(self.client.post("/orders/create/", bad).status_code, 400, bad)

    def test_pages(self):
        page = self.client.get("/orders/html/")
        self.assertContains(page, "<h1>Order list</h1>", html=True)
        self.assertContains(page, self.order.product_name)
        page = self.client.get(f"/orders/{self.order.id}/html/")
        names = [template.name for template in page.templates]
        self.assertEqual(
            names, ["orders/detail.html", "orders/includes/order_summary.html", "orders/includes/order_items.html"]
        )
        self.assertContains(page, self.order.items.first().product_sku)

    def test_slow(self):
        self.assertEqual(len(self.client.get("/orders/slow/").json()["checked"]), 5)

    def test_the_loop_costs_a_query_per_order_and_the_join_one(self):
        with self.assertNumQueries(9):
            wrong = self.client.get("/orders/with-users/").json()
        with self.assertNumQueries(1):
            right = self.client.get("/orders/with-users/optimized/").json()
        self.assertEqual(wrong, right)
        self.assertEqual(wrong["count"], 8)

    def test_health_does_not_touch_the_database(self):
        for path in ("/health/", "/liveness/"):
            with self.assertNumQueries(0):
                self.assertEqual(self.client.get(path).status_code, 200)

    def test_readiness_names_what_is_missing(self):
        with mock.patch("myproject.health._probe_broker"):
            self.assertEqual(self.client.get("/readiness/").status_code, 200)
        for name in ("broker", "database"):
            with mock.patch.multiple("myproject.health", _probe_broker=mock.DEFAULT, _probe_database=mock.DEFAULT) as p:
                p[f"_probe_{name}"].side_effect = OSError("gone")
                response = self.client.get("/readiness/")
            self.assertEqual(response.status_code, 503)
            self.assertEqual(response.json()["failures"], {name: "OSError"})

    @modify_settings(MIDDLEWARE={"append": "myproject.middleware.PerformanceMonitoringMiddleware"})
    def test_optional_middleware_knows_the_real_view(self):
        seen = {}
        span = mock.MagicMock()
        span.set_attribute.side_effect = seen.__setitem__
        with mock.patch("myproject.middleware.trace.get_tracer") as get_tracer:
            get_tracer.return_value.start_as_current_span.return_value.__enter__.return_value = span
            self.client.post("/orders/create/")
        self.assertEqual(seen, {"view.name": "OrderCreateView", "view.module": "orders.views"})


class ServiceTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create_user("customer")

    def test_order_with_items(self):
        items = [
            {"product": "A", "sku": "A-1", "quantity": 2, "price": 5},
            {"product": "B", "sku": "B-1", "quantity": 1, "price": 7},
        ]
        order = OrderService.create_order_with_items(self.user, items)
        self.assertEqual((order.product_name, order.amount, order.items.count()), ("A", 17, 2))
        self.assertEqual(OrderService.get_order_analytics(self.user.id), {"total_orders": 1, "total_spent": 17})
        self.assertEqual(list(OrderService.search_orders("PEND")), [order])

    def test_nothing_is_stored_when_an_item_fails(self):
        items = [{"product": "A", "sku": None, "quantity": 1, "price": 5}]
        with self.assertRaises(IntegrityError):
            OrderService.create_order_with_items(self.user, items)
        self.assertFalse(Order.objects.exists())
        with self.assertRaises(ValueError):
            OrderService.create_order_with_items(self.user, [])
