"""What an application set up with the official packages before `nuages.install()`: taken over in place.

- exporter classes that were imported already make native exporters;
- processors of an adopted provider: what exports by OTLP becomes a native pipeline where nothing is lost by that, the rest stays the official
  class and hands out masked copies;
- instrumentations whose place our hooks take are undone, or every request and query would be told twice.

Nothing here raises; what cannot be taken over stays as it was.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from types import ModuleType
from typing import Any, Optional

from nuages import _import, settings

logger = logging.getLogger("nuages")


# ---- exporters


def exporter_classes() -> None:
    """The official exporter modules were imported before us: their class makes native exporters where the arguments allow it."""
    from nuages.sdk import otlp_grpc, otlp_http

    for ours, position in (
        (otlp_grpc, 2),
        (otlp_http, 7),
    ):  # position: of the first argument that is an object of grpc or requests
        module = sys.modules.get(ours.OFFICIAL)
        if module is not None and not getattr(module, "__nuages__", False):
            _rebind_exporter(module, ours.OTLPSpanExporter, position)


_OBJECTS = ("credentials", "channel_options", "retryable_error_codes", "session", "_transport")


def _rebind_exporter(module: ModuleType, native: Any, position: int) -> None:
    original: Any = module.OTLPSpanExporter
    setattr(module, "OTLPSpanExporter", native)  # noqa: B010

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls is not original or len(args) > position or any(kwargs.get(name) for name in _OBJECTS):
            return object.__new__(cls)
        return native(*args, **kwargs)

    original.__new__ = staticmethod(__new__)


def native_exporter(exporter: Any) -> Optional[Any]:
    """A native exporter that does the same as an official one that exists already; None where that cannot be known."""
    from nuages.sdk import otlp_grpc, otlp_http

    kind = type(exporter)
    try:
        if kind.__name__ == "OTLPSpanExporter" and kind.__module__ == otlp_grpc.OFFICIAL:
            return _native_grpc(exporter)
        if kind.__name__ == "OTLPSpanExporter" and kind.__module__ == otlp_http.OFFICIAL:
            return _native_http(exporter)
    except Exception:
        logger.debug("an exporter stays the official one", exc_info=True)
    return None


def _native_grpc(exporter: Any) -> Optional[Any]:
    from nuages.sdk import otlp_grpc

    official: Any = sys.modules["opentelemetry.exporter.otlp.proto.grpc.exporter"]
    options = getattr(official, "_OTLP_GRPC_CHANNEL_OPTIONS", None)
    codes = getattr(official, "_RETRYABLE_ERROR_CODES", None)
    # TLS: its credentials are an object of grpc that does not tell what is in it
    if (
        not exporter._insecure
        or tuple(getattr(exporter, "_channel_options", options) or ()) != tuple(options or ())
        or getattr(exporter, "_retryable_error_codes", codes) != codes
    ):
        return None
    return otlp_grpc.OTLPSpanExporter(
        endpoint=f"http://{exporter._endpoint}",
        insecure=True,
        headers=[(str(key), str(value)) for key, value in exporter._headers if str(key).lower() != "user-agent"],
        timeout=exporter._timeout,
        compression=exporter._compression,
    )


def _native_http(exporter: Any) -> Optional[Any]:
    from nuages.sdk import otlp_http

    client: Any = getattr(
        exporter, "_client", exporter
    )  # 1.4x has a client with a transport, before it was all in the exporter
    session: Any = getattr(client, "_transport", client)._session
    if not _is_plain(session):
        return None
    verify = getattr(exporter, "_certificate_file", session.verify)
    certificate = getattr(exporter, "_client_cert", session.cert) or (None, None)
    if verify is False:
        return None
    certificate_file, key_file = (certificate, None) if isinstance(certificate, str) else certificate
    usual = {
        "content-type",
        "content-encoding",
        *(str(key).lower() for key in importlib.import_module("requests").Session().headers),
    }
    sent = {**session.headers, **client._headers}
    sizes = {"max_request_size": exporter._max_request_size} if hasattr(exporter, "_max_request_size") else {}
    return otlp_http.OTLPSpanExporter(
        endpoint=exporter._endpoint,
        certificate_file=None if verify is True else verify,
        client_key_file=key_file,
        client_certificate_file=certificate_file,
        headers={str(key): str(value) for key, value in sent.items() if str(key).lower() not in usual},
        timeout=client._timeout,
        compression=exporter._compression,
        **sizes,
    )


def _is_plain(session: Any) -> bool:
    """A requests.Session as the exporter makes it: nobody gave it something that only requests can do."""
    requests: Any = importlib.import_module("requests")
    plain = requests.Session()
    return (
        type(session) is requests.Session
        and not (session.auth or session.proxies or session.params or len(session.cookies))
        and session.trust_env
        and session.hooks == plain.hooks
        and [type(one) for one in session.adapters.values()] == [type(one) for one in plain.adapters.values()]
    )


# ---- processors


def processors(provider: Any) -> None:
    """The official processors of a provider that has just become native; what they have queued is flushed first."""
    from nuages.sdk import export

    ours = {
        export.OfficialBatchSpanProcessor: export.BatchSpanProcessor,
        export.OfficialSimpleSpanProcessor: export.SimpleSpanProcessor,
    }
    kept = []
    for processor in provider._active_span_processor._span_processors:
        native_class = ours.get(type(processor))
        exporter = native_exporter(getattr(processor, "span_exporter", None)) if native_class is not None else None
        if native_class is None:
            kept.append(processor)
        elif exporter is None:
            kept.append(_mask(processor, native_class))
        else:
            kept.append(_native_processor(processor, exporter))
            threading.Thread(target=processor.shutdown, name="nuages-adopt", daemon=True).start()
    provider._active_span_processor._span_processors = tuple(kept)


def _native_processor(processor: Any, exporter: Any) -> Any:
    from nuages.sdk import export

    if type(processor) is export.OfficialSimpleSpanProcessor:
        return export.SimpleSpanProcessor(exporter)
    inner = getattr(processor, "_batch_processor", None)
    return export.BatchSpanProcessor(
        exporter,
        max_queue_size=getattr(inner, "_max_queue_size", None),
        schedule_delay_millis=getattr(inner, "_schedule_delay_millis", None) or None,
        max_export_batch_size=getattr(inner, "_max_export_batch_size", None),
    )


def _mask(processor: Any, native_class: Any) -> Any:
    """The same object goes on with its exporter, which gets masked copies from now on."""
    from nuages.sdk import export

    processor.__class__ = native_class
    inner = getattr(processor, "_batch_processor", None)
    if native_class is export.BatchSpanProcessor:
        if inner is not None:
            inner._exporter = export.MaskingExporter(inner._exporter)
        else:
            processor.__dict__["span_exporter"] = export.MaskingExporter(processor.span_exporter)
    return processor


# ---- instrumentations


def instrumentors() -> None:
    """Official instrumentors that were imported before us become ours; what they have patched is put back."""
    if settings.get("sdk_disabled"):
        return
    for name, target in _import.INSTRUMENTORS.items():
        module = sys.modules.get(name)
        if module is None or getattr(module, "__nuages__", False):
            continue
        try:
            ours: Any = importlib.import_module(target)
            for class_name in ours.__all__:
                original = getattr(module, class_name, None)
                if original is not None:
                    _replace_instrumentor(module, class_name, original, getattr(ours, class_name))
        except Exception:
            logger.exception("%s was imported before nuages and could not be taken over; it stays as it was", name)


def _replace_instrumentor(module: ModuleType, name: str, original: Any, native: Any) -> None:
    setattr(module, name, native)
    active: Any = getattr(original, "_instance", None)
    was_active = active is not None and active.is_instrumented_by_opentelemetry
    options = _options_of(module) if was_active else {}
    if was_active:
        active.uninstrument()
    base_new, base_instrument, base_uninstrument = original.__new__, original.instrument, original.uninstrument

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return native() if cls is original else base_new(cls, *args, **kwargs)

    # the application may hold the official object
    def instrument(self: Any, **kwargs: Any) -> Any:
        return native().instrument(**kwargs) if type(self) is original else base_instrument(self, **kwargs)

    def uninstrument(self: Any, **kwargs: Any) -> Any:
        return native().uninstrument(**kwargs) if type(self) is original else base_uninstrument(self, **kwargs)

    original.__new__ = staticmethod(__new__)
    original.instrument, original.uninstrument = instrument, uninstrument
    if was_active:
        instrumentor = native()
        instrumentor.apply(options)
        type(instrumentor)._done = True


class _Every:
    """An ExcludeList that excludes every request."""

    def url_disabled(self, url: str) -> bool:
        return True


def _options_of(module: ModuleType) -> dict[str, Any]:
    """What instrument() of the official DjangoInstrumentor was given; its middleware sleeps where a handler has loaded it already."""
    middleware: Any = getattr(module, "_DjangoMiddleware", None)
    if middleware is None:
        return {}
    patterns = getattr(middleware._excluded_urls, "_excluded_urls", None)
    options = {
        "request_hook": middleware._otel_request_hook,
        "response_hook": middleware._otel_response_hook,
        "excluded_urls": ",".join(patterns) if patterns else None,
    }
    middleware._excluded_urls = _Every()
    return {name: value for name, value in options.items() if value is not None}
