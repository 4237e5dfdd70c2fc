"""pdm.lock: read here, with the pyproject.toml beside it, so no PDM is needed; uv installs it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import index
from colab_env.locks.lock_format import LockFile, LockFormat

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection, Target
    from colab_env.machine import Machine


class PdmLock(LockFormat):
    """The lock file of PDM: the main dependencies, development groups, and extras, which PDM calls groups too."""

    name = "pdm.lock"
    rank = 40
    file_names = ("pdm.lock",)
    adding = "pdm add"

    def matches(self, name: str) -> bool:
        return re.fullmatch(r"pdm(\.[^.]+)?\.lock", name) is not None

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return [(lock.path.name, lock.content), (lock.pyproject.path.name, lock.pyproject.content or b"")]

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        from colab_env.locks import pdm  # a command that reads no such file does not wait for it

        return pdm.text(lock, selection)

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        from colab_env.locks import pdm  # a command that reads no such file does not wait for it

        return pdm.text(lock, selection, editable=editable)

    def sources(self, lock: LockFile) -> Sequence[PoetrySource]:
        from colab_env.locks import pdm  # a command that reads no such file does not wait for it

        return pdm.sources(lock)

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        # PDM takes the best file of all of a project's indexes: every version is exact and most have hashes.
        from colab_env.locks import pdm  # a command that reads no such file does not wait for it

        strategy = index.settings(target.machine, pyproject=lock.pyproject).strategy
        if pdm.has_indexes(lock) and strategy is None:
            target = replace(target, options=(*target.options, f"--index-strategy={index.BEST}"))
        return super().install(lock, selection, target=target)
