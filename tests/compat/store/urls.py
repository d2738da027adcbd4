from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import include, path
from rest_framework import serializers, viewsets
from rest_framework.routers import DefaultRouter

from store.models import Book
from store.tasks import restock


def shelf(request, name):
    lines = [f"{book.title} by {book.author.name}" for book in Book.objects.order_by("id")]
    return render(request, "store/shelf.html", {"lines": lines})


def buy(request):
    restock.delay(1)
    return HttpResponse("bought", status=202)


def fails(request):
    raise ZeroDivisionError("the view fails")


def stream(request):
    return StreamingHttpResponse(book.title for book in Book.objects.order_by("id"))


async def later(request):
    return HttpResponse("later")


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["id", "title", "author"]


class BookViewSet(viewsets.ModelViewSet):
    queryset = Book.objects.order_by("id")
    serializer_class = BookSerializer


router = DefaultRouter()
router.register("books", BookViewSet)

urlpatterns = [
    path("shelves/<str:name>/", shelf),
    path("buy/", buy),
    path("fails/", fails),
    path("stream/", stream),
    path("later/", later),
    path("api/", include(router.urls)),
]
