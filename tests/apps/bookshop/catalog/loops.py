"""Loops that do or do not repeat a query; the view `/loops/` runs the chosen one."""

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render

from .models import Author, Book, Tag

chosen = None


def view(request):
    return chosen(request) or HttpResponse("done")


def in_template(request):
    return render(request, "catalog/authors.html", {"books": Book.objects.order_by("id")[:6]})


def reverse(request):
    for author in Author.objects.order_by("id")[:6]:
        list(author.books.all())


def get(request):
    for number in range(1, 7):
        Book.objects.get(id=number)


def count(request):
    for number in range(1, 7):
        Book.objects.filter(id=number).count()


def select_related(request):
    for book in Book.objects.select_related("author"):
        str(book.author.name)


def bulk_create(request):
    with transaction.atomic():
        Tag.objects.bulk_create([Tag(name=f"bulk {number}") for number in range(40)], batch_size=5)
        transaction.set_rollback(True)


def prefetch_chunks(request):
    with transaction.atomic():
        author = Author.objects.first()
        Book.objects.bulk_create([Book(title=f"many {number}", author=author) for number in range(180)])
        for book in Book.objects.prefetch_related("tags").iterator(chunk_size=25):
            list(book.tags.all())
        transaction.set_rollback(True)


def savepoints(request):
    with transaction.atomic():
        for _ in range(8):
            with transaction.atomic():
                pass
