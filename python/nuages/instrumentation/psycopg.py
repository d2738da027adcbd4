"""`PsycopgInstrumentor`: PostgreSQL through psycopg 3."""

from nuages.instrumentation.base import DatabaseInstrumentor

__all__ = ["PsycopgInstrumentor"]


class PsycopgInstrumentor(DatabaseInstrumentor):
    library = "psycopg"
