"""What the tests of named environments share: a base of their own, wheels, and the installed command."""

# ruff: noqa: PLW1510  exit codes are what the tests look at
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
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
def stable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that has one path in all tests of a worker: an environment that was made there works when it is put back."""
    directory = tmp_path_factory.getbasetemp() / "stable"
    directory.mkdir()
    yield directory
    left = tmp_path_factory.mktemp("stable")
    directory.rename(left / "left")
    shutil.rmtree(left, ignore_errors=True)  # what still runs in it may write


@pytest.fixture
def base(stable: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = stable / "envs"
    monkeypatch.setenv("COLAB_ENV_BASE", str(directory))
    return directory


@pytest.fixture
def wheels(stable: Path) -> Path:
    """A directory with the package `demo` 1.0, its program `demo`, and `other`, which it needs."""
    directory = stable / "wheels"
    write_wheel(directory, "demo", "1.0", code=DEMO, programs=["demo"], needs=["other"])
    write_wheel(directory, "other", "1.0")
    return directory


@pytest.fixture
def web(base: Path, wheels: Path) -> Path:
    """An environment `web` with the program `demo`; the first test that asks for it makes it, the others get a copy."""
    first = base.parent.with_name("web-of-the-first")
    if first.is_dir():
        shutil.copytree(first, base, symlinks=True)
    else:
        envs.create("web", "demo", wheels=wheels)
        shutil.copytree(base, first, symlinks=True)
    return base / "web"


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
