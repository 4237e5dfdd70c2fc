"""uv.lock: uv reads it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.locks import installing
from colab_env.locks.lock_format import LockFile, LockFormat

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine


class UvLock(LockFormat):
    """The lock file of a uv project, or of a workspace."""

    name = "uv.lock"
    rank = 20
    file_names = ("uv.lock",)

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return [(lock.path.name, lock.content), (lock.pyproject.path.name, lock.pyproject.content or b"")]

    def extras(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.extras

    def groups(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.groups

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        extras = [f"--extra={name}" for name in selection.extras]
        groups = [f"--group={name}" for name in selection.groups or ()]
        only = ["--no-default-groups"] if selection.groups is not None else []
        options = [*extras, *only, *groups, *([] if editable else ["--no-editable"])]
        return installing.installer(machine, pyproject=lock.pyproject).export(lock.path, python=python, options=options)
