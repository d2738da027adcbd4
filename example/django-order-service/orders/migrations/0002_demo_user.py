"""An ordinary user for orders that arrive without credentials (settings.DEMO_USER_ID), in databases that have no user yet."""

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import migrations


def create_demo_user(apps, schema_editor):
    users = apps.get_model(settings.AUTH_USER_MODEL).objects.using(schema_editor.connection.alias)
    if not users.exists():
        users.create(username="demo", email="demo@example.com", password=make_password(None))


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(create_demo_user, migrations.RunPython.noop)]
