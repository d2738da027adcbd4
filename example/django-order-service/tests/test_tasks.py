"""Tasks, the command and the tools around them."""

import asyncio
import io
from unittest import mock

from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase, override_settings
from orders.models import Order
from orders.services import PaymentError, PaymentService
from orders.tasks import process_order, process_pending_orders, send_order_confirmation_email
from orders.utils import detect_n_plus_one, normalize


class TaskTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create_user("customer", email="customer@example.com")

    def order(self, amount="1500.00", **fields):
        return Order.objects.create(user=self.user, product_name="Widget", amount=amount, **fields)

    def run_task(self, order):
        with mock.patch("orders.tasks.validate_high_value_order") as validate:
            result = process_order(order.id)
        order.refresh_from_db()
        self.assertEqual(result, {"order_id": order.id, "status": "processed"})
        self.assertEqual(order.status, "processing")
        return validate.called

    def test_only_high_values_are_validated(self):
        self.assertTrue(self.run_task(self.order("1000.01")))
        self.assertFalse(self.run_task(self.order("1000.00")))

    def test_statements_and_mail(self):
        order = self.order()
        with self.assertNumQueries(2) as queries:
            process_order(order.id)
        self.assertIn('UPDATE "orders" SET "status" = ', queries.captured_queries[1]["sql"])
        self.assertEqual([message.to for message in mail.outbox], [["customer@example.com"]])

    def test_mail_by_id(self):
        send_order_confirmation_email(self.order().id)
        self.assertEqual(len(mail.outbox), 1)

    def test_pending_orders(self):
        pending = [self.order(), self.order()]
        self.order(status="processing")
        with mock.patch("orders.tasks.process_order.delay") as delay:
            self.assertEqual(process_pending_orders(), {"queued": 2})
        self.assertEqual([call.args for call in delay.call_args_list], [(order.id,) for order in pending])

    def command(self, *args):
        out = io.StringIO()
        call_command("process_pending_orders", *args, stdout=out, no_color=True)
        return out.getvalue().strip()

    def test_command(self):
        for _ in range(3):
            self.order()
        with mock.patch("orders.management.commands.process_pending_orders.process_order.delay") as delay:
            self.assertEqual(self.command("--dry-run"), "[DRY RUN] Would process 3 orders")
            delay.assert_not_called()
            delay.side_effect = [None, ConnectionError("no broker")]
            self.assertEqual(self.command("--limit", "2"), "Processed 1 orders, 1 failed")

    def test_payment(self):
        order = self.order()
        with mock.patch("orders.services.requests.post") as post:
            post.return_value = mock.Mock(status_code=200, json=lambda: {"id": "ch_1"})
            self.assertEqual(PaymentService.process_payment(order.id, "paypal")["transaction_id"], "ch_1")
            post.return_value.status_code = 402
            with self.assertRaises(PaymentError):
                PaymentService.process_payment(order.id, "paypal")
        with self.assertRaises(ValueError):
            PaymentService.process_payment(order.id, "cheque")


class DetectNPlusOneTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        call_command("seed_demo", users=3, orders=7, stdout=mock.Mock())

    def attributes_of(self, func):
        seen = {}
        with mock.patch("orders.utils.trace.get_current_span") as current:
            current.return_value.set_attribute.side_effect = seen.__setitem__
            try:
                func()
            except ZeroDivisionError:
                pass
        return seen

    @staticmethod
    def loop(limit):
        return [order.user.username for order in Order.objects.order_by("id")[:limit]]

    def test_more_than_five_repetitions_are_flagged(self):
        seen = self.attributes_of(lambda: detect_n_plus_one(self.loop)(6))
        self.assertEqual(seen, {"db.query_count": 7, "db.potential_n_plus_one": True, "db.max_query_repetitions": 6})
        self.assertEqual(self.attributes_of(lambda: detect_n_plus_one(self.loop)(5)), {"db.query_count": 6})

    def test_also_when_the_function_raises(self):
        @detect_n_plus_one
        def failing():
            self.loop(6)
            raise ZeroDivisionError

        self.assertTrue(self.attributes_of(failing)["db.potential_n_plus_one"])

    def test_coroutine_functions_stay_coroutine_functions(self):
        @detect_n_plus_one
        async def answer():
            return 42

        self.assertTrue(asyncio.iscoroutinefunction(answer))
        self.assertEqual(asyncio.run(answer()), 42)

    @override_settings(N_PLUS_ONE_THRESHOLD=2)
    def test_nested(self):
        inner = detect_n_plus_one(self.loop)
        outer = detect_n_plus_one(lambda: (inner(3), Order.objects.count()))
        self.assertEqual(self.attributes_of(outer)["db.query_count"], 5)


class NormalizeTest(SimpleTestCase):
    def test_what_differs_between_executions_is_dropped(self):
        for first, second in (
            ("SELECT 1 FROM t WHERE a = 12", "SELECT 1 FROM t WHERE a = 7"),
            ("SELECT a FROM t WHERE b = 'it''s'", "SELECT a FROM t WHERE b = 'x'"),
            ("SELECT a FROM t WHERE b IN (%s, %s)", "SELECT a FROM t WHERE b IN (%s, %s, %s)"),
            ("SELECT a FROM t /* one */", "SELECT a FROM t /* two */"),
        ):
            self.assertEqual(normalize(first), normalize(second))
        self.assertNotEqual(normalize("SELECT a FROM t WHERE b = 1"), normalize("SELECT a FROM t WHERE c = 1"))
