"""`MySQLClientInstrumentor`: MySQL through mysqlclient."""

from nuages.instrumentation.base import DatabaseInstrumentor

__all__ = ["MySQLClientInstrumentor"]


class MySQLClientInstrumentor(DatabaseInstrumentor):
    library = "mysqlclient"
