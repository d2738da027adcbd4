"""Views of the test project. Tests look up line numbers by the marks in the comments, so lines may move."""

import json

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.views import View
from opentelemetry import trace
from rest_framework import viewsets
from rest_framework.decorators import action, api_view
from rest_framework.response import Response

from . import tasks
from .models import Book
from .serializers import BookSerializer


def book_list(request):
    return JsonResponse({"books": [book.title for book in Book.objects.all()[:5]]})


def book_detail(request, book_id):
    return JsonResponse({"title": get_object_or_404(Book, id=book_id).title})


class BookCreateView(View):
    def post(self, request):
        data = json.loads(request.body)
        book = Book.objects.create(title=data["title"], author_id=data["author"])
        return JsonResponse({"id": book.id}, status=201)


class BookViewSet(viewsets.ModelViewSet):
    queryset = Book.objects.order_by("id")
    serializer_class = BookSerializer

    @action(detail=True, methods=["post"])
    def restock(self, request, pk=None):
        tasks.restock.delay(int(pk))
        return Response({"queued": True})


@api_view(["GET"])
def ping(request):
    return Response({"pong": True})


def page(request, slug=""):
    return render(request, "catalog/page.html", {"books": Book.objects.select_related("author"), "slug": slug})


def late_page(request):
    return TemplateResponse(request, "catalog/page.html", {"books": Book.objects.select_related("author")})


def loop(request, count):
    names = []
    for book in Book.objects.order_by("id")[:count]:
        names.append(book.author.name)  # line: forward
    return JsonResponse({"names": names})


def loop_tags(request, count):
    total = 0
    for book in Book.objects.order_by("id")[:count]:
        total += len(book.tags.all())  # line: many
    return JsonResponse({"tags": total})


def atomic_view(request):
    with transaction.atomic():
        Book.objects.filter(id=1).update(stock=1)
        try:
            with transaction.atomic():
                Book.objects.filter(id=1).update(stock=2)
                raise LookupError("inner")
        except LookupError:
            pass
    try:
        with transaction.atomic():
            Book.objects.filter(id=1).update(stock=3)
            raise LookupError("outer")
    except LookupError:
        pass
    return JsonResponse({"stock": Book.objects.get(id=1).stock})


def fails(request):
    raise ZeroDivisionError("the view fails")


def status(request, code):
    return HttpResponse("x", status=code)


def stream(request):
    def rows():
        for book in Book.objects.order_by("id")[:2]:
            yield book.title + "\n"

    return StreamingHttpResponse(rows())


def annotate(request):
    span = trace.get_current_span()
    span.set_attribute("shop.page", "annotated")
    span.set_attribute("shop.price", 12.5)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM catalog_book WHERE title = 'Secret title'")
        cursor.fetchone()
    return HttpResponse("ok")


async def async_view(request):
    return HttpResponse("async")


def old_page(request, slug, number=None):
    return HttpResponse(slug)


def buy(request, book_id):
    tasks.restock.delay(book_id)
    return HttpResponse("bought", status=202)


def shout(request):
    tasks.explode.delay("loud")
    return HttpResponse("shouted", status=202)


def flaky(request):
    tasks.flaky.delay()
    return HttpResponse("started", status=202)


def health(request):
    list(Book.objects.all()[:1])
    return render(request, "catalog/includes/row.html", {"book": Book(title="healthy")})


def upload(request):
    return HttpResponse(f"{request.FILES['file'].size} {request.POST['title']}")


def who(request):
    how = request.META["QUERY_STRING"]
    if how == "defer":
        request.user = User.objects.defer("username").get(username="ann")
    if how == "name":
        trace.get_current_span().set_attribute("user.id", "somebody else")
    if how in ("load", "name"):
        return HttpResponse(str(request.user.is_authenticated))
    return HttpResponse("nobody asked")


async def later(request):
    async def rows():
        for number in range(2):
            yield f"{await Book.objects.filter(id=number).acount()}\n"

    return StreamingHttpResponse(rows())
