"""environment.yml: conda reads it, and makes an interpreter with its packages from it."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import ProjectFileError, UsageError
from colab_env.locks import requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.machine import Machine

# Where an environment was that `conda env export` wrote down.
_PREFIXES = {"win32": r"[A-Za-z]:\\", "darwin": "/Users/", "linux": "/home/"}
_SYSTEMS = {"win32": "Windows", "darwin": "macOS", "linux": "Linux"}


class EnvironmentYml(LockFormat):
    """A conda environment's file; the virtual environment above it holds pip alone, and what is added later."""

    name = "environment.yml"
    rank = 70
    file_names = ("environment.yml", "environment.yaml")
    suffixes = (".yml", ".yaml")
    options = frozenset[str]()
    installed_by = "conda"
    is_loose = True
    brings_python = True

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return requirements_text.with_included(lock.path, lock.content)

    def check_content(self, lock: LockFile) -> None:
        super().check_content(lock)
        from colab_env.miniconda.environment_yml import BUILD, EXPORT_HINT  # no other command waits for it

        text = lock.text if lock.is_there else ""
        if re.search(r"(?m)^[\w.-]+=[\w.]+=\w+$", text) and not re.search(r"(?m)^dependencies\b", text):
            msg = (
                f"{short(lock.path)} is a list of packages, as `conda list --export` writes it, and no environment.yml"
            )
            raise ProjectFileError(msg, hint=EXPORT_HINT)
        written_on = next(
            (name for name, path in _PREFIXES.items() if re.search(rf"(?m)^prefix:\s*[\"']?{path}", text)), ""
        )
        if (build := BUILD.search(text)) and written_on not in ("", sys.platform):
            version, made = build.groups()
            written = f"{short(lock.path)} was written on {_SYSTEMS[written_on]}"
            msg = f"{written}: no channel has its build {made} of Python {version} for this one"
            raise ProjectFileError(msg, hint=EXPORT_HINT)

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        msg = f"{short(lock.path)} is conda's: what it brings is known when conda has installed it"
        raise UsageError(msg, hint="run setup(interpreter='miniconda'), or name another lock file with lock=...")

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        # Without uv, pip came with the environment.
        if target.uv is not None and target.pip:
            argv: list[str | Path] = [*target.options, "--exact", "pip"]
            target.installer(lock.pyproject).install(argv, python=target.python, cwd=lock.directory)
        return {}
