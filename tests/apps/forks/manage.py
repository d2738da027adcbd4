import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    from shop.tracing import initialize_module

    initialize_module()
    execute_from_command_line(sys.argv)
