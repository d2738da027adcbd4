"""A Django request in this one process, exported to a receiver in it: what can be tested where a process cannot start another (qemu-user)."""

import os
import platform

import conftest


def main() -> None:
    receiver = conftest.Receiver()
    os.environ.update(
        DJANGO_SETTINGS_MODULE="shop_settings",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
    )
    import nuages.auto  # noqa: F401
    import serve
    from nuages import _native
    from opentelemetry import trace

    serve.main()
    assert trace.get_tracer_provider().force_flush(30_000)
    tree = receiver.tree()
    print("\n".join(tree[-18:]))
    assert sum(line.strip().startswith("SELECT FROM shop_app_author") for line in tree) == 10, tree
    assert any(line.startswith("GET /books/") for line in tree)
    print(f"{_native.__file__.rpartition('/')[2]} on {platform.machine()}: {len(receiver.spans())} spans exported")


main()
