"""Gunicorn's configuration. With FORKS_INIT=on_starting the initialisation is in its master; gevent wants to patch before a preloaded application.

A SIGTERM that reaches a worker between its fork and its init_signals() meets the master's handler there and is forgotten: gunicorn then waits for
its graceful timeout and kills that worker, traced or not (a `post_fork` that sleeps shows it). The matrix stops its servers while workers are
recycled, so it closes that gap: a new worker's SIGTERM waits until the worker listens to it.
"""

import os
import signal

STOP = {signal.SIGTERM}
master = os.getpid()


if os.environ["FORKS_GEVENT"] == "True":
    from gevent import monkey

    monkey.patch_all()


def on_starting(server):
    if os.environ["FORKS_INIT"] == "on_starting":
        from shop.tracing import initialize

        initialize()


def block():
    if os.getpid() == master:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


def unblock():
    if os.getpid() == master:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)


os.register_at_fork(before=block, after_in_parent=unblock)


def post_worker_init(worker):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
