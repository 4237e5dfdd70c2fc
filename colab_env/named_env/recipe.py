"""What an environment is made of, as a person asked for it: kept in its receipt, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What reads projects is imported where one is read: `list`, `run` and `purge` read receipts alone.
from colab_env import _files, content
from colab_env.errors import NoSuchPythonError, UsageError
from colab_env.interpreter import parse_specifier
from colab_env.machine import Machine
from colab_env.results import as_word, short

if TYPE_CHECKING:
    from colab_env.locks.lock_format import LockFile
    from colab_env.request import Request

_LOGIN = re.compile(r"(\w+://)([^/\s:@]*)[^/\s]*@")
_QUERY = re.compile(r"(?<=\S)\?[^\s#]*(?=$|[\s#])")
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:==[0-9]+(?:\.[0-9]+)*)?")
_ARCHIVES = (".whl", ".tar.gz", ".zip")
_OF_TOOLS = {"__pycache__", "build", "dist", "node_modules", "venv"}
_SHOWN = 3  # commands in an error
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "poetry.toml")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`python` is a version, a specifier or a path; `wheels` a directory that is the only source of packages.

    `script` is a file whose PEP 723 block says more than which packages: where they come from, or as of when. `export` is the
    SHA-256 of the lock that it was made from, where that came from another machine.
    """

    python: str | None = None
    packages: tuple[str, ...] = ()
    project: Path | None = None
    requirements: Path | None = None
    wheels: Path | None = None
    system_site_packages: bool = False
    kernel: bool = False
    script: Path | None = None
    export: str | None = None

    def checked(self, *, copy: Path | None = None) -> Recipe:
        """Return the recipe with absolute paths. Raises UsageError for what is not there or does not go together.

        A requirements file need not be there any more where there is a `copy` of it.
        """
        if copy is not None and self.requirements is not None and not self.requirements.exists():
            return replace(replace(self, requirements=None).checked(), requirements=self.requirements)
        if sum(map(bool, (self.packages, self.project, self.requirements))) > 1:
            msg = "a project, a requirements file and packages do not go together"
            raise UsageError(msg, hint="give one of them")
        _require_packages(self.packages)
        if self.python is not None and "/" not in self.python:
            parse_specifier(self.python)
        elif self.python is not None and not _files.named_path(self.python).exists():
            msg = f"there is no {self.python}"
            raise NoSuchPythonError(msg, hint="give the path of a python program, or a version such as 3.12")
        return replace(
            self,
            packages=tuple(map(_with_absolute_path, self.packages)),
            project=_absolute(self.project, is_directory=True),
            requirements=_absolute(self.requirements, is_directory=False),
            script=_absolute(self.script, is_directory=False),
            wheels=_absolute(self.wheels, is_directory=True),
        )

    def request(self, machine: Machine) -> Request | None:
        """Return what `setup` would ask of the same project, requirements file or script, or None for packages by name.

        So both refuse the same files, and take the same lock and the same Python. Raises UsageError, ProjectFileError.
        """
        lock = self.script or self.requirements
        project = lock.parent if lock else self.project
        if project is None or not (lock or project).exists():
            return None  # what has gone since: the build has a copy, or its lock
        from colab_env.locks import registry
        from colab_env.request import InstallOptions, Request

        options = InstallOptions.from_arguments(lock=lock)
        request = Request.read(project, machine, options=options, python=self.python, defaults=True)
        # The project's own environment has no say in this one, which also outlives the notebook and the blocks of its cells.
        request = replace(request, receipt=None)
        if lock is None and request.is_notebooks_block:  # a notebook that is opened names its block itself
            request = replace(request, lock=registry.find(project))
        if self.lock(request) is None and self.requirements is None and not _is_package(request.project):
            raise _nothing_to_install(request.project)
        return request

    def lock(self, request: Request | None) -> LockFile | None:
        """Return the lock file of the project, or of the script, or None.

        The requirements.txt of a package is none: its metadata counts.
        """
        if request is None or self.requirements is not None:
            return None
        lock = request.lock
        if self.script is not None:
            return lock
        is_package = any((lock.directory / name).is_file() for name in ("setup.py", "setup.cfg"))
        is_lock = lock.is_there and lock.format.is_lock and not (lock.format.is_loose and is_package)
        return lock if is_lock else None

    def recorded(self) -> Recipe:
        """Return it as a receipt has it, which everybody may read: without the names, passwords and queries in addresses."""
        return replace(self, packages=tuple(map(without_secrets, self.packages)))

    def specifier(self, machine: Machine) -> str:
        """Return which Python is asked for, here or in the project."""
        request = None if self.python else self.request(machine)
        if request is not None:
            _ = request.specifier  # names the file and the line of one that cannot be read
        return self.python or (request.requested_python if request else None) or "*"

    def digest(self, machine: Machine) -> str:
        """Return a checksum of the recipe and of the files it names."""
        request = self.request(machine)
        lock = self.lock(request)
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode())
        files = [self.project / name for name in _PROJECT_FILES] if self.project else []
        for path in files:
            digest.update(f"{path.name}\0".encode() + (_files.content(path) or b"") + b"\0")
        if request and self.requirements:
            digest.update(request.lock.digest.encode())
        if lock:
            digest.update(f"{lock.format.name}\0{lock.digest}".encode())
        if self.script:
            digest.update(_files.content(self.script.with_name(f"{self.script.name}.lock")) or b"")
        for path in filter(Path.is_file, sorted(self.wheels.iterdir()) if self.wheels and self.wheels.is_dir() else ()):
            digest.update(f"{path.name}\0{content.digest(path)}\n".encode())
        for source in self._sources(lock):
            for path in [source] if source.is_file() else _source_files(source):
                digest.update(os.fsencode(path) + f"\0{content.digest(path)}\n".encode())
        return digest.hexdigest()

    def gone(self) -> Path | None:
        """Return the first of the directories and files that it names which is not there any more."""
        paths = [self.project, self.requirements, self.wheels, self.script, *self._named_paths()]
        return next((path for path in paths if path is not None and not path.exists()), None)

    def local_names(self) -> list[str]:
        """Return the names of packages that are built from sources on this machine, as far as they are known."""
        names = list(_paths_in_block(self.script)) if self.script else []
        if self.project:
            from colab_env.pyproject import Pyproject

            pyproject = Pyproject.read(self.project)
            name = pyproject.at("project", "name") or pyproject.at("tool", "poetry", "name")
            names += [name] if isinstance(name, str) and name else []
        return names

    def _sources(self, lock: LockFile | None) -> list[Path]:
        """Return what is installed from this machine: the project itself, and what is named by its path."""
        paths = self._named_paths()
        is_installed = self.project and not (lock and lock.format.is_loose)
        projects = [self.project] if is_installed and self.project else []
        paths += _paths_in_block(self.script).values() if self.script else ()
        # Nothing is built from any other directory, and it may be everything: "/", with what never ends in /proc.
        return [*projects, *(path for path in paths if path.is_file() or _is_package(path))]

    def _named_paths(self) -> list[Path]:
        return [Path(path) for path, _ in map(_path_and_extras, self.packages) if path]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which the checksum is made of."""
        values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        # Without those two, as it was before there were any.
        return {key: value for key, value in values.items() if value is not None or key not in ("script", "export")}


def _paths_in_block(script: Path) -> dict[str, Path]:
    """Return which directories and files of this machine a script's block names as sources, by package."""
    from colab_env.locks import script_block

    table: Any = script_block.settings(script_block.block(script))
    for name in ("uv", "sources"):
        table = table.get(name) if isinstance(table, dict) else None
    paths: dict[str, Path] = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        for source in value if isinstance(value, list) else [value]:
            if isinstance(source, dict) and isinstance(source.get("path"), str):
                paths[name] = script.parent / source["path"]
    return paths


def without_secrets(requirement: str) -> str:
    """Return a requirement without the name, password and query in its address.

    The name stays with ssh, such as `git`: it is none of a person's, and nothing is reached without.
    """
    plain = _LOGIN.sub(lambda match: match[1] + (f"{match[2]}@" if match[1] == "ssh://" else ""), requirement)
    return _QUERY.sub("", plain)


def _nothing_to_install(directory: Path) -> UsageError:
    """Return the error for a directory that is no project: what in it, or below it, says what is needed, is named."""
    from colab_env.locks import nearby, script_block

    texts = ((path, _files.content(path) or b"") for path in sorted(directory.glob("*.py")) if path.is_file())
    scripts = [path for path, text in texts if script_block.is_opened(text.decode(errors="replace"))]
    commands = [f"colab-env run --script {as_word(short(path))}" for path in scripts]
    options = {"--lock": "--requirements", "--project": "--project"}
    found = [(options[option], path) for option, path in nearby.choices(directory)]
    commands += [f"{option} {as_word(short(path))}" for option, path in found if path.suffix not in (".yml", ".yaml")]
    msg = f"{short(directory)} has nothing that says what the project needs"
    hint = "give a directory with a lock file, a requirements.txt or a pyproject.toml, or the names of packages"
    if commands:
        hint = f"choose what is there: `{'` or `'.join(commands[:_SHOWN])}`"
    return UsageError(msg, hint=f"{hint}; nothing was changed")


def _is_package(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("pyproject.toml", "setup.py"))


def _source_files(directory: Path) -> Iterator[Path]:
    """Give the files of a project that something may be built from, but for what tools leave there."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not (name.startswith(".") or name in _OF_TOOLS))
        directories[:] = [name for name in directories if not name.endswith(".egg-info")]
        if "pyvenv.cfg" in names and Path(parent) != directory:
            directories.clear()
            continue
        files = (Path(parent, name) for name in sorted(names) if not name.endswith((".pyc", ".ipynb")))
        yield from filter(Path.is_file, files)


def _require_packages(packages: Sequence[str]) -> None:
    """Raise UsageError for the first that is no requirement, no address and no path of something that is there."""
    if all(map(_PLAIN.fullmatch, packages)):
        return  # `packaging` takes longer to import than all the rest of this call
    from packaging.requirements import InvalidRequirement, Requirement

    for package in packages:
        try:
            requirement = Requirement(package)
            # PEP 508 takes anything behind an @ for an address, npm a version.
            is_package = requirement.url is None or ":" in requirement.url or "/" in requirement.url
        except InvalidRequirement:
            is_package = "/" in package or package == "." or package.endswith(_ARCHIVES)
            if is_package and ":" not in package and not _files.named_path(package.partition("[")[0]).exists():
                msg = f"there is no {package}"
                raise UsageError(msg, hint="check the path, which is relative to the working directory") from None
        if not is_package or package.startswith("-"):
            close = re.fullmatch(r"([A-Za-z0-9][\w.\[\],-]*)(?:\s*[@=]\s*|\s+)(\d[\w.]*)", package)
            hint = (
                f"did you mean '{close[1]}=={close[2]}'?"
                if close
                else "write a name, with a version if need be such as 'flask==3.1', or a wheel"
            )
            msg = f"{package!r} is not a package"
            raise UsageError(msg, hint=hint)


def _path_and_extras(package: str) -> tuple[str, str]:
    """Return the path that names a package and the extras after it, such as "[test]"; no path for any other requirement."""
    path, bracket, extras = package.partition("[")
    is_path = "/" in path.partition(";")[0] or path in (".", "..") or path.endswith(_ARCHIVES)
    return (path, f"{bracket}{extras}") if is_path and "://" not in package and " @ " not in package else ("", "")


def _with_absolute_path(package: str) -> str:
    """Return a package as it can be named from any working directory: it is made again from another one."""
    path, extras = _path_and_extras(package)
    return f"{os.path.abspath(_files.named_path(path))}{extras}" if path else package  # noqa: PTH100  (without a link's target)


def _absolute(path: Path | None, *, is_directory: bool) -> Path | None:
    if path is None:
        return None
    path = _files.named_path(path).absolute()
    if path.is_dir() if is_directory else path.is_file():
        return path
    msg = f"there is no {'directory' if is_directory else 'file'} {short(path)}"
    raise UsageError(msg, hint="check the path; nothing was changed")
