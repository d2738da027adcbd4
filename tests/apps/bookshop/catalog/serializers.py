from rest_framework import serializers

from .models import Author, Book


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


class BookSerializer(serializers.ModelSerializer):
    writer = AuthorSerializer(source="author", read_only=True)

    class Meta:
        model = Book
        fields = ["id", "title", "author", "writer", "stock"]
