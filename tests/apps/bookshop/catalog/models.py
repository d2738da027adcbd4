from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100)


class Tag(models.Model):
    name = models.CharField(max_length=30)


class Book(models.Model):
    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag)
    stock = models.IntegerField(default=0)


class Cover(models.Model):
    book = models.OneToOneField(Book, on_delete=models.CASCADE)
    colour = models.CharField(max_length=20)
