"""What the tests of named environments share: a base of their own, wheels, and the installed command."""

# ruff: noqa: PLW1510  exit codes are what the tests look at
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_wheels import write_wheel

from colab_env import envs

ROOT = Path(__file__).parents[1]
DEMO = """
import os, sys
def main():
    print(version, *sys.argv[1:])
"""


@dataclass(frozen=True)
class Command:
    """The command as pip installs it: the shell program and, beside it, the Python one."""

    path: Path

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 120, **options}
        return subprocess.run([str(self.path), *words], **options)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen([str(self.path), *words], **options)


def install_command(directory: Path, *, python: str = sys.executable) -> Command:
    """Put the two programs into a directory, as an installer does."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "colab_env/front.sh", directory / "colab-env")
    main = directory / "colab-env-main"
    lines = [f"#!{python}", "import sys", f"sys.path.insert(0, {str(ROOT)!r})", "from colab_env.cli import main"]
    main.write_text("\n".join([*lines, "sys.exit(main())", ""]))
    main.chmod(0o755)
    return Command(directory / "colab-env")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "envs"
    monkeypatch.setenv("COLAB_ENV_BASE", str(place))
    return place


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A directory with the package `demo` 1.0, its program `demo`, and `other`, which it needs."""
    place = tmp_path / "wheels"
    write_wheel(place, "demo", "1.0", code=DEMO, programs=["demo"], needs=["other"])
    write_wheel(place, "other", "1.0")
    return place


@pytest.fixture
def web(base: Path, wheels: Path) -> Path:
    """An environment `web` with the program `demo`."""
    return envs.create("web", "demo", wheels=wheels).where


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    installed = install_command(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{installed.path.parent}:{os.environ['PATH']}")
    return installed


@pytest.fixture
def shell_and_python(command: Command) -> Sequence[Callable[..., subprocess.CompletedProcess[str]]]:
    """`run` in the shell, and in Python as `python -m colab_env` does it."""

    def by_python(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 120, **options}
        return subprocess.run([str(command.path.with_name("colab-env-main")), *words], **options)

    return (command, by_python)
