"""The ASGI entry: requests go to Django, websockets to Channels where it is installed. Tracing starts before Django builds its handler, so that the
very first request is traced."""

import os

from django.core.asgi import get_asgi_application

from myproject.tracing import initialize_tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
initialize_tracing()
application = get_asgi_application()

try:
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
except ImportError:  # without Channels there are no websockets; all else works
    pass
else:
    from orders.routing import websocket_urlpatterns

    websockets = AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns))
    application = ProtocolTypeRouter({"http": application, "websocket": websockets})
