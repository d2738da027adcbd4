"""The websocket of an order's status, through the whole ASGI application."""

from unittest import mock

from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.core.management import call_command
from django.test import TestCase, override_settings
from myproject.asgi import application
from orders.models import Order

HEADERS = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


@override_settings(ALLOWED_HOSTS=["testserver"])
class WebsocketTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        call_command("seed_demo", users=1, orders=2, stdout=mock.Mock())
        cls.order = Order.objects.first()

    def test_status(self):
        async def talk():
            page = WebsocketCommunicator(application, f"/ws/orders/{self.order.pk}/", headers=HEADERS)
            accepted, _ = await page.connect(timeout=30)
            await page.send_json_to({})
            answer = await page.receive_json_from(timeout=30)
            await page.disconnect()
            return accepted, answer

        self.assertEqual(async_to_sync(talk)(), (True, {"id": self.order.pk, "status": "pending"}))

    def test_unknown_order_is_refused(self):
        async def talk():
            page = WebsocketCommunicator(application, "/ws/orders/999999/", headers=HEADERS)
            return await page.connect(timeout=30)

        self.assertFalse(async_to_sync(talk)()[0])
