"""Tracing as an application sets it up by itself. FORKS_INIT says where that happens: `auto`: nowhere (NUAGES_AUTO does it), `module`: in wsgi.py,
asgi.py, tasks.py or manage.py, `on_starting`: in gunicorn's master and then again in the modules, as the guide has it."""

import os


def initialize():
    import nuages

    nuages.install()
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.version": "1"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True)))
    trace.set_tracer_provider(provider)
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    DjangoInstrumentor().instrument()


def initialize_module():
    if os.environ["FORKS_INIT"] != "auto":
        initialize()
