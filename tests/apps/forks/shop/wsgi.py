import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from shop.tracing import initialize_module

initialize_module()
application = get_wsgi_application()
