"""Message brokers in temporary folders, on free ports, as processes of the test's own: Redis and RabbitMQ from Debian's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

# Debian's redis-tools has the server under the name of one of its tools and, unlike redis-server, starts no service.
REDIS = shutil.which("redis-server") or shutil.which("redis-check-rdb")
_LIBRARIES = Path("/usr/lib/rabbitmq/bin")
RABBITMQ = str(_LIBRARIES / "rabbitmq-server") if (_LIBRARIES / "rabbitmq-server").exists() else None


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for_line(process, text):
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{process.args[0]} ended with {process.wait()}:\n{''.join(seen[-20:])}")


@contextlib.contextmanager
def redis(folder):
    """The URL of a Redis server's database 0."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, executable=REDIS, stdout=subprocess.PIPE, text=True) as server:
        _wait_for_line(server, "Ready to accept connections")
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.stdout.read()


@contextlib.contextmanager
def rabbitmq(folder):
    """The URL of a RabbitMQ broker with an Erlang port mapper of its own; both end with the block."""
    port, mapper_port, node_port = free_port(), free_port(), free_port()
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = info\nlog.file = false\n"
    )
    environment = {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"nuages{port}@localhost",
        "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 1:1 +sbwt none",
    }
    with subprocess.Popen(["epmd", "-port", str(mapper_port)], env=environment) as mapper:
        try:
            command = [RABBITMQ]
            with subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as server:
                try:
                    _wait_for_line(server, "Server startup complete")
                    yield f"amqp://guest:guest@127.0.0.1:{port}//"
                finally:
                    server.terminate()
                    server.stdout.read()
        finally:
            mapper.terminate()
