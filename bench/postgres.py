"""A PostgreSQL of the machine's packages for the benchmarks: in a temporary folder, on a free port, a database for each variant.

It does not run as root, so as root it runs as `nobody`.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import common

USER = "bench"


class Postgres:
    def __init__(self, processes: common.ProcessSet) -> None:
        found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
        program = max(found) if found else shutil.which("postgres")
        if program is None:
            raise common.BenchError(
                "PostgreSQL is not installed: `make setup-check` does it, or use --database sqlite3"
            )
        self._programs = Path(program).resolve().parent
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix="nuages-bench-db-")
        self._root = os.getuid() == 0
        self._process: Any = None
        with socket.socket() as probe:
            probe.bind((common.LOOPBACK, 0))
            self.port = probe.getsockname()[1]

    def __enter__(self) -> Postgres:
        if self._root:
            shutil.chown(self._folder.name, "nobody", "nogroup")
        data = f"{self._folder.name}/data"
        common.run(self._command("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale"), cwd="/")
        options = (f"port={self.port}", f"listen_addresses={common.LOOPBACK}", "fsync=off")
        options += (f"unix_socket_directories={self._folder.name}",)
        command = self._command("postgres", "-D", data, *(word for option in options for word in ("-c", option)))
        self._process = self._processes.start("postgresql", command, common.clean_environment(), Path("/"))
        self._process.wait_for(r"database system is ready to accept connections", timeout=60)
        return self

    def __exit__(self, *error: Any) -> None:
        self._process.stop()
        self._folder.cleanup()

    def _command(self, program: str, *arguments: str) -> list[str]:
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if self._root else []
        return [*drop, str(self._programs / program), *arguments]

    def database(self, name: str) -> dict[str, str]:
        """A new database; what the example application wants to know about it."""
        address = ["-h", common.LOOPBACK, "-p", str(self.port), "-U", USER]
        common.run(self._command("createdb", *address, name), cwd="/")
        return {"DB_NAME": name, "DB_USER": USER, "DB_HOST": common.LOOPBACK, "DB_PORT": str(self.port)}
