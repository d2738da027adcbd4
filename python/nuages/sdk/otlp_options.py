"""What the two OTLP exporters share: how arguments and environment variables become the settings of the native client, and the exporter base.

Every variable means what opentelemetry-python makes of it, for both protocols; `OTEL_EXPORTER_OTLP_TRACES_<name>` wins over the general name. An
explicit scheme in the endpoint wins over `insecure` (R16.06). A value that cannot be used never raises: the default is taken and one line names
the variable and the value, unless it may hold a secret. Endpoints are read by one parser, the native one (native/net/endpoint.cc).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union
from urllib.parse import unquote

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from nuages import _native, settings
from nuages.sdk import foreign

logger = logging.getLogger("nuages")

Headers = Union[Mapping[str, str], Sequence[tuple[str, str]], str, None]
PREFIXES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")
GRPC, HTTP = "grpc", "http/protobuf"
SHUTDOWN_GRACE_MS = 200  # for a request that is on its way when its exporter is shut down
DEFAULT_MAX_REQUEST = 3 << 20  # bytes of one request before compression; receivers refuse more than 4 MiB by default


def env(name: str) -> tuple[str, str]:
    """(variable, value) of OTEL_EXPORTER_OTLP_TRACES_<name>, else of OTEL_EXPORTER_OTLP_<name>; ("", "") when neither is set."""
    for prefix in PREFIXES:
        value = os.environ.get(prefix + name, "").strip()
        if value:
            return prefix + name, value
    return "", ""


def env_bool(name: str) -> Optional[bool]:
    variable, value = env(name)
    word = value.lower()
    if not word:
        return None
    if word in {"true", "1", "yes", "on"}:
        return True
    if word not in {"false", "0", "no", "off"}:
        logger.warning("%s has the value %r; using false. Use true or false.", variable, value)
    return False


def protocol() -> str:
    """OTEL_EXPORTER_OTLP_[TRACES_]PROTOCOL: grpc (the default, as in opentelemetry-python) or http/protobuf."""
    variable, value = env("PROTOCOL")
    word = value.lower()
    if word in {"", GRPC, HTTP}:
        return word or GRPC
    if word == "http/json":
        logger.error("%s=http/json is not supported; using http/protobuf, which the same port accepts.", variable)
        return HTTP
    logger.error("%s has the value %r; using grpc. Use grpc or http/protobuf.", variable, value)
    return GRPC


def metric_interval() -> int:
    """OTEL_METRIC_EXPORT_INTERVAL in milliseconds, as the metrics SDK reads it."""
    value = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    try:
        interval = int(float(value)) if value else 60_000
    except ValueError:
        interval = 0
    if 0 < interval < 2**32:
        return interval
    logger.error("OTEL_METRIC_EXPORT_INTERVAL has the value %r; using 60000. Use milliseconds.", value)
    return 60_000


# ---- headers


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


def _header_pairs(headers: Headers) -> list[tuple[str, str]]:
    if headers is None:
        return []
    if isinstance(headers, str):
        return _parse_header_text(headers)
    if isinstance(headers, Mapping):
        return [(str(key), str(value)) for key, value in headers.items()]
    return [(str(key), str(value)) for key, value in headers]


def _header_allowed(name: str, value: str) -> bool:
    if not name or any(not 0x21 <= ord(c) < 0x7F or c in '()<>@,;:\\"/[]?={}' for c in name):
        logger.error("The OTLP header %r is left out: HTTP does not allow that name.", name)
        return False
    if any(ord(c) < 0x20 or c == "\x7f" for c in value):
        logger.error("The OTLP header %r is left out: its value holds a control character, such as a line end.", name)
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        logger.error("The OTLP header %r is left out: its value cannot be encoded.", name)
        return False
    return True


def parse_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Lower-case names, in order; a later one replaces an earlier one of that name. A bearer header without a key is left out with one
    warning: the server could only refuse it (R2.07)."""
    kept: dict[str, str] = {}
    for key, value in _header_pairs(headers):
        name = key.strip().lower()
        if name == "authorization" and value.strip().lower() in {"", "bearer", "bearer none"}:
            logger.warning(
                "The OTLP header 'authorization' holds no key (is SCOUT_API_KEY set?); the header is not sent."
            )
        elif _header_allowed(name, value):
            kept[name] = value
    return tuple(kept.items())


# ---- other values


def parse_timeout(timeout: Optional[float]) -> float:
    """Seconds, as opentelemetry-python has it (the specification's milliseconds would make 10 s of its users' 10 ms)."""
    if timeout:
        return float(timeout)
    variable, text = env("TIMEOUT")
    if text:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if 0 < seconds < 1e6:
            return seconds
        logger.error("%s has the value %r; using 10. Use seconds.", variable, text)
    return 10.0


def parse_compression(compression: Any, allowed: tuple[str, ...]) -> str:
    if compression is None:
        variable, value = env("COMPRESSION")
        word = value.lower() or "none"
        if word not in allowed:
            logger.error("%s has the value %r; using none. Use %s.", variable, value, " or ".join(allowed))
            word = "none"
        return word
    # grpc.Compression is an IntEnum: NoCompression 0, Deflate 1, Gzip 2; the HTTP exporter's enums have text values
    name = str(getattr(compression, "name", compression)).lower()
    return {"gzip": "gzip", "2": "gzip", "deflate": "deflate", "1": "deflate"}.get(name, "none")


def readable_file(path: Optional[str], name: str) -> str:
    """The path, given in code or by the variable; '' when there is none. One line when it cannot be read: every export would fail."""
    where = f"the argument for {PREFIXES[1]}{name}"
    text = os.fspath(path) if path else ""
    if not text:
        where, text = env(name)
    if text:
        try:
            with open(text, "rb"):
                pass
        except OSError as error:
            logger.error("%s names %r, which cannot be read (%s); no span can be sent.", where, text, error.strerror)
    return text


def authorities(name: str = "CERTIFICATE", path: Optional[str] = None, *, http: bool) -> str:
    """The PEM file of trusted authorities: ours, else the one that the official exporter of that protocol would have used."""
    given = readable_file(path, name)
    if given:
        return given
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if http else ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",)
    for variable in (*variables, "SSL_CERT_FILE"):
        value = os.environ.get(variable, "")
        if value and os.path.isfile(value):
            return value
    return ""


def system_authorities() -> str:
    """Where this system keeps the authorities it trusts, a PEM file or a directory: a libcurl linked into a wheel knows no default."""
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    if paths.capath and os.listdir(paths.capath):
        return paths.capath
    known = (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    )
    return next((path for path in known if os.path.isfile(path)), "")


def proxies(tls: bool, *, http: bool) -> tuple[str, str]:
    """(proxy, no_proxy) for this process: gRPC reads the variables that grpc reads, HTTP those that requests reads."""

    def first(*names: str) -> str:
        return next((os.environ[name].strip() for name in names if os.environ.get(name, "").strip()), "")

    if not http:
        return first("grpc_proxy", "https_proxy", "http_proxy"), first("no_grpc_proxy", "no_proxy", "NO_PROXY")
    # not HTTP_PROXY in a CGI program: there it is a request header
    cgi = "REQUEST_METHOD" in os.environ
    names = ("https_proxy", "HTTPS_PROXY") if tls else ("http_proxy", *(() if cgi else ("HTTP_PROXY",)))
    return first(*names, "all_proxy", "ALL_PROXY"), first("no_proxy", "NO_PROXY")


# ---- the exporter


class NativeExporter(SpanExporter):  # type: ignore[misc]
    """An OTLP exporter whose work a native pipeline does. A batch processor around an exporter of exactly one of the two subclasses never
    calls `export()`; `_official` is set when only the official exporter can do what was asked for."""

    _protocol = GRPC
    _official: Any = None
    _max_request_size = 0  # 0: batches are cut at DEFAULT_MAX_REQUEST

    def _configure(self, client: dict[str, Any]) -> None:
        self._pipeline: Any = None
        self._shutdown = False
        self._headers = tuple(client["headers"])
        self._timeout = client["timeout_ms"] / 1000
        self._compression = client["compression"]
        client["protocol"] = self._protocol
        client["version"] = _version()
        try:
            self._url, tls, host, port, socket, warning = _native.parse_endpoint(client)
        except ValueError as error:
            # the pipeline says the same with every batch it cannot send
            logger.error("%s. No span can be sent.", error)
            tls, self._url = True, client["endpoint"].rpartition("@")[2]
            self._endpoint = self._url
        else:
            if warning:
                logger.warning("%s", warning[0].upper() + warning[1:] + ".")
            self._endpoint = self._url
            if socket:
                self._url = self._endpoint = f"unix:{socket}"
            elif self._protocol == GRPC:  # the official attribute: host:port
                self._endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                self._url = f"{'https' if tls else 'http'}://{self._endpoint}"
        self._insecure = not tls
        if tls and not client["ca_file"]:
            client["ca_file"] = system_authorities()
        client["proxy"], client["no_proxy"] = proxies(tls, http=self._protocol == HTTP)
        self._client_settings = client

    @property
    def native(self) -> bool:
        """Whether a native pipeline can do everything this exporter was asked for."""
        return self._official is None

    def pipeline_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "client": dict(self._client_settings),
            "max_outage_bytes": int(settings.get("outage_bytes")),
            "self_metrics_ms": metric_interval() if settings.get("self_metrics") else 0,
        }
        if 0 < self._max_request_size < DEFAULT_MAX_REQUEST:
            options["max_request_bytes"] = self._max_request_size
        return options

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """For wrappers that call an exporter themselves: sends these spans now and waits at most the timeout."""
        if self._official is not None:
            result: SpanExportResult = self._official.export(spans)
            return result
        if self._shutdown:
            self._official_logger().warning("Exporter already shutdown, ignoring batch")
            return SpanExportResult.FAILURE
        from nuages.sdk.export import described, make_pipeline

        if self._pipeline is None:
            self._pipeline = make_pipeline(
                self, max_queue_size=8192, max_export_batch_size=8192, schedule_delay_millis=3_600_000
            )
        groups: dict[int, list[Any]] = {}  # by identity: a Resource makes JSON of itself to be hashed
        for span in spans:
            groups.setdefault(id(span.resource), []).append(span)
        deadline = time.monotonic() + self._timeout
        accepted = done = 0
        for group in groups.values():
            self._pipeline.set_resource(*described(group[0].resource))
            before = self._pipeline.counters()["exported"]
            copies = [foreign.native(span) for span in group]
            accepted += sum(1 for copy in copies if copy is not None and self._pipeline.publish(copy))
            self._pipeline.force_flush(max(0, int((deadline - time.monotonic()) * 1000)))
            done += self._pipeline.counters()["exported"] - before
        return SpanExportResult.SUCCESS if accepted == len(spans) and done >= accepted else SpanExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if self._official is not None:
            self._official.shutdown()
        elif self._shutdown:
            self._official_logger().warning("Exporter already shutdown, ignoring call")
        elif self._pipeline is not None:
            # export() has waited for its spans; what is still there is another thread's retry, which ends now
            self._pipeline.shutdown(min(int(timeout_millis), SHUTDOWN_GRACE_MS))
        self._shutdown = True

    def _official_logger(self) -> logging.Logger:
        """What the official exporter says about its use, where programs that filter logs expect it."""
        return logging.getLogger(f"opentelemetry.exporter.otlp.proto.{self._protocol.partition('/')[0]}.trace_exporter")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # export() returns when the spans are sent


def _version() -> str:
    from nuages import __version__

    return __version__


def exporter_class(protocol: str) -> Any:
    if protocol in (HTTP, "http"):
        from nuages.sdk.otlp_http import OTLPSpanExporter as HttpExporter

        return HttpExporter
    from nuages.sdk.otlp_grpc import OTLPSpanExporter as GrpcExporter

    return GrpcExporter


def default_exporter() -> NativeExporter:
    """The exporter that OTEL_EXPORTER_OTLP_PROTOCOL asks for, from the environment alone."""
    exporter: NativeExporter = exporter_class(protocol())()
    return exporter
