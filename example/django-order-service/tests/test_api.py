"""The DRF endpoints, without and with credentials."""

from unittest import mock

from django.contrib.auth.models import User
from django.test import TestCase, override_settings
from orders.models import Order

WIDGET = {"product_name": "Widget", "amount": "1500.00", "status": "pending"}


class OrderApiTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.demo = User.objects.get(username="demo")  # from migration 0002

    def setUp(self):
        patcher = mock.patch("orders.views.process_order.delay")
        self.delay = patcher.start()
        self.addCleanup(patcher.stop)
        settings = override_settings(DEMO_USER_ID=str(self.demo.id))
        settings.enable()
        self.addCleanup(settings.disable)

    def create(self, **changes):
        return self.client.post("/api/orders/", {**WIDGET, **changes}, content_type="application/json")

    def test_create_without_credentials_belongs_to_the_demo_user(self):
        response = self.create()
        self.assertEqual(response.status_code, 201, response.content)
        order = Order.objects.get(id=response.json()["id"])
        self.assertEqual((order.user, order.product_name, str(order.amount)), (self.demo, "Widget", "1500.00"))
        self.delay.assert_called_once_with(order.id)

    def test_create_runs_two_statements(self):
        with self.assertNumQueries(2) as queries:
            self.create()
        statements = [query["sql"] for query in queries.captured_queries]
        self.assertIn('FROM "auth_user"', statements[0])
        self.assertTrue(statements[1].startswith('INSERT INTO "orders"'), statements[1])

    def test_create_as_signed_in_user(self):
        customer = User.objects.create_user("customer")
        self.client.force_login(customer)
        self.assertEqual(self.create().json()["user"], "customer")

    def test_invalid_orders_are_refused(self):
        for changes in ({"amount": "0"}, {"amount": "many"}, {"product_name": ""}, {"amount": "1e12"}):
            with self.subTest(changes):
                self.assertEqual(self.create(**changes).status_code, 400)
        self.delay.assert_not_called()

    def test_demo_user_switched_off_missing_or_privileged(self):
        admin = User.objects.create_superuser("admin")
        for value in ("", "999999", "not-a-number", str(admin.id)):
            with self.subTest(value), override_settings(DEMO_USER_ID=value):
                self.assertIn(self.create().status_code, (401, 403))
        self.assertFalse(Order.objects.exists())

    def test_read_update_delete(self):
        order_id = self.create().json()["id"]
        url = f"/api/orders/{order_id}/"
        self.assertEqual(self.client.get("/api/orders/").json()["results"][0]["id"], order_id)
        self.assertEqual(self.client.get(url).json()["items"], [])
        changed = self.client.patch(url, {"status": "shipped"}, content_type="application/json")
        self.assertEqual(changed.json()["status"], "shipped")
        self.assertEqual(self.client.delete(url).status_code, 204)
        self.assertEqual(self.client.get(url).status_code, 404)
