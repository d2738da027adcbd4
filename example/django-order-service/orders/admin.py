from django.contrib import admin

from .models import Order, OrderItem


class OrderItemInline(admin.TabularInline):
    model = OrderItem
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "user", "product_name", "amount", "status", "created_at")
    list_filter = ("status",)
    list_select_related = ("user",)
    search_fields = ("product_name", "user__username")
    inlines = [OrderItemInline]
