"""Settings of the application that real ASGI servers run (bookshop.live)."""

from bookshop.settings import *  # noqa: F403

ROOT_URLCONF = "bookshop.live"
ASGI_APPLICATION = "bookshop.live.application"
WSGI_APPLICATION = "bookshop.live.wsgi"
MIDDLEWARE = ["catalog.middleware.ShelfMiddleware", "catalog.middleware.AsyncOnlyMiddleware"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
