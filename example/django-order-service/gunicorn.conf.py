"""gunicorn's configuration. `DJANGO_SETTINGS_MODULE` has to be known before tracing starts in the master."""

import multiprocessing
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

bind = os.getenv("GUNICORN_BIND", "0.0.0.0:8000")
backlog = 2048

workers = int(os.getenv("GUNICORN_WORKERS", multiprocessing.cpu_count() * 2 + 1))
worker_class = "sync"
worker_connections = 1000
max_requests = 1000
max_requests_jitter = 50
timeout = 30
keepalive = 5

accesslog = "-"
errorlog = "-"
loglevel = os.getenv("LOG_LEVEL", "info")
# CustomHeaderMiddleware puts the id into the WSGI environ; gunicorn writes `-` for a request that never reached it.
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" trace_id=%({trace_id}e)s'

proc_name = "django-order-service"


def on_starting(server):
    from myproject.tracing import initialize_tracing

    initialize_tracing()


def post_worker_init(worker):
    print(f"Worker {worker.pid} initialized with OpenTelemetry tracing", flush=True)
