"""The ASGI entry. Tracing starts before Django builds its handler, so that the very first request is traced."""

import os

from django.core.asgi import get_asgi_application

from myproject.tracing import initialize_tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
initialize_tracing()
application = get_asgi_application()
