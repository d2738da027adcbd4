"""The WSGI entry. Tracing starts before Django builds its handler, so that the very first request is traced."""

import os

from django.core.wsgi import get_wsgi_application

from myproject.tracing import initialize_tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
initialize_tracing()
application = get_wsgi_application()
