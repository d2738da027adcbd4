from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=40)


class Book(models.Model):
    title = models.CharField(max_length=40)
    stock = models.IntegerField(default=0)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
