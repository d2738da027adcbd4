from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from shop_app.models import Book


def books(request, shelf):
    lines = [f"{book.title} by {book.author.name}" for book in Book.objects.order_by("id")]
    return render(request, "books.html", {"lines": lines})


async def later(request):
    return HttpResponse(str(await Book.objects.acount()))


urlpatterns = [path("books/<str:shelf>/", books), path("later/", later)]
