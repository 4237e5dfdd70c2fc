"""Pipfile.lock: it says everything itself, so no Pipenv is needed; uv installs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.locks.lock_format import LockFile, LockFormat

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection
    from colab_env.machine import Machine


class PipfileLock(LockFormat):
    """The lock file of Pipenv: the main dependencies, and those of categories such as "develop"."""

    name = "Pipfile.lock"
    rank = 50
    file_names = ("Pipfile.lock",)
    adding = "pipenv install"
    options = frozenset({"groups", "keep", "isolated"})
    names_python = True
    is_python_advice = True

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        from colab_env.locks import pipfile  # a command that reads no such file does not wait for it

        manifest = pipfile.pipfile_of(lock)
        return [(lock.path.name, lock.content), (manifest.path.name, manifest.content or b"")]

    def requires_python(self, lock: LockFile) -> str | None:
        from colab_env.locks import pipfile  # a command that reads no such file does not wait for it

        return pipfile.requires_python(lock)

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        from colab_env.locks import pipfile  # a command that reads no such file does not wait for it

        return pipfile.text(lock, selection)

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        from colab_env.locks import pipfile  # a command that reads no such file does not wait for it

        return pipfile.text(lock, selection)

    def sources(self, lock: LockFile) -> Sequence[PoetrySource]:
        from colab_env.locks import pipfile  # a command that reads no such file does not wait for it

        return pipfile.sources(lock)
