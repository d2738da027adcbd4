"""The official instrumentors of other libraries: which there are, and switching on those that are installed.

What nuages hooks itself (Django, Celery, databases, Redis, Jinja2) is not in the list. With an automatic on-ramp an instrumentor is switched on
when its library has been imported, as `opentelemetry-instrument` does for all at the start; nothing is imported for a library that the
application does not use. `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` (names or `*`) keeps it out. An application that calls `instrument()` itself
gets its own options: what we did is undone first.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from types import ModuleType
from typing import Any, NamedTuple

from nuages import _import

logger = logging.getLogger("nuages")


class Instrumentor(NamedTuple):
    name: str  # as in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, and the end of the distribution's name
    distributions: tuple[str, ...]  # of the library; none: the standard library
    versions: tuple[int, int]  # supported major versions: from, up to but not
    watched: str  # the library's module after whose import it can be switched on
    module: str  # below opentelemetry.instrumentation
    classes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        return f"opentelemetry-instrumentation-{self.name}"


KNOWN = (
    Instrumentor("aio-pika", ("aio-pika",), (7, 11), "aio_pika", "aio_pika", ("AioPikaInstrumentor",)),
    Instrumentor("aiohttp-client", ("aiohttp",), (3, 4), "aiohttp", "aiohttp_client", ("AioHttpClientInstrumentor",)),
    Instrumentor("aiokafka", ("aiokafka",), (0, 1), "aiokafka", "aiokafka", ("AIOKafkaInstrumentor",)),
    Instrumentor("asyncpg", ("asyncpg",), (0, 1), "asyncpg", "asyncpg", ("AsyncPGInstrumentor",)),
    Instrumentor("boto3sqs", ("boto3",), (1, 2), "boto3", "boto3sqs", ("Boto3SQSInstrumentor",)),
    Instrumentor("botocore", ("botocore",), (1, 2), "botocore.client", "botocore", ("BotocoreInstrumentor",)),
    Instrumentor(
        "confluent-kafka",
        ("confluent-kafka",),
        (1, 3),
        "confluent_kafka",
        "confluent_kafka",
        ("ConfluentKafkaInstrumentor",),
    ),
    Instrumentor("grpc", ("grpcio",), (1, 2), "grpc", "grpc", ("GrpcInstrumentorClient", "GrpcAioInstrumentorClient")),
    Instrumentor("httpx", ("httpx",), (0, 2), "httpx", "httpx", ("HTTPXClientInstrumentor",)),
    Instrumentor("kafka-python", ("kafka-python",), (2, 4), "kafka", "kafka", ("KafkaInstrumentor",)),
    Instrumentor("mysql", ("mysql-connector-python",), (8, 99), "mysql.connector", "mysql", ("MySQLInstrumentor",)),
    Instrumentor("pika", ("pika",), (0, 2), "pika", "pika", ("PikaInstrumentor",)),
    Instrumentor("pymemcache", ("pymemcache",), (1, 5), "pymemcache", "pymemcache", ("PymemcacheInstrumentor",)),
    Instrumentor("pymongo", ("pymongo",), (3, 5), "pymongo", "pymongo", ("PymongoInstrumentor",)),
    Instrumentor("requests", ("requests",), (2, 3), "requests", "requests", ("RequestsInstrumentor",)),
    Instrumentor("sqlalchemy", ("SQLAlchemy",), (1, 3), "sqlalchemy", "sqlalchemy", ("SQLAlchemyInstrumentor",)),
    Instrumentor("urllib", (), (3, 4), "urllib.request", "urllib", ("URLLibInstrumentor",)),
    Instrumentor("urllib3", ("urllib3",), (1, 3), "urllib3", "urllib3", ("URLLib3Instrumentor",)),
)
# Elasticsearch's client (8.13 on) makes its spans itself; the official package for older ones has ended.

# Distributions that the hooks of nuages trace themselves.
NATIVE = (
    "Django",
    "djangorestframework",
    "celery",
    "psycopg2",
    "psycopg2-binary",
    "psycopg",
    "PyMySQL",
    "mysqlclient",
    "redis",
    "Jinja2",
)

_watching = False


def watch() -> None:
    """Each instrumentor goes in after its library; once per process."""
    global _watching
    if _watching:
        return
    _watching = True
    disabled = {word.strip() for word in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    if "*" in disabled:
        return
    for known in KNOWN:
        if known.name not in disabled and known.name.replace("-", "_") not in disabled:
            _import.finder().watch(known.watched, functools.partial(_appeared, known))


def _appeared(known: Instrumentor, module: ModuleType) -> None:
    name = f"opentelemetry.instrumentation.{known.module}"
    try:
        # A parent that only nuages serves has no path to look below.
        if importlib.util.find_spec(name) is None:
            return
        official = importlib.import_module(name)
    except ImportError:
        return
    for class_name in known.classes:
        try:
            _switch_on(getattr(official, class_name)())
        except Exception:
            logger.exception("%s could not be switched on; the application is not affected", class_name)


def _switch_on(instrumentor: Any) -> None:
    if instrumentor.is_instrumented_by_opentelemetry:
        return
    original = instrumentor.instrument
    original()
    if not instrumentor.is_instrumented_by_opentelemetry:
        return  # it has said why

    def instrument(**options: Any) -> Any:
        """The application's own call, with its options."""
        vars(instrumentor).pop("instrument", None)
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()
        return original(**options)

    instrumentor.instrument = instrument
    logger.info("%s is switched on", type(instrumentor).__name__)
