"""PostgreSQL and MariaDB of Debian's packages for the tests: started in a temporary folder on a free port, stopped by their own process.

Neither server runs as root, so as root they run as `nobody`. A missing package is an openly reported skip (`make setup-check` installs both).
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

DATABASE = "shop"


def _program(name, *patterns):
    found = shutil.which(name)
    for pattern in patterns:
        found = found or max(glob.glob(pattern), default=None)
    return found


POSTGRES = _program("postgres", "/usr/lib/postgresql/*/bin/postgres")
MARIADB = _program("mariadbd", "/usr/sbin/mariadbd")
MARIADB_INSTALL = _program("mariadb-install-db")


def _as_nobody(command):
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command] if os.getuid() == 0 else command


def _environment():
    """Without what tools/pytest_asan.sh puts under Python: the servers are not ours to check."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "PYTHONMALLOC") and not name.endswith("SAN_OPTIONS")
    }


@contextlib.contextmanager
def _folder():
    with tempfile.TemporaryDirectory(prefix="nuages-db-") as name:
        if os.getuid() == 0:
            shutil.chown(name, "nobody", "nogroup")
        yield Path(name)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _run(command, folder):
    done = subprocess.run(
        _as_nobody(command), cwd=folder, env=_environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _server(command, folder, ready, stop):
    """The server with its log followed to the line that says it is ready, and drained from then on."""
    with subprocess.Popen(
        _as_nobody(command),
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        told = []
        for line in process.stdout:
            told.append(line)
            if ready in line:
                break
        else:
            raise AssertionError(f"{command[0]} ended with {process.wait()}:\n{''.join(told)}")
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        try:
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def postgresql():
    """host, port, user, dbname of a PostgreSQL that lets everybody in."""
    if POSTGRES is None:
        pytest.skip("postgresql is not installed")
    import signal

    with _folder() as folder:
        data, port = folder / "data", _free_port()
        initdb = str(Path(os.path.realpath(POSTGRES)).with_name("initdb"))
        _run(
            [initdb, "--pgdata", str(data), "-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"],
            folder,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "log_statement": "all",
            "log_line_prefix": "",
            "log_destination": "stderr",
            "logging_collector": "on",
            "log_directory": folder,
            "log_filename": "statements.log",
            "max_prepared_transactions": 4,
        }
        command = [POSTGRES, "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with _server(command, folder, "redirecting log output", signal.SIGINT):
            import psycopg

            address = {"host": "127.0.0.1", "port": port, "user": "shop"}
            _patiently(lambda: psycopg.connect(dbname="postgres", autocommit=True, **address), psycopg.OperationalError)
            with psycopg.connect(dbname="postgres", autocommit=True, **address) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            yield {**address, "dbname": DATABASE, "log": str(folder / "statements.log")}


def _patiently(connect, error, seconds=60):
    """The server tells that it logs elsewhere before it listens."""
    stop = threading.Event()
    for _ in range(seconds * 10):
        try:
            connect().close()
            return
        except error as raised:
            last = raised
        stop.wait(0.1)
    raise last


@pytest.fixture(scope="session")
def mariadb():
    """host, port, user, password, database of a MariaDB."""
    if MARIADB is None or MARIADB_INSTALL is None:
        pytest.skip("mariadb-server-core is not installed")
    import signal

    with _folder() as folder:
        data, port = folder / "data", _free_port()
        common = ["--no-defaults", f"--datadir={data}"]
        setup = folder / "setup.sql"
        setup.write_text(
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n"
            "CREATE USER 'shop'@'127.0.0.1' IDENTIFIED BY 'only for tests';\n"
            "GRANT ALL ON *.* TO 'shop'@'127.0.0.1';\n"
        )
        setup.chmod(0o644)
        _run([MARIADB_INSTALL, *common, "--auth-root-authentication-method=normal", "--skip-test-db"], folder)
        command = [
            MARIADB,
            *common,
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--socket={folder / 'mysqld.sock'}",
            f"--pid-file={folder / 'mysqld.pid'}",
            f"--init-file={setup}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
            "--general-log=1",
            f"--general-log-file={folder / 'statements.log'}",
        ]
        with _server(command, folder, "ready for connections", signal.SIGTERM):
            yield {
                "host": "127.0.0.1",
                "port": port,
                "user": "shop",
                "password": "only for tests",
                "database": DATABASE,
                "log": str(folder / "statements.log"),
            }
