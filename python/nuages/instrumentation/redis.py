"""`RedisInstrumentor`: Redis commands."""

from nuages.instrumentation.base import Instrumentor

__all__ = ["RedisInstrumentor"]


class RedisInstrumentor(Instrumentor):
    library = "redis"
