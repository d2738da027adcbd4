"""`opentelemetry-instrument gunicorn`, as programs are started today: every request of every worker once, preloaded or not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

APPLICATION = """
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF="application", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], INSTALLED_APPS=[])
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def hello(request):
    import os
    return HttpResponse(str(os.getpid()))

urlpatterns = [path("hello/", hello)]
application = get_wsgi_application()
"""
REQUESTS = 40


@pytest.mark.parametrize("preload", [False, True], ids=["each worker", "preloaded"])
def test_gunicorn(tmp_path: Path, otlp_server: Any, preload: bool) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    programs = Path(sys.executable).parent
    server = subprocess.Popen(
        [
            str(programs / "opentelemetry-instrument"),
            str(programs / "gunicorn"),
            "application:application",
            "--workers=2",
            "--bind=127.0.0.1:0",
            *(["--preload"] if preload else []),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_server.endpoint,
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    said: list[str] = []
    try:
        address = None
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"Listening at: (http://\S+)", line):
                address = found[1]
                break
        assert address, said
        rest = threading.Thread(target=lambda: said.extend(server.stderr or ()), daemon=True)
        rest.start()
        for _ in range(REQUESTS):
            with urllib.request.urlopen(address + "/hello/", timeout=60) as answer:
                assert answer.status == 200
        server.terminate()
        assert server.wait(timeout=60) == 0
        rest.join(20)
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()
    names = [span.name for span in otlp_server.spans()]
    assert names.count("GET /hello/") == names.count("application.hello") == REQUESTS, said
    assert not [line for line in said if "Traceback" in line or ("nuages" in line and "already loaded" not in line)], (
        said
    )
