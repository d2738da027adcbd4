"""OpenTelemetry for this project: `initialize_tracing()`, called by wsgi.py, asgi.py, celery.py and gunicorn.conf.py.

Only the official import paths are used, so the same file runs with the official packages and, without any edit, with Nuages.
"""

import importlib
import os
import warnings

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# Instrumentors of the libraries this project may use. Which of them are installed depends on the deployment.
OPTIONAL_INSTRUMENTORS = {
    "postgresql": ("opentelemetry.instrumentation.psycopg2", "Psycopg2Instrumentor"),
    "sqlite3": ("opentelemetry.instrumentation.sqlite3", "SQLite3Instrumentor"),
    "celery": ("opentelemetry.instrumentation.celery", "CeleryInstrumentor"),
    "redis": ("opentelemetry.instrumentation.redis", "RedisInstrumentor"),
}

_provider = None
_announced_in = None


def initialize_tracing():
    """Safe to call many times and on both sides of a fork: one provider per process tree, two lines on stdout per process."""
    global _provider, _announced_in
    if _provider is None:
        _provider = _create_provider()
    if _announced_in != os.getpid():
        _announced_in = os.getpid()
        environment = _provider.resource.attributes["deployment.environment"]
        print(f"OpenTelemetry tracing initialized successfully\nDeployment environment: {environment}", flush=True)


def _create_provider():
    resource = Resource.create(
        {
            "service.name": setting("OTEL_SERVICE_NAME", "django-order-service"),
            "service.version": os.getenv("APP_VERSION", "1.0.0"),
            "deployment.environment": os.getenv("ENVIRONMENT", "development"),
        }
    )
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(
        endpoint=setting("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"),
        insecure=flag("OTEL_EXPORTER_OTLP_INSECURE", default=True),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    DjangoInstrumentor().instrument()
    database = "sqlite3" if os.getenv("DB_ENGINE") == "sqlite3" else "postgresql"
    for target in (database, "celery"):
        instrument_if_installed(*OPTIONAL_INSTRUMENTORS[target])
    return provider


def setting(name, default):
    """The environment wins, then the Django setting of the same name, then the default."""
    from django.conf import settings

    return os.getenv(name) or getattr(settings, name, None) or default


def flag(name, default):
    text = os.getenv(name, "").strip().lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    if text:
        warnings.warn(f"{name} is {text!r}, which is neither true nor false; using {default}", stacklevel=2)
    return default


def instrument_if_installed(module, name):
    try:
        instrumentor = getattr(importlib.import_module(module), name)
    except ImportError:
        return
    instrumentor().instrument()
