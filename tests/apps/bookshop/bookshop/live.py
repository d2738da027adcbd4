"""Django and Channels behind a real server: views that stream, wait and fail, and consumers of both kinds."""

import asyncio
import os
import threading
from collections import Counter

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.live_settings")
django_application = get_asgi_application()
wsgi = get_wsgi_application()


def select(number):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [number])
        return cursor.fetchone()[0]


def sync_view(request):
    return HttpResponse(str(select(1)))


async def async_view(request, number):
    return HttpResponse(str(await sync_to_async(select)(number)))


async def body_view(request):
    return HttpResponse(str(len(request.body)))


def threads_view(request):
    return JsonResponse({"threads": threading.active_count()})


async def stream(request):
    async def rows():
        for number in range(2):
            yield f"{await sync_to_async(select)(number)}\n"

    return StreamingHttpResponse(rows())


async def stuck_stream(request):
    async def rows():
        yield "first\n"
        await asyncio.sleep(600)

    return StreamingHttpResponse(rows())


async def failing_stream(request):
    async def rows():
        yield "first\n"
        raise ZeroDivisionError("in the middle of the body")

    return StreamingHttpResponse(rows())


async def stuck(request):
    with open(os.environ["LIVE_SIGNAL"], "w"):  # a named pipe: tells the test that the view is running
        pass
    await asyncio.sleep(600)


async def fails(request):
    raise ZeroDivisionError("the view fails")


urlpatterns = [
    path("sync/", sync_view),
    path("async/<int:number>/", async_view),
    path("body/", body_view),
    path("threads/", threads_view),
    path("stream/", stream),
    path("stuck-stream/", stuck_stream),
    path("failing-stream/", failing_stream),
    path("stuck/", stuck),
    path("fails/", fails),
]


adapters = Counter()


def count_adapters():
    """What runs a function in a thread, or a coroutine from one, by the function's name."""
    for owner, attribute in ((SyncToAsync, "func"), (AsyncToSync, "awaitable")):
        original = owner.__call__
        if owner is SyncToAsync:

            async def counted(self, *args, original=original, attribute=attribute, **kwargs):
                adapters[getattr(getattr(self, attribute), "__name__", "?")] += 1
                return await original(self, *args, **kwargs)
        else:

            def counted(self, *args, original=original, attribute=attribute, **kwargs):
                adapters[getattr(getattr(self, attribute), "__name__", "?")] += 1
                return original(self, *args, **kwargs)

        owner.__call__ = counted


class Crowd:
    arrived = 0
    complete = asyncio.Event()
    seen = {}


async def crowd(request, count):
    """Answers when so many requests are here, with what the process looks like then."""
    Crowd.arrived += 1
    if Crowd.arrived == count:
        Crowd.seen = {
            "threads": sorted(thread.name.split("-")[0] for thread in threading.enumerate()),
            "tasks": len(asyncio.all_tasks()),
            "adapters": dict(sorted(adapters.items())),
        }
        Crowd.complete.set()
    await Crowd.complete.wait()
    return JsonResponse(Crowd.seen)


count_adapters()
urlpatterns.append(path("crowd/<int:count>/", crowd))


class OrderConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await sync_to_async(select)(self.scope["url_route"]["kwargs"]["order_id"])
        await self.channel_layer.group_add("orders", self.channel_name)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "fail":
            raise LookupError("the consumer fails")
        if text_data == "tell":
            return await self.channel_layer.group_send("orders", {"type": "order.changed"})
        await self.send(text_data=str(await sync_to_async(select)(len(text_data))))

    async def order_changed(self, event):
        await self.send(text_data="changed")

    async def disconnect(self, code):
        await self.channel_layer.group_discard("orders", self.channel_name)


class SyncOrderConsumer(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=str(select(len(text_data))))


class RefusingConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close()


class FeedConsumer(AsyncHttpConsumer):
    async def handle(self, body):
        await self.send_response(200, str(await sync_to_async(select)(3)).encode())


application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("feed/<slug:name>/", FeedConsumer.as_asgi()), re_path("", django_application)]),
        "websocket": URLRouter(
            [
                path("ws/refused/", RefusingConsumer.as_asgi()),
                path(
                    "ws/",
                    URLRouter(
                        [
                            path("orders/<int:order_id>/", OrderConsumer.as_asgi()),
                            path("sync/<int:order_id>/", SyncOrderConsumer.as_asgi()),
                        ]
                    ),
                ),
            ]
        ),
    }
)
plain = django_application
