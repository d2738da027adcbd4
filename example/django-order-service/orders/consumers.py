"""Websockets: a page that waits for its order asks for the status over one connection. Needs Channels."""

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Order


class OrderStatusConsumer(AsyncJsonWebsocketConsumer):
    """Answers every message with the status of the order in the URL; refuses orders that do not exist."""

    async def connect(self):
        self.order_id = self.scope["url_route"]["kwargs"]["order_id"]
        if await self.status() is None:
            await self.close()
        else:
            await self.accept()

    async def receive_json(self, content, **kwargs):
        await self.send_json({"id": self.order_id, "status": await self.status()})

    @database_sync_to_async
    def status(self):
        return Order.objects.filter(pk=self.order_id).values_list("status", flat=True).first()
