"""environment.yml: conda reads it, and makes an interpreter with its packages from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import UsageError
from colab_env.locks import requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.machine import Machine


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
