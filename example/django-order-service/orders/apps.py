from django.apps import AppConfig
from django.db.backends.signals import connection_created


class OrdersConfig(AppConfig):
    name = "orders"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        connection_created.connect(use_write_ahead_log, dispatch_uid="orders.use_write_ahead_log")


def use_write_ahead_log(connection, **kwargs):
    # `transaction_mode` and `init_command` are options of Django 5.1; this works with every version.
    if connection.vendor == "sqlite":
        connection.connection.execute("PRAGMA journal_mode = WAL").close()
        connection.connection.execute("PRAGMA synchronous = NORMAL").close()
