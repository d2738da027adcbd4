"""The ``nuages`` command: ``nuages run COMMAND...``, ``nuages doctor``, ``nuages bootstrap`` and ``nuages version``."""

from __future__ import annotations

import os
import sys
from typing import Optional

USAGE = """usage: nuages run COMMAND [ARGUMENT...]   run a Python program traced, without changing it
       nuages doctor [--timeout SECONDS]  check this environment and send one test span
       nuages bootstrap [-a requirements|install]
                                          list or install the instrumentation packages that fit
       nuages version                     print the version
"""


def main(arguments: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] == "run" and len(words) > 1:
        return run(words[1:])
    if words and words[0] == "doctor":
        from nuages import doctor

        return doctor.main(words[1:])
    if words and words[0] == "bootstrap":
        from nuages import bootstrap

        return bootstrap.main(words[1:])
    if words in (["version"], ["--version"]):
        from nuages import __version__

        print(f"nuages {__version__}")
        return 0
    if words in (["help"], ["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    sys.stderr.write(USAGE)
    return 2


def run(command: list[str]) -> int:
    """Replaces this process by the command, with NUAGES_AUTO=1 for it and every Python process below it."""
    environment = dict(os.environ, NUAGES_AUTO="1")
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        sys.stderr.write(f"nuages run: the command {command[0]!r} was not found\n")
        return 127
    except PermissionError:
        sys.stderr.write(f"nuages run: the command {command[0]!r} may not be executed\n")
        return 126


if __name__ == "__main__":
    sys.exit(main())
