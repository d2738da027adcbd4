"""`OTLPSpanExporter` over the native transport; served as `opentelemetry.exporter.otlp.proto.grpc.trace_exporter`.

The constructor takes what the official class takes. A BatchSpanProcessor around an exporter of exactly this class becomes a native pipeline
and never calls `export()`. Arguments that only grpc objects can express (credentials, channel_options, retryable_error_codes) load the official
exporter, which then does the work. An explicit scheme wins over `insecure` (R16.06); everything else means what the official class makes of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from nuages import _import

__all__ = ["OTLPSpanExporter", "SpanExportResult", "SpanExporter"]

logger = logging.getLogger("nuages")

Headers = Union[Mapping[str, str], Sequence[tuple[str, str]], str, None]
OFFICIAL = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
DEFAULT_ENDPOINT = "http://localhost:4317"
GRPC_PORT, HTTP_PORT, HTTPS_PORT = 4317, 4318, 443


def _env(name: str) -> Optional[str]:
    """OTEL_EXPORTER_OTLP_TRACES_<name>, else OTEL_EXPORTER_OTLP_<name>."""
    for prefix in ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"):
        value = os.environ.get(prefix + name)
        if value is not None and value.strip():
            return value.strip()
    return None


def _env_bool(name: str) -> Optional[bool]:
    value = _env(name)
    if value is None:
        return None
    word = value.lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word not in {"false", "0", "no", "off"}:
        logger.warning("OTEL_EXPORTER_OTLP_%s has the value %r; using false. Use true or false.", name, value)
    return False


def _parse_header_text(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not equals or not key.strip():
            logger.warning(
                "An OTLP header is not of the form name=value and was left out; the headers are a comma list of name=value."
            )
            continue
        pairs.append((unquote(key.strip()), unquote(value.strip())))
    return pairs


def parse_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Lower-case names, in order. A bearer header without a key is left out with one warning: the server could only refuse it (R2.07)."""
    if headers is None:
        return ()
    if isinstance(headers, str):
        pairs = _parse_header_text(headers)
    elif isinstance(headers, Mapping):
        pairs = [(str(key), str(value)) for key, value in headers.items()]
    else:
        pairs = [(str(key), str(value)) for key, value in headers]
    kept = []
    for key, value in pairs:
        name = key.strip().lower()
        if name == "authorization" and value.strip().lower() in {"", "bearer", "bearer none"}:
            logger.warning(
                "The OTLP header 'authorization' holds no key (is SCOUT_API_KEY set?); the header is not sent."
            )
            continue
        kept.append((name, value))
    return tuple(kept)


def parse_endpoint(endpoint: str, insecure: Optional[bool]) -> tuple[str, bool]:
    """(scheme://host:port, insecure) for gRPC; diagnoses what cannot be meant (R16.07)."""
    text = endpoint.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    authority, slash, path = rest.partition("/")
    rest = authority.rpartition("@")[2] + slash + path  # a password must not get into the log
    shown = f"{scheme}{separator}{rest}"
    scheme = scheme.lower()
    if scheme not in {"", "http", "https", "grpc", "grpcs"}:
        logger.error(
            "The OTLP endpoint %r has the scheme %r; using it as http. Use http:// or https://.", shown, scheme
        )
        scheme = "http"
    if scheme in {"http", "grpc"}:
        if insecure is False:
            logger.info("The OTLP endpoint %s is http: plaintext, although insecure=False.", shown)
        plain = True
    elif scheme in {"https", "grpcs"}:
        plain = False
    else:
        plain = bool(insecure)
    parts = urlsplit("//" + rest)
    host = parts.hostname or "localhost"
    try:
        port = parts.port
    except ValueError:
        logger.error("The OTLP endpoint %r has no usable port; using %d.", shown, GRPC_PORT)
        port = GRPC_PORT
    if port is None:
        port = GRPC_PORT if plain else HTTPS_PORT
    if port == HTTP_PORT:
        logger.warning("The OTLP endpoint %s is port 4318, which is OTLP/HTTP by convention; OTLP/gRPC is 4317.", shown)
    if ":" in host:
        host = f"[{host}]"
    return f"{'http' if plain else 'https'}://{host}:{port}", plain


def _parse_timeout(timeout: Optional[float]) -> float:
    if timeout:
        return float(timeout)
    text = _env("TIMEOUT")
    if text is not None:
        try:
            return float(text)
        except ValueError:
            logger.error("OTEL_EXPORTER_OTLP_TIMEOUT has the value %r; using 10. Use seconds.", text)
    return 10.0


def _parse_compression(compression: Any) -> str:
    if compression is None:
        word = (_env("COMPRESSION") or "none").lower()
        if word not in {"none", "gzip"}:
            logger.error("OTEL_EXPORTER_OTLP_COMPRESSION has the value %r; using none. Use none or gzip.", word)
            word = "none"
        return word
    # grpc.Compression is an IntEnum: NoCompression 0, Deflate 1, Gzip 2
    name = str(getattr(compression, "name", compression)).lower()
    return "gzip" if name in {"gzip", "2"} else "none"


class OTLPSpanExporter(SpanExporter):  # type: ignore[misc]
    """Sends spans over OTLP/gRPC from a native thread."""

    def __init__(
        self,
        endpoint: Optional[str] = None,
        insecure: Optional[bool] = None,
        credentials: Any = None,
        headers: Headers = None,
        timeout: Optional[float] = None,
        compression: Any = None,
        channel_options: Any = None,
        retryable_error_codes: Optional[Iterable[Any]] = None,
        *,
        meter_provider: Any = None,
    ) -> None:
        self._official: Any = None
        self._pipeline: Any = None
        if credentials is not None or channel_options or retryable_error_codes is not None:
            self._official = _official_exporter(
                endpoint,
                insecure,
                credentials,
                headers,
                timeout,
                compression,
                channel_options,
                retryable_error_codes,
                meter_provider,
            )
        if insecure is None:
            insecure = _env_bool("INSECURE")
        self._url, self._insecure = parse_endpoint(endpoint or _env("ENDPOINT") or DEFAULT_ENDPOINT, insecure)
        self._endpoint = self._url.partition("://")[2]  # the official attribute: host:port
        self._headers = parse_headers(headers or _env("HEADERS"))
        self._timeout = _parse_timeout(timeout)
        self._compression = _parse_compression(compression)
        if (
            self._insecure
            and any(name == "authorization" for name, _ in self._headers)
            and not _is_loopback(self._endpoint)
        ):
            logger.warning(
                "The OTLP endpoint %s is plaintext: the key in the authorization header travels unencrypted. Use https://.",
                self._url,
            )

    @property
    def native(self) -> bool:
        """Whether a native pipeline can do everything this exporter was asked for."""
        return self._official is None

    def pipeline_options(self) -> dict[str, Any]:
        return {
            "endpoint": self._url,
            "headers": list(self._headers),
            "timeout_ms": max(1, int(self._timeout * 1000)),
            "gzip": self._compression == "gzip",
            "ca_file": _env("CERTIFICATE") or "",
            "client_certificate": _env("CLIENT_CERTIFICATE") or "",
            "client_key": _env("CLIENT_KEY") or "",
        }

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """For wrappers that call an exporter themselves: sends these spans now and waits at most the timeout."""
        if self._official is not None:
            result: SpanExportResult = self._official.export(spans)
            return result
        from nuages.sdk.export import make_pipeline

        if self._pipeline is None:
            self._pipeline = make_pipeline(
                self, max_queue_size=8192, max_export_batch_size=8192, schedule_delay_millis=3_600_000
            )
        before = self._pipeline.counters()["exported"]
        accepted = sum(1 for span in spans if self._pipeline.publish(span))
        self._pipeline.force_flush(int(self._timeout * 1000))
        done = self._pipeline.counters()["exported"] - before
        return SpanExportResult.SUCCESS if accepted == len(spans) and done >= accepted else SpanExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if self._official is not None:
            self._official.shutdown()
        elif self._pipeline is not None:
            self._pipeline.shutdown(int(timeout_millis))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # export() returns when the spans are sent


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0]
    return host in {"localhost", "[::1]"} or host.startswith("127.")


def _official_exporter(
    endpoint: Any, insecure: Any, credentials: Any, headers: Any, timeout: Any, compression: Any, *rest: Any
) -> Any:
    channel_options, retryable_error_codes, meter_provider = rest
    try:
        module = _import.official_module(OFFICIAL, "nuages._official_otlp_grpc")
    except Exception:
        logger.error(
            "OTLPSpanExporter was given credentials, channel_options or retryable_error_codes, which need opentelemetry-exporter-otlp-proto-grpc; "
            "it is not installed, so they are ignored."
        )
        return None
    logger.info("OTLPSpanExporter was given grpc objects: the official exporter does this export.")
    arguments = {"retryable_error_codes": retryable_error_codes, "meter_provider": meter_provider}
    return module.OTLPSpanExporter(
        endpoint=endpoint,
        insecure=insecure,
        credentials=credentials,
        headers=headers,
        timeout=timeout,
        compression=compression,
        channel_options=channel_options,
        **{key: value for key, value in arguments.items() if value is not None},
    )
