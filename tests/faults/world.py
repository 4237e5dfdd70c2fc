"""A small machine in one directory: a home, a project, named environments, wheels; no network is needed for it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.faults import standins

BASE_PYTHON = Path(os.path.realpath(sys.executable))
MARKER = "FAULTS_RUN"
_NOTEBOOK = {"cells": [], "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}
# What is not compared: download caches, the directory for temporary files (which outlives no machine), snapshots, the
# lock files of named environments, which nobody can delete without a race, and the log of what happened.
_PASSED_OVER = ("home/.cache", "tmp", "drive", "envs/.locks", "home/.local/share/colab-env/logs")
_LEFTOVER = re.compile(r"\..+\.colab-env-.+|.+\.colab-env-(?!original).+|\..+\.(?:[a-z0-9_]{8}|new)|\.passing-.+")


@dataclass(frozen=True)
class World:
    """The machine below `root`. Environments know their absolute path, so that it stays the same from point to point."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "lesson"

    @property
    def base(self) -> Path:
        return self.root / "envs"

    @property
    def drive(self) -> Path:
        return self.root / "drive"

    @property
    def _aside(self) -> Path:
        return self.root.with_name("aside")  # what no command changes, and copies of start states

    @property
    def wheels(self) -> Path:
        return self._aside / "wheels"

    def state(self, name: str) -> Path:
        """Return the place for a copy of this world."""
        return self._aside / "states" / name

    def environ(self, marker: str) -> dict[str, str]:
        """Return the whole environment for a command; `marker` is how its children are found again."""
        return {
            "HOME": str(self.home),
            "PATH": f"{BASE_PYTHON.parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.root / "tmp"),
            "COLAB_ENV_BASE": str(self.base),
            "PYENV_ROOT": str(self._aside / "no-pyenv"),
            "COLAB_ENV_SNAPSHOT_KEY": "5e" * 32,  # what a person keeps for the next machine
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(self._aside / "uv-cache"),
            "UV_OFFLINE": "1",
            "POETRY_PYPI_MIRROR_URL": "file:///nowhere",  # so that nobody asks the real index what it answers
            "UV_PYTHON_DOWNLOADS": "never",
            MARKER: marker,
        }

    def make(self) -> None:
        """Make the machine as it is before colab-env's first step."""
        for path in (self.home / ".local/share", self.project, self.base, self.drive, self.root / "tmp"):
            path.mkdir(parents=True)
        standins.write_wheels(self.wheels)
        settings = f'no-index = true\nfind-links = ["{self.wheels}"]\n'
        self.write("home/.config/uv/uv.toml", settings, mode=0o600)
        self.write("home/.bashrc", "# mine\n")
        self.write("home/.local/share/jupyter/kernels/mine/kernel.json", '{"argv": ["true"], "display_name": "mine"}')
        self.write("lesson/requirements.txt", "demo==1.0\n", mode=0o640)
        self.write("poem/pyproject.toml", "# mine\r\n[tool.black]\r\nline-length = 99\r\n", mode=0o640)
        self.write("poem/poetry.toml", "[virtualenvs]\nprompt = 'mine'  # mine\n", mode=0o606)
        self.write("lesson/.gitignore", "*.pyc\n", mode=0o604)
        self.write("lesson/lesson.ipynb", json.dumps(_NOTEBOOK, indent=3), mode=0o660)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of the user's, with a mode and a time that nobody would choose by chance."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)

    def save(self, name: str) -> None:
        """Keep a copy of the whole world."""
        self.state(name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", self.root, self.state(name)], check=True)

    def load(self, name: str) -> None:
        """Make the world what it was when this copy was kept."""
        if self.root.exists():
            shutil.rmtree(self.root)
        subprocess.run(["cp", "-a", self.state(name), self.root], check=True)

    def listing(self) -> dict[str, str]:
        """Return every path, with all that counts of it."""
        found: dict[str, str] = {}
        for directory, names, files in os.walk(self.root):
            here = os.path.relpath(directory, self.root)
            names[:] = [name for name in names if os.path.normpath(f"{here}/{name}") not in _PASSED_OVER]
            for name in (*names, *files):
                path = Path(directory, name)
                found[os.path.relpath(path, self.root)] = _described(path)
        return found

    def leftovers(self) -> list[str]:
        """Return the names that only work in progress has; an unfinished snapshot stays an hour on purpose."""
        found = []
        for directory, names, files in os.walk(self.root):
            names[:] = [name for name in names if Path(directory, name) not in (self.drive, self.root / "tmp")]
            found += [f"{directory}/{name}" for name in (*names, *files) if _LEFTOVER.fullmatch(name)]
        return sorted(os.path.relpath(path, self.root) for path in found)


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return one line for each path that differs; not for what lies below a directory that is new or gone."""
    lines: list[str] = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) == after.get(path):
            continue
        word = "left" if path not in before else "lost" if path not in after else "changed"
        if not any(line.startswith(word) and path.startswith(f"{line.split()[1]}/") for line in lines):
            more = f" ({before[path]} → {after[path]})" if word == "changed" else ""
            lines.append(f"{word} {path}{more}")
    return lines


def processes(marker: str) -> list[int]:
    """Return the processes whose environment has this marker."""
    wanted, found = f"{MARKER}={marker}".encode(), []
    for name in os.listdir("/proc"):  # noqa: PTH208  (much faster)
        if name.isdigit():
            try:
                variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in variables:
                found.append(int(name))
    return found


def _described(path: Path) -> str:
    status = path.lstat()
    mode = f"{stat.S_IMODE(status.st_mode):o}"
    if stat.S_ISLNK(status.st_mode):
        return f"link to {path.readlink()}"
    if not stat.S_ISREG(status.st_mode):
        return f"{stat.filemode(status.st_mode)[0]} {mode}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return f"file {mode} {digest} of {status.st_mtime_ns}"
