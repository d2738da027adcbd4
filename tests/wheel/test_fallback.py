"""Without the native core: everything that uses nuages goes on with the official SDK, and one line says so.

On CPython the extension's import is made to fail; on PyPy and free-threaded builds there is none to begin with.
"""

from __future__ import annotations

import pytest
from test_django import ON_RAMPS

NO_CORE = """
import importlib.machinery, sys
_find = importlib.machinery.PathFinder.find_spec
def _without(name, path=None, target=None):
    hidden = ("nuages._native",) + HIDDEN
    return None if any(name == one or name.startswith(one + ".") for one in hidden) else _find(name, path, target)
importlib.machinery.PathFinder.find_spec = _without
"""
LINE = "nuages has no native core here"


def without_core(code, hidden=()):
    return NO_CORE.replace("HIDDEN", repr(tuple(hidden))) + code


@pytest.mark.parametrize(
    "name", [name for name in ON_RAMPS if "import nuages" in ON_RAMPS[name][0] or "INSTALLED" in name]
)
def test_an_on_ramp_uses_the_official_sdk_and_instrumentation(program, receiver, name):
    pytest.importorskip("opentelemetry.instrumentation.django")
    done = program(without_core(ON_RAMPS[name][0]))
    assert done.stdout.startswith("200 OK") and done.stderr.count(LINE) == 1 and len(done.stderr.splitlines()) == 1, (
        done.stderr
    )
    (span,) = [span for span in receiver.spans() if span.kind == 2]
    assert span.name.startswith("GET") and receiver.resource()["service.name"] == "shop_settings"
    assert receiver.resource()["telemetry.sdk.name"] == "opentelemetry"


def test_the_guides_code_gets_the_official_classes(program, receiver):
    pytest.importorskip("opentelemetry.instrumentation.django")
    program(without_core("import nuages; nuages.install()\n" + ON_RAMPS["the guide's own code"][0]))
    assert [span.kind for span in receiver.spans()] == [2]
    assert receiver.resource()["service.name"] == "guide"


def test_without_the_official_exporter_and_instrumentation_the_application_still_starts(program, receiver):
    hidden = ("opentelemetry.exporter", "opentelemetry.instrumentation")
    done = program(without_core("import nuages; nuages.install()\n" + ON_RAMPS["the guide's own code"][0], hidden))
    assert done.stdout.startswith("200 OK")
    assert done.stderr.count(LINE) == 1 and done.stderr.count("no spans can be exported") == 1, done.stderr


def test_a_core_that_does_not_load_is_named_in_the_line(program, receiver):
    done = program(
        """
import importlib.machinery, sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "nuages._native":
            raise ImportError("libz.so.1: cannot open shared object file")
sys.meta_path.insert(0, Broken())
import nuages; nuages.install(); nuages.install()
from opentelemetry.sdk.trace import TracerProvider
with TracerProvider().get_tracer("t").start_as_current_span("works") as span:
    assert span.is_recording() and not type(span).__module__.startswith("nuages")
"""
    )
    assert done.stderr.count("\n") == 1 and LINE in done.stderr, done.stderr
