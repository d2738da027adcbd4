"""Propagators by OpenTelemetry's own mechanism: entry points of the group `opentelemetry_propagator`, chosen by OTEL_PROPAGATORS.

b3, b3multi and jaeger work without the official packages; tracecontext is native. Baggage is the API's own.
"""
