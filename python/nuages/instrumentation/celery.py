"""`CeleryInstrumentor`: Celery producers and workers."""

from nuages.instrumentation.base import Instrumentor

__all__ = ["CeleryInstrumentor"]


class CeleryInstrumentor(Instrumentor):
    library = "celery"
