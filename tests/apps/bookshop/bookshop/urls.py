from catalog import loops, views
from django.urls import include, path, re_path
from rest_framework.routers import DefaultRouter

router = DefaultRouter()
router.register("books", views.BookViewSet)

urlpatterns = [
    path("books/", views.book_list),
    path("books/<int:book_id>/", views.book_detail),
    path("books/create/", views.BookCreateView.as_view()),
    path("pages/", include("catalog.urls")),
    re_path(r"^old/(?P<slug>[-\w]+)/(?:page-(?P<number>\d+)/)?$", views.old_page),
    path("api/", include(router.urls)),
    path("api/ping/", views.ping),
    path("loop/<int:count>/", views.loop),
    path("tags/<int:count>/", views.loop_tags),
    path("atomic/", views.atomic_view),
    path("fails/", views.fails),
    path("status/<int:code>/", views.status),
    path("stream/", views.stream),
    path("annotate/", views.annotate),
    path("async/", views.async_view),
    path("buy/<int:book_id>/", views.buy),
    path("shout/", views.shout),
    path("flaky/", views.flaky),
    path("loops/", loops.view),
    path("health/", views.health),
    path("healthy/", views.health),
    path("upload/", views.upload),
    path("who/", views.who),
    path("later/", views.later),
    path("misbehaving/", include("catalog.misbehaving")),
]
