from django.urls import include, path
from rest_framework.routers import DefaultRouter

from . import views

router = DefaultRouter()
router.include_root_view = False
router.register("orders", views.OrderViewSet, basename="order")

urlpatterns = [
    path("orders/", views.order_list, name="order-list"),
    path("orders/<int:order_id>/", views.order_detail, name="order-detail"),
    path("orders/create/", views.OrderCreateView.as_view(), name="order-create"),
    path("orders/html/", views.order_list_html, name="order-list-html"),
    path("orders/<int:order_id>/html/", views.order_detail_html, name="order-detail-html"),
    path("orders/slow/", views.order_slow, name="order-slow"),
    path("orders/with-users/", views.get_all_orders_with_users, name="orders-with-users"),
    path(
        "orders/with-users/optimized/",
        views.get_all_orders_with_users_optimized,
        name="orders-with-users-optimized",
    ),
    path("api/", include((router.urls, "api"))),
]
