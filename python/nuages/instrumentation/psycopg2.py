"""`Psycopg2Instrumentor`: PostgreSQL through psycopg2."""

from nuages.instrumentation.base import DatabaseInstrumentor

__all__ = ["Psycopg2Instrumentor"]


class Psycopg2Instrumentor(DatabaseInstrumentor):
    library = "psycopg2"
