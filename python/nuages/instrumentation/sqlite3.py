"""`SQLite3Instrumentor`: SQLite."""

from nuages.instrumentation.base import DatabaseInstrumentor

__all__ = ["SQLite3Instrumentor"]


class SQLite3Instrumentor(DatabaseInstrumentor):
    library = ""
