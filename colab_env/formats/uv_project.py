"""pyproject.toml without a lock file, where nothing names Poetry: uv resolves it, and the answer is kept beside nobody's files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, index
from colab_env.errors import CommandError, UsageError
from colab_env.formats import pylock_toml
from colab_env.locks import installing
from colab_env.locks.lock_format import LockFile, LockFormat, reading
from colab_env.package_names import normalized
from colab_env.pyproject import Pyproject, local_projects, pinned_python, pinned_text, uv_settings, uv_workspace_root
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.machine import Machine


_TELLING = ("pyproject.toml", "uv.toml", "uv.lock", "setup.py", "setup.cfg")
_RULES = {"--constraints": "constraint", "--overrides": "override", "--build-constraints": "build-constraint"}
_SMALL, _FEW = 1 << 18, 50  # bytes of one, number of them


class UvProject(LockFormat):
    """A project that pyproject.toml describes (PEP 621, or `[tool.uv]`), not yet locked.

    What uv resolved for a Python stays in colab-env's data directory, and is installed again until the project's files or
    what is wanted of them change; then its versions are preferred.
    """

    name = "pyproject.toml"
    rank = 72
    file_names = ("pyproject.toml",)
    adding = "uv add"
    is_lock = False

    def matches(self, name: str) -> bool:
        return name in self.file_names

    def is_one(self, lock: LockFile) -> bool:
        project = lock.pyproject
        if project.names_poetry or os.path.lexists(lock.directory / "poetry.toml"):
            return False
        # The owner's settings of ruff are no project of Poetry's, which would be written into that file.
        is_all = not any(os.path.lexists(lock.directory / name) for name in ("setup.py", "setup.cfg"))
        return project.is_standard or (project.has_only_settings and is_all)

    def described(self, lock: LockFile) -> str:
        return f"{lock.path.name}, resolved by uv"

    def pinned_python(self, lock: LockFile) -> str | None:
        root = uv_workspace_root(lock.directory, lock.pyproject)
        return pinned_python(lock.directory, *([root] if root else []))

    def pinned_text(self, lock: LockFile) -> str:
        root = uv_workspace_root(lock.directory, lock.pyproject)
        return pinned_text(lock.directory, *([root] if root else []))

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        """Return all that uv or a build backend takes dependencies from, as far as that can be known beforehand."""
        directories = [lock.directory, *local_projects(lock.directory, lock.pyproject)]
        paths = [directory / name for directory in directories for name in _TELLING]
        if lock.pyproject.at("project", "dynamic") or "project" not in lock.pyproject.values:
            paths += _read_by_backends(lock)
        contents = [(os.path.relpath(path, lock.directory), _files.content(path)) for path in paths if path.is_file()]
        return [(lock.path.name, lock.content), *((name, content or b"") for name, content in sorted(set(contents)))]

    def extras(self, lock: LockFile) -> Collection[str] | None:
        dynamic = lock.pyproject.at("project", "dynamic") or ()
        return None if "optional-dependencies" in dynamic else lock.pyproject.extras

    def groups(self, lock: LockFile) -> Collection[str]:
        return lock.pyproject.groups

    def check_content(self, lock: LockFile) -> None:
        super().check_content(lock)
        # uv would look for those packages on PyPI, and find a namesake or nothing.
        sources = lock.pyproject.at("tool", "pdm", "source")
        urls = (
            [source.get("url") for source in sources if isinstance(source, Mapping)]
            if isinstance(sources, list)
            else []
        )
        if other := next((url for url in urls if isinstance(url, str) and not index.is_default(url)), None):
            msg = f"{short(lock.path)} has packages from an index that PDM alone reads: {other}"
            raise UsageError(msg, hint="run `pdm lock`, then this call again; nothing was changed")

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str:
        """Return what was resolved last, if that is still what is wanted; nothing else is known without asking an index."""
        text = _last_resolution(lock, machine)
        head, _, rest = text.partition("\n")
        return pylock_toml.read(rest) if head.startswith(_head(lock, selection)) else ""

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        _resolve(lock, selection, python=python, machine=machine)
        return self.peek(lock, selection, machine=machine, has_python=True)

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        self.require_uv(lock, target)
        path = _resolve(lock, selection, python=target.python, machine=target.machine)
        locked = LockFile(path=path, format=self, pyproject=lock.pyproject)
        pylock_toml.install(locked, selection, target=target, cwd=lock.directory)
        # The answer names what the project needs; the project itself is installed beside it.
        if _is_package(lock):
            argv: list[str | Path] = [
                *target.options,
                "--no-deps",
                *(["-e"] if target.editable else []),
                lock.directory,
            ]
            target.installer(lock.pyproject).install(argv, python=target.python, cwd=lock.directory)
        installing.add_pip(target)
        with reading(locked):
            return pylock_toml.hashes(locked.text)


def _read_by_backends(lock: LockFile) -> list[Path]:
    """Return the files that a build backend may take dependencies from: those that are named, and small texts beside."""
    dynamic = lock.pyproject.at("tool", "setuptools", "dynamic") or {}
    listed = (
        [entry.get("file", []) for entry in dynamic.values() if isinstance(entry, Mapping)]
        if isinstance(dynamic, Mapping)
        else []
    )
    names = [name for entry in listed for name in ([entry] if isinstance(entry, str) else entry)]
    requirement_files = [
        path for pattern in ("*.txt", "*.in", "requirements/*") for path in lock.directory.glob(pattern)
    ]
    # Which small text a plug-in of a build backend reads cannot be known: one too many costs nothing.
    small = [path for path in sorted(requirement_files) if path.is_file() and path.stat().st_size < _SMALL]
    return [*(lock.directory / str(name) for name in names), *small[:_FEW]]


def _resolve(lock: LockFile, selection: Selection, *, python: Path, machine: Machine) -> Path:
    """Return the file with what uv resolved for a Python: that of last time if nothing has changed since."""
    path, head = _file(lock, machine), f"{_head(lock, selection)} for {python.resolve()}"
    if _last_resolution(lock, machine).partition("\n")[0] == head:
        return path
    text = _resolution(lock, selection, python=python, machine=machine)
    _files.write_text(path, f"{head}\n{text}", mode=0o600)  # an address in it may hold a password
    return path


def _resolution(lock: LockFile, selection: Selection, *, python: Path, machine: Machine) -> str:
    """Return what uv resolves for a Python: at first as for a new uv.lock, later, like that, by the versions of before.

    The versions of a uv.lock that the project has moved on from are those of before, as for uv.
    """
    installer = installing.installer(machine, pyproject=lock.pyproject)
    options, known, rules = _options(lock, selection), _last_resolution(lock, machine), _overshadowed_rules(lock)
    is_project, synced = lock.pyproject.at("project", "name") is not None, ""
    is_locked = ((uv_workspace_root(lock.directory, lock.pyproject) or lock.directory) / "uv.lock").is_file()
    if is_project and (is_locked or not known):
        only = ["--no-default-groups"] if selection.groups is not None else []
        synced = installer.synced(lock.directory, python=python, options=[*options, *only])
    # uv wants something to resolve, and takes a file without lines.
    source = [lock.path.name] if is_project else [] if options else [os.devnull]
    resolve = functools.partial(installer.resolve, [*options, *source], known=known, python=python, cwd=lock.directory)
    if synced:
        with contextlib.suppress(CommandError):
            return resolve(rules={**rules, "--constraints": rules.get("--constraints", "") + synced})
    return resolve(rules=rules)


def _options(lock: LockFile, selection: Selection) -> list[str]:
    all_groups = {normalized(name) for name in lock.pyproject.groups}
    usual = uv_settings(lock.pyproject).get("default-groups")
    usual = all_groups if usual == "all" else usual if isinstance(usual, list) else ["dev"]
    groups = selection.groups if selection.groups is not None else usual
    return [
        *(f"--extra={name}" for name in selection.extras),
        *(f"--group={name}" for name in groups if selection.groups is not None or normalized(str(name)) in all_groups),
    ]


def _overshadowed_rules(lock: LockFile) -> dict[str, str]:
    """Return what `[tool.uv]` says of versions where a uv.toml stands beside it, as texts by the option of `uv pip compile`.

    There that command takes its settings from uv.toml alone, while `uv lock` reads these as the project's own.
    """
    root = uv_workspace_root(lock.directory, lock.pyproject) or lock.directory
    if not (root / "uv.toml").is_file():
        return {}
    uv_table = uv_settings(lock.pyproject if root == lock.directory else Pyproject.read(root))
    rules = {option: uv_table.get(f"{name}-dependencies") for option, name in _RULES.items()}
    return {option: "\n".join(map(str, listed)) + "\n" for option, listed in rules.items() if isinstance(listed, list)}


def _head(lock: LockFile, selection: Selection) -> str:
    groups = None if selection.groups is None else sorted(selection.groups)
    text = json.dumps([lock.digest, sorted(selection.extras), groups])
    return f"# {hashlib.sha256(text.encode()).hexdigest()}"


def _file(lock: LockFile, machine: Machine) -> Path:
    name = hashlib.sha256(str(lock.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return machine.data / "resolved" / f"pylock.{name}.toml"


def _last_resolution(lock: LockFile, machine: Machine) -> str:
    return (_files.content(_file(lock, machine)) or b"").decode("utf-8", "replace")


def _is_package(lock: LockFile) -> bool:
    package: Any = uv_settings(lock.pyproject).get("package")
    return package if isinstance(package, bool) else "build-system" in lock.pyproject.values
