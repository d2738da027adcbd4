from django.urls import path

from . import views

app_name = "catalog"
urlpatterns = [
    path("", views.page),
    path("late/", views.late_page),
    path("books/<slug:slug>/", views.page, name="book"),
]
