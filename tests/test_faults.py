"""Whatever happens in the middle of a command, the next one finishes it, and `undo` gives the machine back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

SAMPLE = 300
SECONDS = 600  # a machine with other work; alone, two cores take a minute and a half


@pytest.mark.faults
def test_a_command_that_meets_a_fault_can_be_repeated_and_undone() -> None:
    # A process of its own: what forks may have no threads.
    argv = [sys.executable, "-m", "tests.faults", "--count", str(SAMPLE)]
    done = subprocess.run(
        argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    *failures, summary = done.stdout.splitlines() or [""]
    print(summary)
    assert not failures, done.stdout
    assert done.returncode == 0, done.stderr
