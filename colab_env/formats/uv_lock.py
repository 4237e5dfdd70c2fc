"""uv.lock: uv reads it, and installs what it says, as `uv sync --frozen` does."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, index, toml_text
from colab_env.locks import installing, requirements_text, uv_workspace
from colab_env.locks.lock_format import LockFile, LockFormat, reading

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.locks.poetry_sources import Source
    from colab_env.machine import Machine
    from colab_env.pyproject import Pyproject

_LOCAL = re.compile(r'(?m)^source = \{ (?:editable|directory|virtual) = "([^"]+)" \}')
_PYTHON = re.compile(r'(?m)^requires-python = "([^"]+)"')


class UvLock(LockFormat):
    """The lock file of a uv project, or of a workspace: a member's stands at the workspace's root."""

    name = "uv.lock"
    rank = 20
    file_names = ("uv.lock",)

    def paths(self, project: Path, pyproject: Pyproject) -> Iterator[Path]:
        root = uv_workspace.root(project, pyproject)
        shared = root / self.name if root else None
        return iter([shared]) if shared and os.path.lexists(shared) else super().paths(project, pyproject)

    def requires_python(self, lock: LockFile) -> str | None:
        found = _PYTHON.search(lock.text.partition("[[package]]")[0])
        is_members = lock.pyproject.path.parent != lock.directory  # of a workspace, it is what suits all its members
        own = None if is_members and found else lock.pyproject.requires_python
        return own or (found[1] if found else None)

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        own = lock.pyproject.path
        found = {lock.path.name: lock.content, own.name: lock.pyproject.content or b""}
        for place in ("", *_LOCAL.findall(lock.content.decode("utf-8", "replace"))):
            path = lock.directory / place / own.name
            content = None if os.path.normpath(path) == str(own) else _files.content(path)
            if content is not None:
                found[f"{place or '.'}/{own.name}"] = content
        return list(found.items())

    def extras(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.extras

    def groups(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.groups

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        return installing.installer(machine, pyproject=lock.pyproject).export(
            lock.path,
            python=python,
            project=lock.pyproject.path.parent,
            options=_options(selection, editable=editable),
            notes=selection.notes,
        )

    def sources(self, lock: LockFile) -> Sequence[Source]:
        from colab_env.locks.poetry_sources import Source

        if not any(not index.is_default(url) for url in re.findall(r'registry = "([^"]+)"', lock.text)):
            return ()
        with reading(lock):
            packages = toml_text.parsed(lock.text)["package"]
            return [
                Source(
                    name=requirements_text.normalized(each["name"]),
                    version=each["version"],
                    hashes=frozenset(
                        file["hash"] for file in [*each.get("wheels", []), each.get("sdist", {})] if "hash" in file
                    ),
                    url=None if index.is_default(url) else url,
                )
                for each in packages
                if (url := each["source"].get("registry"))
            ]

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        self.require_uv(lock, target)
        text = self.export(lock, selection, python=target.python, machine=target.machine, editable=target.editable)
        installer = target.installer(lock.pyproject)
        if target.has_own_index:
            # The addresses in the lock file are those of the index that it was made with.
            sources = () if "--no-index" in target.options else self.sources(lock)
            return installing.install_text(
                installer, text, selection, target=target, directory=lock.directory, sources=sources
            )
        left_out = selection.left_out(text) if selection.left_out else ()
        options = [
            *_options(selection, editable=target.editable),
            *(f"--no-install-package={each}" for each in left_out),
        ]
        installer.sync(lock.pyproject.path.parent, environment=target.environment, options=[*target.options, *options])
        installing.add_pip(target, text)
        return requirements_text.hashes(text)


def _options(selection: Selection, *, editable: bool) -> list[str]:
    named = [*(f"--extra={name}" for name in selection.extras), *(f"--group={name}" for name in selection.groups or ())]
    only = ["--no-default-groups"] if selection.groups is not None else []
    return [*named, *only, *([] if editable else ["--no-editable"])]
