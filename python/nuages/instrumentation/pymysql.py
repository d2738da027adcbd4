"""`PyMySQLInstrumentor`: MySQL through PyMySQL."""

from nuages.instrumentation.base import DatabaseInstrumentor

__all__ = ["PyMySQLInstrumentor"]


class PyMySQLInstrumentor(DatabaseInstrumentor):
    library = "pymysql"
