"""What every on-ramp's program runs once tracing is (or is not) set up: Django, ten books, requests through the WSGI application."""

import io
import wsgiref.util


def fill():
    from django.db import connection
    from shop_app.models import Author, Book

    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    for number in range(10):
        author = Author.objects.create(name=f"Author {number}")
        Book.objects.create(title=f"Book {number}", author=author)


def get(application, path):
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
    wsgiref.util.setup_testing_defaults(environ)
    statuses = []
    body = application(environ, lambda status, headers, exc_info=None: statuses.append(status))
    text = b"".join(body).decode()
    body.close()
    return statuses[0], text


def main(paths=("/books/top/",)):
    import django
    from django.core.wsgi import get_wsgi_application

    django.setup()
    application = get_wsgi_application()
    fill()
    for path in paths:
        print(*get(application, path))
