"""Gunicorn's configuration. With FORKS_INIT=on_starting the initialisation is in its master; gevent wants to patch before a preloaded application."""

import os

if os.environ["FORKS_GEVENT"] == "True":
    from gevent import monkey

    monkey.patch_all()


def on_starting(server):
    if os.environ["FORKS_INIT"] == "on_starting":
        from shop.tracing import initialize

        initialize()
