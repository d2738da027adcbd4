"""Code that asks the database again and again: LOOPS, which should be reported, and FINE, which should not although statements repeat.

Each function gets the twelve books of the project, of twelve authors, in a transaction that is rolled back afterwards.
"""

from asgiref.sync import async_to_sync, sync_to_async
from django.core.paginator import Paginator
from django.db import connection, connections, transaction
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, prefetch_related_objects
from django.template import engines
from django.template.loader import render_to_string

from .models import Author, Book, Cover, Tag

LOOPS = {}
FINE = {}


def loop(function):
    LOOPS[function.__name__] = function
    return function


def fine(function):
    FINE[function.__name__] = function
    return function


def books(**options):
    return Book.objects.filter(**options).order_by("id")


def covers():
    Cover.objects.bulk_create([Cover(book=book, colour="red") for book in books()])


# ---- what should be reported


@loop
def forward(count=8):
    rows = books()[:count]  # line: fetched
    return [book.author.name for book in rows]


@loop
def one_to_one_forward():
    covers()
    return [cover.book.title for cover in Cover.objects.all()]


@loop
def one_to_one_reverse():
    covers()
    return [book.cover.colour for book in books()]


@loop
def reverse():
    return [list(author.books.all()) for author in Author.objects.all()]


@loop
def reverse_filtered():
    return [list(author.books.filter(stock=0)) for author in Author.objects.all()]


@loop
def reverse_counted():
    return [author.books.count() for author in Author.objects.all()]


@loop
def reverse_exists():
    return [author.books.filter(stock=1).exists() for author in Author.objects.all()]


@loop
def reverse_first():
    return [author.books.first() for author in Author.objects.all()]


@loop
def many():
    return [list(book.tags.all()) for book in books()]


@loop
def many_reverse():
    Tag.objects.bulk_create([Tag(name=f"t{number}") for number in range(8)])
    return [list(tag.book_set.all()) for tag in Tag.objects.all()]


@loop
def deferred():
    return [book.title for book in Book.objects.only("id")]


@loop
def one_by_one():
    return [Book.objects.get(id=number) for number in range(1, 9)]


@loop
def always_the_same():
    return [Book.objects.get(id=1) for _ in range(8)]


@loop
def counted():
    return [Book.objects.filter(author_id=number).count() for number in range(1, 9)]


@loop
def filtered():
    return [list(Book.objects.filter(author_id=number)) for number in range(1, 9)]


@loop
def created():
    return [Tag.objects.create(name=f"tag {number}") for number in range(8)]


@loop
def saved_new():
    for number in range(8):
        Tag(name=f"tag {number}").save()


@loop
def saved():
    for book in books():
        book.stock += 1
        book.save()


@loop
def updated():
    for number in range(1, 9):
        Book.objects.filter(id=number).update(stock=number)


@loop
def deleted():
    for tag in Tag.objects.bulk_create([Tag(name=f"t{number}") for number in range(8)]):
        Tag.objects.filter(id=tag.id).delete()


@loop
def prefetched_one_by_one():
    for author in Author.objects.all():
        prefetch_related_objects([author], "books")


@loop
def nested():
    covers()
    first = Author.objects.first()
    Book.objects.update(author=first)
    return [book.cover.colour for author in Author.objects.all()[:2] for book in author.books.all()]


@loop
def in_template():
    return (
        engines["django"]
        .from_string("{% for book in books %}{{ book.author.name }}{% endfor %}")
        .render({"books": books()})
    )


@loop
def in_included_template():
    return render_to_string("catalog/shelf.html", {"books": books()})


@loop
def in_serializer():
    from .serializers import BookSerializer

    return BookSerializer(books(), many=True).data


@loop
def in_a_thread():
    return async_to_sync(sync_to_async(forward))()


@loop
def asynchronous():
    async def work():
        return [await Author.objects.aget(id=number) for number in range(1, 9)]

    return async_to_sync(work)()


# ---- what should not


@fine
def five_times():
    return forward(5)


@fine
def select_related():
    return [book.author.name for book in books().select_related("author")]


@fine
def select_related_chain():
    covers()
    return [cover.book.author.name for cover in Cover.objects.select_related("book__author")]


@fine
def select_related_reverse():
    covers()
    return [book.cover.colour for book in books().select_related("cover")]


@fine
def prefetch_forward():
    return [book.author.name for book in books().prefetch_related("author")]


@fine
def prefetch_reverse():
    return [list(author.books.all()) for author in Author.objects.prefetch_related("books")]


@fine
def prefetch_many():
    return [list(book.tags.all()) for book in books().prefetch_related("tags")]


@fine
def prefetch_nested():
    authors = Author.objects.prefetch_related("books__tags")
    return [list(book.tags.all()) for author in authors for book in author.books.all()]


@fine
def prefetch_with_queryset():
    kept = Prefetch("books", queryset=Book.objects.filter(stock=0))
    return [list(author.books.all()) for author in Author.objects.prefetch_related(kept)]


@fine
def prefetch_to_attribute():
    kept = Prefetch("books", queryset=Book.objects.filter(stock=0), to_attr="empty")
    return [author.empty for author in Author.objects.prefetch_related(kept)]


@fine
def prefetch_by_hand():
    authors = list(Author.objects.all())
    prefetch_related_objects(authors, "books")
    return [list(author.books.all()) for author in authors]


@fine
def prefetched_and_counted():
    return [len(author.books.all()) for author in Author.objects.prefetch_related("books")]


@fine
def iterator():
    return list(books().iterator())


@fine
def iterator_in_chunks_of_two():
    return [list(book.tags.all()) for book in books().prefetch_related("tags").iterator(chunk_size=2)]


@fine
def iterator_in_chunks_with_a_forward_prefetch():
    return [book.author.name for book in books().prefetch_related("author").iterator(chunk_size=2)]


@fine
def iterator_in_chunks_with_two_levels():
    found = Author.objects.prefetch_related("books__tags").iterator(chunk_size=2)
    return [list(book.tags.all()) for author in found for book in author.books.all()]


@fine
def bulk_create_in_batches():
    Tag.objects.bulk_create([Tag(name=f"bulk {number}") for number in range(40)], batch_size=5)


@fine
def bulk_update_in_batches():
    found = list(books())
    for book in found:
        book.stock = 5
    Book.objects.bulk_update(found, ["stock"], batch_size=2)


@fine
def in_bulk():
    return Book.objects.in_bulk(range(1, 9))


@fine
def paginator():
    return [list(page.object_list) for page in Paginator(books(), 2)]


@fine
def pages_by_offset():
    return [list(books()[start : start + 2]) for start in range(0, 20, 2)]


@fine
def pages_by_key():
    last = 0
    for _ in range(8):
        page = list(books(id__gt=last)[:2])
        last = page[-1].id if page else last


@fine
def pages_backwards_by_key():
    last = 10**6
    for _ in range(8):
        page = list(Book.objects.filter(id__lt=last).order_by("-id")[:2])
        last = page[-1].id if page else last


@fine
def pages_of_values():
    return [list(books().values("id")[start : start + 2]) for start in range(0, 20, 2)]


@fine
def pages_of_hand_written_sql():
    with connection.cursor() as cursor:
        for start in range(0, 20, 2):
            cursor.execute("SELECT id FROM catalog_book ORDER BY id LIMIT 2 OFFSET %s", [start])
            cursor.fetchall()


@fine
def pages_of_hand_written_sql_with_literals():
    with connection.cursor() as cursor:
        for start in range(0, 20, 2):
            cursor.execute(f"SELECT id FROM catalog_book ORDER BY id LIMIT 2 OFFSET {start}")


@fine
def values():
    return list(books().values("title", "author__name"))


@fine
def values_list():
    return [title for (title,) in books().values_list("title")]


@fine
def annotated_count():
    return [author.number for author in Author.objects.annotate(number=Count("books"))]


@fine
def annotated_exists():
    return list(Author.objects.annotate(any=Exists(Book.objects.filter(author=OuterRef("pk")))))


@fine
def one_aggregate():
    return Book.objects.aggregate(Count("id"))


@fine
def one_instance_used_often():
    book = Book.objects.get(id=1)
    return [book.author.name for _ in range(30)]


@fine
def one_instance_of_each_model():
    name = Book.objects.get(id=1).author.name
    return name, Author.objects.first(), Tag.objects.first(), Cover.objects.first(), Book.objects.last()


@fine
def five_single_instances():
    return [Book.objects.get(id=number) for number in range(1, 6)]


@fine
def the_foreign_keys_value():
    return [book.author_id for book in books()]


@fine
def only_what_is_used():
    return [book.title for book in books().only("title")]


@fine
def defer_what_is_not_used():
    return [book.stock for book in books().defer("title")]


@fine
def different_conditions():
    by_field = [Q(title="x"), Q(stock=1), Q(author_id=1), Q(id=1), Q(title="x", stock=1), Q(title="x", id=1)]
    return [list(Book.objects.filter(condition)) for condition in by_field]


@fine
def different_lookups():
    lookups = ("exact", "gt", "gte", "lt", "lte", "startswith", "contains", "isnull")
    return [list(Book.objects.filter(**{f"stock__{name}": name == "isnull" or 1})) for name in lookups]


@fine
def different_operators_between():
    conditions = [Q(stock=1), Q(author_id=1), Q(title="a"), Q(id=1)]
    return [list(Book.objects.filter(a | b)) for a in conditions for b in conditions if a != b]


@fine
def different_order():
    return [list(Book.objects.order_by(name)) for name in ("id", "-id", "title", "-title", "stock", "-stock")]


@fine
def different_columns():
    names = ("id", "title", "stock", "author_id")
    return [list(Book.objects.values_list(a, b)) for a in names for b in names if a < b]


@fine
def different_joins():
    paths = ("author__name", "author__id", "tags__name", "tags__id", "cover__colour", "cover__id")
    return [list(Book.objects.filter(**{path: 1})) for path in paths]


@fine
def different_databases():
    for alias in connections:
        for _ in range(4):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")


@fine
def savepoints():
    for _ in range(10):
        with transaction.atomic():
            pass


@fine
def one_update():
    books().update(stock=F("stock") + 1)


@fine
def one_delete():
    Book.objects.all().delete()


@fine
def many_to_many_add():
    Book.objects.get(id=1).tags.add(*Tag.objects.bulk_create([Tag(name=f"t{number}") for number in range(8)]))


@fine
def many_to_many_set():
    Book.objects.get(id=1).tags.set(Tag.objects.all())


@fine
def union():
    first, *others = (Book.objects.filter(id=number) for number in range(1, 9))
    return list(first.union(*others))


@fine
def raw():
    return list(Book.objects.raw("SELECT * FROM catalog_book"))


@fine
def a_queryset_read_again():
    found = books()
    return [[book.id for book in found] for _ in range(8)]


@fine
def a_queryset_asked_in_many_ways():
    found = books()
    return bool(found), len(found), list(found), found[0], found[3:5], found.count(), found.exists()


@fine
def executemany():
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO catalog_tag (name) VALUES (%s)", [[f"t{number}"] for number in range(9)])


@fine
def in_template_prefetched():
    return render_to_string("catalog/shelf.html", {"books": books().select_related("author")})


@fine
def in_serializer_joined():
    from .serializers import BookSerializer

    return BookSerializer(books().select_related("author"), many=True).data


@fine
def asynchronous_iteration():
    async def work():
        return [book.author.name async for book in books().select_related("author")]

    return async_to_sync(work)()
