"""Django's ORM over one backend, under nuages: `django_databases.py SCRIPT '{"backend": ..., ...}'`; answers as databases.py does.

Backends: sqlite, psycopg, psycopg2 (where psycopg is hidden), mysqlclient, pymysql (in mysqlclient's place).
"""

from __future__ import annotations

import importlib.abc
import json
import os
import sys

import databases

ENGINES = {
    "sqlite": "sqlite3",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "mysqlclient": "mysql",
    "pymysql": "mysql",
}


class Hidden(importlib.abc.MetaPathFinder):
    """Django prefers psycopg 3 where it is installed."""

    def find_spec(self, name, path=None, target=None):
        if name == "psycopg" or name.startswith("psycopg."):
            raise ModuleNotFoundError(name, name=name)


def set_up(address):
    backend = address.pop("backend")
    options = address.pop("options", {})
    if backend == "psycopg2":
        sys.meta_path.insert(0, Hidden())
    elif backend == "pymysql":
        import pymysql

        pymysql.install_as_MySQLdb()
        pymysql.version_info = (2, 2, 1, "final", 0)
    import django
    from django.conf import settings

    name = address.get("dbname") or address.get("database") or address.get("path")
    settings.configure(
        SECRET_KEY="only-for-tests",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        NUAGES=address.pop("nuages", {}),
        INSTALLED_APPS=[],
        DATABASES={
            "default": {
                "ENGINE": f"django.db.backends.{ENGINES[backend]}",
                "NAME": name,
                "HOST": address.get("host", ""),
                "PORT": address.get("port", ""),
                "USER": address.get("user", ""),
                "PASSWORD": address.get("password", ""),
                "OPTIONS": options,
            }
        },
    )
    django.setup()


def make_models():
    from django.db import connection, models

    class Author(models.Model):
        name = models.CharField(max_length=40)

        class Meta:
            app_label = "shop"
            db_table = "author"

    class Book(models.Model):
        title = models.CharField(max_length=40)
        price = models.IntegerField(default=0)
        author = models.ForeignKey(Author, models.CASCADE, related_name="books")

        class Meta:
            app_label = "shop"
            db_table = "book"

    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    authors = [Author.objects.create(name=f"author {number}") for number in range(3)]
    return Author, Book, authors


def orm(address):
    """Everything the ORM does with a database, and its cursors by hand."""
    set_up(address)
    from django.db import IntegrityError, connection, transaction
    from django.db.models import Count, Sum
    from opentelemetry import trace

    Author, Book, authors = make_models()
    step = trace.get_tracer("test").start_as_current_span
    result = []
    with step("bulk"):
        Book.objects.bulk_create([Book(title=f"book {n}", price=n, author=authors[n % 3]) for n in range(10)])
        books = list(Book.objects.order_by("id"))
        for book in books:
            book.price += 1
        Book.objects.bulk_update(books, ["price"])
        result.append(Book.objects.filter(price__gt=5).update(price=5))
    with step("read"):
        result.append([book.author.name for book in Book.objects.select_related("author").order_by("id")[:4]])
        result.append(Book.objects.aggregate(Count("id"), Sum("price")))
        result.append(Book.objects.filter(title__contains="100%").exists())
        result.append([len(author.books.all()) for author in Author.objects.prefetch_related("books").order_by("id")])
        result.append(Book.objects.get(title="book 3").price)
    with step("iterator"):
        result.append(sum(1 for _ in Book.objects.order_by("id").iterator(chunk_size=4)))
        rows = Book.objects.order_by("id").iterator(chunk_size=4)
        next(rows)
        rows.close()
    with step("cursor"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT title FROM book WHERE price = %s ORDER BY id", [5])
            result.append([cursor.fetchone()[0], [row[0] for row in cursor.fetchmany(2)], len(cursor.fetchall())])
            cursor.executemany("UPDATE book SET price = %s WHERE title = %s", [(8, "book 1"), (9, "book 2")])
            cursor.execute("SELECT count(*) FROM book WHERE title LIKE 'book 1%%' AND price > %s", [0])
            result.append(cursor.fetchone()[0])
            cursor.execute("SELECT count(*) FROM book WHERE title LIKE 'book 1%'")
            result.append(next(iter(cursor))[0])
    with step("transaction"):
        said = []
        with transaction.atomic():
            transaction.on_commit(lambda: said.append(Book.objects.count()))
            authors[0].save(update_fields=["name"])
            try:
                with transaction.atomic():
                    Author.objects.create(id=authors[0].id, name="again")
            except IntegrityError as error:
                said.append(type(error).__name__)
        try:
            with transaction.atomic():
                Author.objects.create(name="never")
                raise LookupError
        except LookupError:
            pass
        result.append([*said, Author.objects.count()])
    if connection.vendor != "sqlite":
        with step("connection"):
            connection.close()
            result.append(Author.objects.filter(id=authors[0].id).exists())
    if connection.vendor == "mysql":
        with step("procedure"), connection.cursor() as cursor:
            cursor.execute("CREATE PROCEDURE twice(IN x INTEGER) SELECT x * 2")
            cursor.callproc("twice", [21])
            result.append(cursor.fetchone()[0])
            while cursor.nextset():
                pass
    return result


def pool(address):
    """Django's own pool, 5.1 and later."""
    set_up({**address, "options": {"pool": {"min_size": 1, "max_size": 2, "name": "django"}}})
    from django.db import connection
    from opentelemetry import trace

    with trace.get_tracer("test").start_as_current_span("first"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            result = [cursor.fetchone()[0]]
    connection.close()
    with trace.get_tracer("test").start_as_current_span("again"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 2")
            result.append(cursor.fetchone()[0])
    connection.close()
    connection.close_pool()
    return result


def both(address):
    """One process in which the ORM and the driver itself ask: each statement is counted once."""
    driver = {"sqlite": "sqlite3.dbapi2", "mysqlclient": "MySQLdb"}.get(address["backend"], address["backend"])
    set_up(address)
    import nuages
    from django.db import connection

    connection.ensure_connection()
    module = __import__(driver)
    from opentelemetry import trace

    with nuages.count_queries() as queries, trace.get_tracer("test").start_as_current_span("asked"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # through both
            inner = getattr(cursor.cursor, "cursor", cursor.cursor)
            inner.execute("SELECT 2")  # the driver's cursor that Django's holds
            with connection.cursor() as other:
                other.execute("SELECT 3")
        raw = connection.connection.cursor()
        raw.execute("SELECT 4")
        raw.fetchall()
    return [queries.report().query_count, module.__name__]


if __name__ == "__main__":
    script = globals()[sys.argv[1]]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(databases.measured(script, json.loads(sys.argv[2])), answers, default=str)
