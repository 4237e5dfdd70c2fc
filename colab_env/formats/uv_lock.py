"""uv.lock: uv reads it, and installs what it says, as `uv sync --frozen` does."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, index, toml_text, uv
from colab_env.errors import ColabEnvError, LockMismatchError, NetworkError
from colab_env.formats.uv_project import UvProject
from colab_env.locks import installing, requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat, reading
from colab_env.pyproject import Pyproject, pinned_python, pinned_text, uv_settings, uv_workspace_root

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection, Target
    from colab_env.machine import Machine

_LOCAL = re.compile(r'(?m)^source = \{ (?:editable|directory|virtual) = "([^"]+)" \}')
_REGISTRY = re.compile(r'registry = "([^"]+)"')
_PYTHON = re.compile(r'(?m)^requires-python = "([^"]+)"')


class UvLock(LockFormat):
    """The lock file of a uv project, or of a workspace: a member's stands at the workspace's root."""

    name = "uv.lock"
    rank = 20
    file_names = ("uv.lock",)
    adding = "uv add"

    def paths(self, project: Path, pyproject: Pyproject) -> Iterator[Path]:
        root = uv_workspace_root(project, pyproject)
        shared = root / self.name if root else None
        return iter([shared]) if shared and os.path.lexists(shared) else super().paths(project, pyproject)

    def requires_python(self, lock: LockFile) -> str | None:
        match = _PYTHON.search(lock.text.partition("[[package]]")[0])
        is_members = lock.pyproject.path.parent != lock.directory  # of a workspace, it is what suits all its members
        declared = None if is_members and match else lock.pyproject.requires_python
        return declared or (match[1] if match else None)

    def pinned_python(self, lock: LockFile) -> str | None:
        return pinned_python(lock.pyproject.path.parent, lock.directory)

    def pinned_text(self, lock: LockFile) -> str:
        return pinned_text(lock.pyproject.path.parent, lock.directory)

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        pyproject_path = lock.pyproject.path
        contents = {lock.path.name: lock.content, pyproject_path.name: lock.pyproject.content or b""}
        # A local package's dependencies stand in its own pyproject.toml, and an editable one is read from there.
        for directory in ("", *_LOCAL.findall(lock.content.decode("utf-8", "replace"))):
            path = lock.directory / directory / pyproject_path.name
            content = None if os.path.normpath(path) == str(pyproject_path) else _files.content(path)
            if content is not None:
                contents[f"{directory or '.'}/{pyproject_path.name}"] = content
        return list(contents.items())

    def extras(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.extras

    def groups(self, lock: LockFile) -> Collection[str] | None:
        return None if lock.pyproject.content is None else lock.pyproject.groups

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        try:
            return _exported(lock, selection, python=python, machine=machine, editable=editable)
        except LockMismatchError as error:
            with _resolved_anew(lock, selection, error) as anew:
                return anew.format.export(anew, selection, python=python, machine=machine, editable=editable)

    def sources(self, lock: LockFile) -> Sequence[PoetrySource]:
        """Return which packages come from an index that the project names, or that nothing but its address vouches for.

        What has hashes may come from anywhere: a mirror that whoever locked it had is no reason to ask that one.
        """
        from colab_env.locks.installing import PoetrySource

        # Most lock files, without parsing them: TOML takes seconds before Python 3.11.
        if all(index.is_default(url) for url in _REGISTRY.findall(lock.text)):
            return ()
        declared = {url.rstrip("/") for url in _own_indexes(lock)}
        with reading(lock):
            registries = [(package, package["source"]["registry"]) for package in _registered(lock)]
            return [
                PoetrySource(
                    name=requirements_text.normalized(package["name"]),
                    version=package["version"],
                    hashes=_hashes(package),
                    url=url
                    if not index.is_default(url) and (url.rstrip("/") in declared or not _hashes(package))
                    else None,
                )
                for package, url in registries
            ]

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        self.require_uv(lock, target)
        try:
            text = _exported(lock, selection, python=target.python, machine=target.machine, editable=target.editable)
        except LockMismatchError as error:
            with _resolved_anew(lock, selection, error) as anew:
                return anew.format.install(anew, selection, target=target)
        if target.has_own_index:  # the addresses in the lock file are those of the index that it was made with
            return self._install_text(lock, text, selection, target=target)
        left_out = selection.left_out(text) if selection.left_out else ()
        options = [
            *_options(selection, editable=target.editable),
            *(f"--no-install-package={name}" for name in left_out),
        ]
        project = lock.pyproject.path.parent
        try:
            installer = target.installer(lock.pyproject)
            installer.sync(project, environment=target.environment, options=[*target.options, *options])
        except NetworkError as error:
            if all(index.is_default(url) for url in _REGISTRY.findall(lock.text)):
                raise
            with contextlib.suppress(ColabEnvError):
                hashes = self._install_text(lock, text, selection, target=target)
                selection.notes.append(f"{error.message}; files of the same hashes came from this machine's index")
                return hashes
            raise
        installing.add_pip(target)
        return requirements_text.hashes(text)

    def _install_text(
        self, lock: LockFile, text: str, selection: Selection, *, target: Target
    ) -> Mapping[str, Collection[str]]:
        """Install from the machine's index, and from those that the project names; no other setting of the project counts."""
        installer = target.installer(lock.pyproject)
        settings = index.settings(target.machine)
        config_file = uv.tool_installer(target.machine, settings).environ[
            "UV_CONFIG_FILE"
        ]  # uv looks for no other then
        url = settings.url or index.default_url()
        machines = {"UV_CONFIG_FILE": config_file, **({"UV_DEFAULT_INDEX": url} if url else {})}
        sources = () if "--no-index" in target.options else self.sources(lock)
        return installing.install_text(
            replace(installer, environ={**installer.environ, **machines}),
            text,
            selection,
            target=target,
            directory=lock.directory,
            sources=sources,
        )


def _exported(lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool) -> str:
    return installing.installer(machine, pyproject=lock.pyproject).export(
        lock.path,
        python=python,
        project=lock.pyproject.path.parent,
        options=_options(selection, editable=editable),
        notes=selection.notes,
    )


@contextlib.contextmanager
def _resolved_anew(lock: LockFile, selection: Selection, error: LockMismatchError) -> Iterator[LockFile]:
    """Yield what stands in for a file that its project has moved on from: the project, resolved as `uv sync` does.

    That would write uv.lock anew; here it stays as it is, and the answer is kept with those of projects that are not locked.
    """
    if not selection.accepts_stale:
        raise error
    try:
        yield LockFile(path=lock.pyproject.path, format=UvProject(), pyproject=lock.pyproject)
    except ColabEnvError as cause:
        cause.message = f"{error.message}; and it cannot be resolved anew:\n{cause.message}"
        raise
    selection.notes.append(f"{error.message}; resolved anew, as by `uv sync`; `uv lock` writes that into the file")


def _registered(lock: LockFile) -> list[dict[str, Any]]:
    return [package for package in toml_text.parsed(lock.text).get("package", []) if "registry" in package["source"]]


def _hashes(package: Mapping[str, Any]) -> frozenset[str]:
    files = [*package.get("wheels", []), package.get("sdist", {})]
    return (
        frozenset(file["hash"] for file in files if "hash" in file)
        if all("hash" in file for file in files if file)
        else frozenset()
    )


def _own_indexes(lock: LockFile) -> list[str]:
    """Return the addresses of the indexes that the project, or its workspace, names."""
    root = Pyproject.read(lock.directory)
    listed = [uv_settings(pyproject).get("index") for pyproject in (lock.pyproject, root)]
    tables = [
        table for indexes in listed if isinstance(indexes, list) for table in indexes if isinstance(table, Mapping)
    ]
    return [table["url"] for table in tables if isinstance(table.get("url"), str)]


def _options(selection: Selection, *, editable: bool) -> list[str]:
    options = [
        *(f"--extra={name}" for name in selection.extras),
        *(f"--group={name}" for name in selection.groups or ()),
    ]
    only = ["--no-default-groups"] if selection.groups is not None else []
    return [*options, *only, *([] if editable else ["--no-editable"])]
