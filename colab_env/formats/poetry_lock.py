"""poetry.lock: Poetry makes it where a project has no lock file, and is asked what it means; uv installs that.

A file of Poetry 2 that belongs to its pyproject.toml and names nothing but packages of the default index means one thing
only: it is read here, and nobody waits for Poetry.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _file_locks, poetry, toml_text
from colab_env.errors import BuildError, MissingStepError, ProjectFileError
from colab_env.locks import installing, requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat, reading
from colab_env.package_names import normalized
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection, Target
    from colab_env.machine import Machine

_FORMAT = "2.1"  # as Poetry 2 writes it: groups and markers stand at each package
# What its checksum of a pyproject.toml is made of (`Locker._get_content_hash` in Poetry 2.5.1), in [project] and [tool.poetry].
_OF_PROJECT = ("requires-python", "dependencies", "optional-dependencies")
_OF_POETRY = ("dependencies", "source", "extras", "dev-dependencies", "group")
_FOR_POETRY = ("requires-poetry", "requires-plugins")  # whether its own version and plugins will do, Poetry says
_METADATA = re.compile(rb"(?m)^[ \t]*\[[ \t]*metadata[ \t]*\]|^[ \t]*metadata[ \t]*[.=]")
_TWICE = re.compile(r"://([^/@\s]+@)\1")  # how the export plugin writes a name and password that stand in the address


class PoetryLock(LockFormat):
    """The lock file of a Poetry project."""

    name = "poetry.lock"
    rank = 10
    file_names = ("poetry.lock",)
    options = LockFormat.options | {"poetry"}
    is_made_by_tool = True
    adding = "poetry add"
    project_files = ("pyproject.toml", "poetry.toml", "poetry.lock")

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return [(lock.path.name, lock.content), (lock.pyproject.path.name, lock.pyproject.content or b"")]

    def missing_tool(self, machine: Machine) -> str | None:
        return poetry.missing(machine)

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        return read(lock.text, _groups(lock, selection)) if poetry.missing(machine) else None

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        return _exported(lock, selection, machine=machine)

    def sources(self, lock: LockFile) -> Sequence[PoetrySource]:
        written = replace(lock)  # Poetry may just have written it
        with reading(written):
            return installing.poetry_sources(written.text)

    def extras(self, lock: LockFile) -> Collection[str]:
        return lock.pyproject.extras

    def groups(self, lock: LockFile) -> Collection[str]:
        return ["main", *lock.pyproject.groups]

    def check_content(self, lock: LockFile) -> None:
        super().check_content(lock)
        if lock.is_there and not _METADATA.search(lock.content):
            msg = f"{short(lock.path)} cannot be read as poetry.lock: it has no [metadata], which Poetry always writes"
            raise ProjectFileError(
                msg, hint="delete it, and it is made anew; or run `poetry lock`; nothing was changed"
            )
        Pyproject.read(lock.directory, name="poetry.toml").values  # noqa: B018  (it raises for what is damaged)

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        if target.uv is None or selection.installer == "poetry":
            return self._by_poetry(lock, selection, target=target)

        text = read_alone(lock, selection)
        if text is None:
            target.ready()
            text = _exported(lock, selection, machine=target.machine, environment=target.environment)
        # Of the machine's own indexes any may have the file: every version is exact and most have hashes.
        installer = target.installer(lock.pyproject, takes_best=True)
        environ = {name: value for name, value in installer.environ.items() if not name.startswith("UV_NO_SOURCES")}

        def install(text: str) -> Mapping[str, Collection[str]]:
            return installing.install_text(
                replace(installer, environ=environ),
                text,
                selection,
                target=target,
                directory=lock.directory,
                sources=self.sources(lock),
            )

        if not lock.pyproject.is_poetry_package:
            return install(text)
        if not lock.pyproject.at("build-system", "build-backend"):
            hashes = install(text)
            self._install_root(lock, selection, target=target)
            return hashes
        try:  # by the relative path: uv (seen in 0.13.9) finds no address of a directory whose path has a "#"
            return install(f"{text}{'-e ' if target.editable else ''}.\n")
        except BuildError as error:  # many a project is no package, and does not say so: older Poetry passed over it
            if not poetry.has_no_package(error.lines):
                raise
            selection.notes.append(poetry.NO_PACKAGE)
            return install(text)

    def _install_root(self, lock: LockFile, selection: Selection, *, target: Target) -> None:
        """Install a project that names no build backend: Poetry builds it by its own, and uv would by setuptools."""
        target.ready()
        require_poetry(target.machine)
        if target.editable:
            notes = poetry.install_root(lock.directory, machine=target.machine, environment=target.environment)
            selection.notes.extend(notes)
            return
        with _file_locks.private_directory(target.machine.data) as scratch:
            selection.notes.extend(poetry.build(lock.directory, scratch, machine=target.machine))
            if wheels := list(scratch.glob("*.whl")):
                argv: list[str | Path] = [*target.options, "--no-deps", *wheels]
                target.installer(lock.pyproject).install(argv, python=target.python, cwd=lock.directory)

    def _by_poetry(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        target.ready()
        require_poetry(target.machine)
        usual, groups = lock.pyproject.poetry_groups, _groups(lock, selection)
        # Both are as the project spells them: until 2.2 Poetry knew no other spelling.
        by_option = {
            "with": [name for name in groups if name not in usual],
            "without": [name for name in usual if name not in groups],
        }
        # Poetry takes groups as additions to those that it installs anyway, or exceptions from them.
        options = [f"--{word}={','.join(names)}" for word, names in by_option.items() if names]
        notes = poetry.install_project(
            lock.directory,
            machine=target.machine,
            environment=target.environment,
            options=[*(f"--extras={name}" for name in selection.extras), *options],
        )
        selection.notes.extend(notes)
        written = replace(lock)  # Poetry may just have written it
        with reading(written):
            return requirements_text.hashes(read(written.text, _groups(lock, selection)))


def require_poetry(machine: Machine) -> None:
    """Raise MissingStepError unless Poetry is there with what is needed of it."""
    if reason := poetry.missing(machine):
        raise MissingStepError(reason, hint="run install_poetry() first, or `colab-env install-poetry`")


def _exported(lock: LockFile, selection: Selection, *, machine: Machine, environment: Path | None = None) -> str:
    require_poetry(machine)
    extras, selected_groups = [f"--extras={name}" for name in selection.extras], _groups(lock, selection)
    groups = [f"--with={','.join(selected_groups)}"] if selected_groups else []
    # Only for an installation: what is shown or written must not hold them.
    passwords = ["--with-credentials"] if environment else []
    text, notes = poetry.export(
        lock.directory, machine=machine, environment=environment, options=[*extras, *groups, *passwords]
    )
    selection.notes.extend(notes)
    return _TWICE.sub(r"://\1", text)


def _groups(lock: LockFile, selection: Selection) -> list[str]:
    """Return the wanted groups, each as the project spells it."""
    if selection.groups is None:
        return lock.pyproject.poetry_groups
    spelled = {normalized(name): name for name in lock.pyproject.groups}
    return list(dict.fromkeys(spelled.get(normalized(name), name) for name in selection.groups))


def read(text: str, groups: Collection[str]) -> str:
    """Return the packages of the main dependencies and of some groups in pip's format, without those of extras."""
    return _requirements(toml_text.parsed(text), groups)


def read_alone(lock: LockFile, selection: Selection) -> str | None:
    """Return the same if that is certainly what Poetry would answer, and quickly read; else None.

    Not certain are a file that its project has moved on from, older formats, extras, and packages of other places than the
    default index. Quick is Python's own parser, from 3.11 on; tomlkit takes seconds for a large file. Raises ProjectFileError
    for a package that Poetry has not written so.
    """
    if sys.version_info < (3, 11) or selection.extras or not lock.is_there:
        return None
    try:
        document, project = toml_text.parsed(lock.text), lock.pyproject.values
        metadata, packages = document["metadata"], document["package"]
        is_plain = metadata["lock-version"] == _FORMAT and not any("source" in package for package in packages)
        is_own = metadata["content-hash"] == content_hash(project)
        asks_poetry = any(lock.pyproject.at("tool", "poetry", key) for key in _FOR_POETRY)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    if not (is_plain and is_own and not asks_poetry):
        return None
    with reading(lock):  # Poetry would pass over some such packages too
        return _requirements(document, _groups(lock, selection))


def content_hash(project: Mapping[str, Any]) -> str:
    """Return the checksum of a pyproject.toml that Poetry 2 writes into its poetry.lock: of what dependencies are taken from."""
    tables, poetry_table = project.get("project", {}), project.get("tool", {}).get("poetry", {})
    standard = {key: tables[key] for key in _OF_PROJECT if tables.get(key) is not None}
    groups = project.get("dependency-groups", {})
    content = {**({"project": standard} if standard else {}), **({"dependency-groups": groups} if groups else {})}
    own = {key: poetry_table.get(key) for key in _OF_POETRY}
    is_set = {key: value for key, value in own.items() if value is not None}
    if content:
        content["tool"] = {"poetry": is_set}
    else:  # as before Poetry 2, which wrote null for all but groups
        content = {**{key: value for key, value in own.items() if key != "group"}, **is_set}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _requirements(document: dict[str, Any], groups: Collection[str]) -> str:
    all_groups, packages = {"main", *map(normalized, groups)}, document.get("package", [])
    for package in packages:
        _require_shape(package)
    return "".join(f"{_line(package, all_groups)}\n" for package in packages if _is_in_groups(package, all_groups))


def _require_shape(package: dict[str, Any]) -> None:
    """Raise ValueError for a package that Poetry has not written so: it might be passed over, and nobody would know."""
    from packaging.markers import Marker

    name, groups, markers = package.get("name"), package.get("groups", ["main"]), package.get("markers", "")
    by_group = markers if isinstance(markers, dict) else {"": markers}
    files, texts = package.get("files", []), [name, package.get("version"), *by_group.values()]
    reasons = {
        "its name, version and markers are not all texts": not all(isinstance(text, str) for text in texts),
        "its groups are no list of names": not isinstance(groups, list)
        or not all(isinstance(group, str) for group in groups),
        "it is in no group": groups == [],
        "optional is neither true nor false": not isinstance(package.get("optional", False), bool),
        "its files are no list of tables with hashes": not isinstance(files, list)
        or not all(isinstance(file, dict) and isinstance(file.get("hash"), str) for file in files),
    }
    if reason := next((reason for reason, is_so in reasons.items() if is_so), None):
        msg = f"package {name!r}: {reason}"
        raise ValueError(msg)
    marker = ""
    try:
        for marker in filter(None, by_group.values()):
            Marker(marker)
    except ValueError as error:
        msg = f"package {name!r}: {marker!r} is no marker"
        raise ValueError(msg) from error


def _is_in_groups(package: dict[str, Any], groups: set[str]) -> bool:
    if package.get("optional"):
        return False
    if "groups" not in package:  # Before version 2.1 of the format; once all groups but main were the category "dev".
        return package.get("category", "main") == "main" or groups != {"main"}
    return not groups.isdisjoint(map(normalized, package["groups"]))  # Poetry 2.2 began to write them normalized


def _line(package: dict[str, Any], groups: set[str]) -> str:
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # one for each group; a group without one always wants the package
        group_markers = [markers.get(group, "") for group in package.get("groups", []) if normalized(group) in groups]
        markers = " or ".join(f"({marker})" for marker in group_markers) if all(group_markers) else ""
    url = _address(package.get("source", {}))
    requirement = f" @ {url}" if url else f"=={package['version']}"
    hashes = "" if url else "".join(f" --hash={file['hash']}" for file in package.get("files", []))
    return f"{package['name']}{requirement}" + (f" ; {markers}" if markers else "") + hashes


def _address(source: dict[str, Any]) -> str:
    url: str = source.get("url", "") if source.get("type") in ("git", "url", "file", "directory") else ""
    return f"git+{url}@{source.get('resolved_reference', '')}" if source.get("type") == "git" else url
