from django.contrib import admin
from django.urls import include, path

from myproject import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", health.health),
    path("liveness/", health.health),
    path("readiness/", health.readiness),
    path("", include("orders.urls")),
]
