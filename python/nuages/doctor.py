"""``nuages doctor``: looks at this environment as an application would, sends one real test span, and says what is wrong and how to mend it.

Every check is one line, ``ok``, ``note`` or ``FAIL``, with the fix behind ``->``; the exit code is 0 when nothing failed, 1 otherwise. It reads
the same environment variables and, when DJANGO_SETTINGS_MODULE is set, loads the same Django settings as the application. Values that may hold
a secret are never printed.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

USAGE = "usage: nuages doctor [--timeout SECONDS]   check this environment and send one test span\n"
PACKAGES = ("nuages", "opentelemetry-api", "opentelemetry-sdk", "Django", "djangorestframework", "celery")
DEFAULT_TIMEOUT = 10.0


class Report:
    """The lines as they come, and what they add up to."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self.failed = 0
        self.notes = 0

    def section(self, title: str) -> None:
        self._out.write(f"\n{title}\n")

    def ok(self, text: str) -> None:
        self._out.write(f"  ok    {text}\n")

    def note(self, text: str, fix: str = "") -> None:
        self.notes += 1
        self._write("note", text, fix)

    def fail(self, text: str, fix: str) -> None:
        self.failed += 1
        self._write("FAIL", text, fix)

    def _write(self, word: str, text: str, fix: str) -> None:
        self._out.write(f"  {word}  {text}\n" + (f"        -> {fix}\n" if fix else ""))

    def end(self) -> int:
        if self.failed:
            self._out.write(f"\n{self.failed} of the checks failed; what to do is behind the arrows\n")
            return 1
        self._out.write("\nall checks passed" + (f", {self.notes} notes\n" if self.notes else "\n"))
        return 0


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _warnings() -> Iterator[_Lines]:
    """What the agent logs meanwhile, instead of printing it: the doctor says it in its own lines."""
    logger = logging.getLogger("nuages")
    handler, propagate = _Lines(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def main(arguments: list[str], out: Any = None) -> int:
    timeout = DEFAULT_TIMEOUT
    if arguments[:1] == ["--timeout"] and len(arguments) == 2:
        try:
            timeout = float(arguments[1])
        except ValueError:
            arguments = ["?"]
    elif arguments:
        arguments = ["?"]
    if arguments == ["?"] or not 0 < timeout < 3600:
        sys.stderr.write(USAGE)
        return 2
    report = Report(out or sys.stdout)
    _versions(report)
    if not _native_core(report):
        return report.end()
    with _warnings() as lines:
        _django(report)
        _settings(report)
        _hooks(report)
        exporter = _endpoint(report, lines)
        if exporter is not None:
            _test_span(report, exporter, timeout)
        _survival(report)
    return report.end()


# ---- versions


def _version(name: str) -> Optional[str]:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions(report: Report) -> None:
    report.section("Versions")
    found = [f"{name} {version}" for name in PACKAGES if (version := _version(name)) is not None]
    report.ok(f"Python {platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}")
    report.ok(", ".join(found))


def _native_core(report: Report) -> bool:
    try:
        from nuages import _native
    except ImportError as error:
        report.fail(
            f"the native core could not be loaded: {error}",
            "install the wheel for this Python and system (pip install --force-reinstall nuages); until then the official SDK does the work",
        )
        return False
    report.ok(f"native core {_native.__file__}")
    return True


# ---- Django, settings, hooks


def _django(report: Report) -> None:
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    report.section("Django")
    if not module:
        report.note(
            "DJANGO_SETTINGS_MODULE is not set: settings of the application are not looked at",
            "run it as the application runs, for example DJANGO_SETTINGS_MODULE=mysite.settings nuages doctor",
        )
        return
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as manage.py has it
    try:
        import nuages

        nuages.install()
        import django

        django.setup()
    except Exception as error:
        report.fail(
            f"Django could not be set up with {module}: {type(error).__name__}: {error}",
            "run this in the application's folder and environment, where manage.py check works",
        )
        return
    report.ok(f"set up with {module}")
    from django.conf import settings as django_settings

    for position, name in enumerate(getattr(django_settings, "MIDDLEWARE", ())):
        if "opentelemetry" in name.lower() or name.lower().startswith("nuages"):
            report.note(
                f"MIDDLEWARE[{position}] is {name}: not needed, requests are traced without it",
                "remove it from MIDDLEWARE",
            )


def _settings(report: Report) -> None:
    from nuages import settings

    report.section("Settings (value, and where it comes from)")
    for setting in settings.REGISTRY.values():
        value = settings.get(setting.name)
        candidates = settings._candidates(setting)
        if not candidates:
            continue  # defaults are summed up below
        shown = "(not shown)" if setting.secret else repr(value)
        report.ok(f"{setting.name} = {shown}, from {candidates[0][0]}")
    for name in sorted(os.environ):
        if name.startswith("OTEL_") and not any(name in one.env for one in settings.REGISTRY.values()):
            secret = any(word in name for word in ("HEADERS", "KEY", "TOKEN", "SECRET", "PASSWORD"))
            report.ok(f"{name} = {'(not shown)' if secret else os.environ[name]}, from the environment")
    report.ok("everything else has its default")
    for problem in settings.problems():
        report.fail(problem.message, problem.hint)
    if settings.get("sdk_disabled"):
        report.fail("OTEL_SDK_DISABLED is set: no span is ever recorded", "unset OTEL_SDK_DISABLED")
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        report.fail(
            "OTEL_TRACES_EXPORTER is none: no span is ever sent", "unset OTEL_TRACES_EXPORTER or set it to otlp"
        )
    sampler, argument = os.environ.get("OTEL_TRACES_SAMPLER", ""), os.environ.get("OTEL_TRACES_SAMPLER_ARG", "")
    if "always_off" in sampler or ("traceidratio" in sampler and argument.strip() in {"0", "0.0"}):
        report.fail(
            f"OTEL_TRACES_SAMPLER={sampler} {argument}: no trace is sampled",
            "raise OTEL_TRACES_SAMPLER_ARG, 1.0 is all",
        )


def _hooks(report: Report) -> None:
    from nuages import hooks, settings

    report.section("Hooks")
    wanted = settings.get("hooks")
    if "none" in wanted:
        report.note(
            "NUAGES_HOOKS=none: only spans made by hand are recorded",
            "unset NUAGES_HOOKS for Django, Celery and database spans",
        )
        return
    installed = hooks.installed()
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        report.note("not looked at without Django settings; they go in as Django and Celery are imported")
        return
    report.ok(f"installed: {', '.join(installed) or 'none'}")
    missing = [name for name in hooks.NAMES if name not in installed and ("all" in wanted or name in wanted)]
    if missing:
        report.ok(f"not needed, or their library is not imported: {', '.join(missing)}")
    if "request" not in installed:
        report.fail(
            "the request hook is not installed: requests are not traced",
            "see the log line of logger nuages that says why",
        )


# ---- the receiver


def _endpoint(report: Report, lines: _Lines) -> Any:
    from nuages.sdk import otlp_options

    report.section("Receiver")
    seen = len(lines.records)
    exporter = otlp_options.default_exporter()
    client = exporter.pipeline_options()["client"]
    variable = otlp_options.env("ENDPOINT")[0] or "the default"
    report.ok(f"{exporter._url} by OTLP {exporter._protocol}, from {variable}")
    if client["headers"]:
        report.ok(f"headers {', '.join(name for name, _ in client['headers'])} (values not shown)")
    if client["compression"] != "none":
        report.ok(f"compression {client['compression']}")
    for key, text in (("ca_file", "authorities"), ("client_certificate", "client certificate"), ("proxy", "proxy")):
        if client[key] and (key == "proxy" or not exporter._insecure):
            report.ok(f"{text}: {client[key].rpartition('@')[2]}")
    usable = True
    for record in lines.records[seen:]:
        what, _, fix = record.getMessage().rpartition(": ")
        if record.levelno >= logging.ERROR:
            usable = False
            report.fail(record.getMessage(), "correct the value named")
        else:
            report.note(what or fix, fix if what else "")
    return exporter if usable else None


def _test_span(report: Report, exporter: Any, timeout: float) -> None:
    """Through the same pipeline as the application's spans, with its masking."""
    from opentelemetry.sdk.resources import Resource

    from nuages import settings
    from nuages.sdk.export import BatchSpanProcessor
    from nuages.sdk.trace import TracerProvider

    settings.override(survive_kill=False)  # one span of ours, which nobody shall adopt
    name = os.environ.get("OTEL_SERVICE_NAME", "") or "nuages-doctor"
    provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter)
    settings.override(survive_kill=None)
    provider.add_span_processor(processor)
    span = provider.get_tracer("nuages.doctor").start_span("nuages doctor", attributes={"nuages.doctor": True})
    context = span.get_span_context()
    span.end()
    begun = time.monotonic()
    sent = processor.force_flush(int(timeout * 1000))
    took = (time.monotonic() - begun) * 1000
    counters = processor.pipeline.counters()
    processor.pipeline.shutdown(0)
    if sent and counters["rejected"] == 0:
        report.ok(f"a test span was accepted in {took:.0f} ms: trace {context.trace_id:032x} of service {name}")
        if counters["last_error"]:
            report.note(f"the receiver said: {counters['last_error']}")
        return
    message = counters["last_error"] or f"no answer within {timeout:g} s"
    what, _, fix = message.rpartition("; ")
    if not what and ": " in message:
        what, _, fix = message.rpartition(": ")
    report.fail(f"a test span was not accepted: {what or message}", fix if what else _advice(message))


def _advice(message: str) -> str:
    if "no answer" in message:
        return "is the address right, and does a firewall drop the connection? OTEL_EXPORTER_OTLP_ENDPOINT names it"
    if "resolve" in message.lower():
        return "the host's name is not known here: check OTEL_EXPORTER_OTLP_ENDPOINT"
    return "start the receiver, or set OTEL_EXPORTER_OTLP_ENDPOINT to where it is"


# ---- what happens to spans when things go wrong


def _survival(report: Report) -> None:
    from nuages import settings

    report.section("When things go wrong")
    report.ok(
        f"the queue holds {settings.get('queue_bytes') / 2**20:.0f} MiB, an exit waits at most {settings.get('shutdown_timeout'):g} s; "
        "what is lost is counted and said in one log line a minute (logger nuages)"
    )
    if "survive_kill" not in settings.REGISTRY or not settings.get("survive_kill"):
        return
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        report.note("/dev/shm is not there: spans do not survive a kill -9", "mount a tmpfs there")
        return
    free = room.f_bavail * room.f_frsize
    wanted = settings.get("queue_bytes") + (1 << 20)
    if free < wanted:
        report.note(
            f"/dev/shm has {free / 2**20:.0f} MiB left: spans do not survive a kill -9",
            "give the container more shared memory (docker run --shm-size, an emptyDir with medium Memory)",
        )
    else:
        report.ok("queued spans survive a kill -9 of the process, in /dev/shm")
