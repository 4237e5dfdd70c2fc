"""CONTRIBUTING: the lines for a first change work with the pip that each Python brings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest
from conftest import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_lines_for_a_first_change_can_be_typed(version, pythons, tmp_path):
    python = next((each for each in pythons if each.short_version == version), None)
    if python is None or subprocess.run([python.path, "-c", "import ensurepip"], check=False).returncode:
        pytest.skip(f"no Python {version} that makes environments with pip")
    clone = tmp_path / "colab-bootstrap"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__"))
    (block,) = re.findall(r"## The first change\n\n```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[0] for words in lines] == [
        "git",
        "cd",
        "python3",
        ".venv/bin/pip",
        ".venv/bin/pip",
        ".venv/bin/python",
    ]
    # Which packages they are is resolved and fetched by every run of the tests; whether pip knows the options, here.
    for words in ([str(python.path), *lines[2][1:]], lines[3], [*lines[4], "--dry-run", "--no-deps"]):
        done = subprocess.run(words, cwd=clone, env=dict(os.environ), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
    assert "Would install" in done.stdout
    assert "colab-bootstrap-" in done.stdout
