from rest_framework import serializers

from .models import Order, OrderItem


class OrderSerializer(serializers.ModelSerializer):
    user = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = Order
        fields = ["id", "user", "product_name", "amount", "status", "created_at", "updated_at"]
        read_only_fields = ["created_at", "updated_at"]

    def validate_amount(self, amount):
        if amount <= 0:
            raise serializers.ValidationError("The amount must be positive.")
        return amount


class OrderItemSerializer(serializers.ModelSerializer):
    class Meta:
        model = OrderItem
        fields = ["product_sku", "quantity", "unit_price"]


class OrderDetailSerializer(OrderSerializer):
    """What is read back: the order with its items, which the view has prefetched."""

    items = OrderItemSerializer(many=True, read_only=True)

    class Meta(OrderSerializer.Meta):
        fields = [*OrderSerializer.Meta.fields, "items"]
