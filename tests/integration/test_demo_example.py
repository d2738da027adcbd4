"""The example's own tests give the same result without tracing, with the agent recording and with the agent disabled."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from demo_processes import ProcessSet
from demo_stack import EXAMPLE, Project

VARIANTS = {
    "without-agent": {"NUAGES_AUTO": "0"},
    "agent": {"NUAGES_AUTO": "1", "OTEL_SDK_DISABLED": "false"},
    "agent-disabled": {"NUAGES_AUTO": "1", "OTEL_SDK_DISABLED": "true"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_tests(variant: str, tmp_path: Path) -> None:
    with ProcessSet(tmp_path) as processes:
        # port 9 (discard) refuses: an absent server must not matter
        project = Project(
            EXAMPLE, tmp_path / "run", processes, "http://127.0.0.1:9", extra_environment=VARIANTS[variant]
        )
        ran = subprocess.run(
            [sys.executable, "manage.py", "test", "--no-color"],
            cwd=EXAMPLE,
            env=project.environment("example-tests", agent=False),
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    match = re.search(r"^Ran (\d+) tests", ran.stderr, re.MULTILINE)
    assert match is not None and int(match[1]) == count_written(), ran.stderr
    assert "\nOK\n" in ran.stderr  # no test was skipped


def count_written() -> int:
    sources = (EXAMPLE / "tests").glob("test_*.py")
    return sum(len(re.findall(r"^    def test_", source.read_text(), re.MULTILINE)) for source in sources)
