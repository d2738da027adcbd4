"""Gunicorn's configuration with the initialisation in its master."""


def on_starting(server):
    from shop.tracing import initialize

    initialize()
