"""OpenTelemetry for production: the same `initialize_tracing()` as in tracing.py, with sampling, an API key and the place it runs at.

To use it, import `initialize_tracing` from here in wsgi.py, asgi.py, celery.py and gunicorn.conf.py. A wrong value in the environment never keeps
the application from starting: the default is used and one line in the log names the variable.
"""

import logging
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from myproject.tracing import OPTIONAL_INSTRUMENTORS, flag, instrument_if_installed, setting

logger = logging.getLogger(__name__)

DEFAULT_SAMPLE_RATE = 0.1

_provider = None
_announced_in = None
_announcement = ""


def initialize_tracing():
    """Safe to call many times and on both sides of a fork: one provider per process tree, two lines on stdout per process."""
    global _provider, _announced_in
    if _provider is None:
        _provider = _create_provider()
    if _announced_in != os.getpid():
        _announced_in = os.getpid()
        print(_announcement, flush=True)


def _create_provider():
    global _announcement
    resource = Resource.create(
        {
            "service.name": setting("OTEL_SERVICE_NAME", "django-order-service"),
            "service.version": os.getenv("APP_VERSION", "1.0.0"),
            "deployment.environment": os.getenv("ENVIRONMENT", "production"),
            "cloud.provider": os.getenv("CLOUD_PROVIDER", "aws"),
            "cloud.region": os.getenv("AWS_REGION", "us-east-1"),
            "k8s.cluster.name": os.getenv("K8S_CLUSTER", "production"),
            "k8s.namespace.name": os.getenv("K8S_NAMESPACE", "default"),
            "k8s.pod.name": os.getenv("HOSTNAME", "unknown"),
        }
    )
    rate = sample_rate()
    provider = TracerProvider(resource=resource, sampler=ParentBased(root=TraceIdRatioBased(rate)))
    exporter = OTLPSpanExporter(
        endpoint=setting("OTEL_EXPORTER_OTLP_ENDPOINT", "https://scout.base14.io:4317"),
        headers=authorization(),
        insecure=flag("OTEL_EXPORTER_OTLP_INSECURE", default=False),
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=2048,
            max_export_batch_size=512,
            schedule_delay_millis=5000,
            export_timeout_millis=30000,
        )
    )
    trace.set_tracer_provider(provider)

    DjangoInstrumentor().instrument(excluded_urls="health/,readiness/,liveness/,metrics/,favicon.ico")
    database = "sqlite3" if os.getenv("DB_ENGINE") == "sqlite3" else "postgresql"
    for target in (database, "celery", "redis"):
        instrument_if_installed(*OPTIONAL_INSTRUMENTORS[target])

    described = resource.attributes
    _announcement = (
        f"OpenTelemetry initialized: {described['service.name']} v{described['service.version']} (sample rate: {rate})\n"
        f"Deployment environment: {described['deployment.environment']}"
    )
    return provider


def sample_rate():
    text = os.getenv("OTEL_TRACE_SAMPLE_RATE", "").strip()
    if not text:
        return DEFAULT_SAMPLE_RATE
    try:
        rate = float(text)
        if 0 <= rate <= 1:
            return rate
    except ValueError:
        pass
    logger.error("OTEL_TRACE_SAMPLE_RATE is %r, which is no number from 0 to 1; using %s", text, DEFAULT_SAMPLE_RATE)
    return DEFAULT_SAMPLE_RATE


def authorization():
    key = os.getenv("SCOUT_API_KEY", "").strip()
    if key:
        return {"authorization": f"Bearer {key}"}
    logger.warning("SCOUT_API_KEY is not set: spans are sent without an authorization header")
    return None
