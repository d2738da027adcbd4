import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from shop.tracing import initialize_module

initialize_module()
application = get_asgi_application()
