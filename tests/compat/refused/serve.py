"""serve.py [ON_RAMP]: one request to a Django that nuages refuses (2.x); the application must not notice."""

import io
import os
import sys
import wsgiref.util

if "nuages.auto" in sys.argv:
    import nuages.auto  # noqa: F401

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("books/", lambda request: HttpResponse("served"))]
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["nuages"] if "INSTALLED_APPS" in sys.argv else [],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402

environ = {"PATH_INFO": "/books/", "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
wsgiref.util.setup_testing_defaults(environ)
status = []
body = get_wsgi_application()(environ, lambda line, headers, exc_info=None: status.append(line))
print(os.environ.get("NUAGES_AUTO", ""), status[0], b"".join(body).decode())
