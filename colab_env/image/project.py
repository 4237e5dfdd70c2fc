"""What goes into an image: read from the one `Request`, before anything is written or downloaded."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from colab_env import system
from colab_env.errors import MissingStepError, NoSuchPythonError, ProjectFileError, UsageError
from colab_env.interpreter import fits_short_version, format_specifier
from colab_env.locks import requirements_text
from colab_env.locks.requirements_text import normalized
from colab_env.pyproject import Pyproject, pinned_python
from colab_env.request import Request
from colab_env.results import short

_INDEX = re.compile(r"(--index-url|--extra-index-url|-i|--find-links|-f)[ =]+(\S+)")
_NAMED = re.compile(r"([\w.-]+)[ \t]*(?:\[[^\]]*\])?[ \t]*@[ \t]*(\S+)(.*)", re.DOTALL)
_EDITABLE = re.compile(r"^(?:-e|--editable)[ =]\s*")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, kw_only=True)
class Unhashed:
    """A locked requirement without a hash.

    `kind` is "git", "address", "directory", "file", or "index" for an exact version whose lock file has no hashes; `path`
    is that of a directory or file, relative to the build context. `line` is the requirement in pip's format.
    """

    name: str
    kind: str
    line: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class LockedPackages:
    """The locked packages without the project itself.

    `hashed` is in pip's format, every line with its hashes and markers, none with a path of this machine; `indexes` are
    the options for other indexes, without passwords. `needs_password` says that one of them had some. `notes` are what a
    person should know of how the lock file was read.
    """

    hashed: str
    unhashed: tuple[Unhashed, ...] = ()
    indexes: tuple[str, ...] = ()
    needs_password: bool = False
    notes: tuple[str, ...] = ()

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the directories in the build context that are installed as packages besides the project."""
        return tuple(line.path for line in self.unhashed if line.kind == "directory" and line.path is not None)

    @property
    def requirements(self) -> str:
        """Return the hashed requirements with the options for other indexes."""
        return "".join(f"{line}\n" for line in self.indexes) + self.hashed

    @property
    def unhashed_requirements(self) -> str:
        """Return the lines without a hash that an installer can take as they are."""
        return "".join(f"{entry.line}\n" for entry in self.unhashed if entry.kind != "directory")


def read_packages(request: Request, context: Path) -> LockedPackages:
    """Return what the lock file of a request says, for every platform that it was made for.

    Raises what `LockFormat.export_universal` raises, and UsageError for what lies outside of the build context.
    """
    lock, selection = request.lock, request.selection
    text = lock.format.export_universal(lock, selection, python=python_for_lock(request), machine=request.machine)
    packages = parse_packages(text, directory=lock.directory, context=context, project=request.project)
    return replace(packages, notes=tuple(selection.notes))


def parse_packages(text: str, *, directory: Path, context: Path, project: Path) -> LockedPackages:
    """Split requirements by what vouches for them; relative paths in them start from `directory`."""
    hashed: list[str] = []
    indexes: list[str] = []
    unhashed: list[Unhashed] = []
    for line in _requirement_lines(text):
        if index := _INDEX.match(line):
            indexes.append(f"{index[1]} {index[2]}")
        elif line.startswith(("--", "-c ", "-r ")):
            continue
        elif "--hash" in line and not line.startswith(("./", "../", "/", "file:")):
            hashed.append(line)
        else:
            entry = _unhashed(line, directory=directory, context=context)
            if entry.kind != "directory" or context / (entry.path or "") != project:
                unhashed.append(entry)
    plain = [_SECRET.sub("", entry) for entry in dict.fromkeys(indexes)]
    return LockedPackages(
        hashed="".join(f"{line}\n" for line in hashed),
        unhashed=tuple(unhashed),
        indexes=tuple(dict.fromkeys(plain)),
        needs_password=plain != list(dict.fromkeys(indexes)),
    )


def _requirement_lines(text: str) -> Iterator[str]:
    for line in requirements_text.logical_lines(text):
        stripped = re.sub(r"(^|\s)#\s.*$", "", line, flags=re.MULTILINE).strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _unhashed(line: str, *, directory: Path, context: Path) -> Unhashed:
    requirement = _NAMED.fullmatch(line)
    target = requirement[2] if requirement else _EDITABLE.sub("", line).partition(" ;")[0].strip()
    name = requirements_text.normalized(requirement[1]) if requirement else ""
    if re.match(r"(git|hg|svn|bzr)\+", target):
        return Unhashed(name=name or target, kind="git", line=_SECRET.sub("", line))
    if re.match(r"https?://", target):
        return Unhashed(name=name or target, kind="address", line=_SECRET.sub("", line))
    if not requirement and re.match(r"[\w.-]+(\[[^\]]*\])?[ \t]*===?", line):
        return Unhashed(name=requirements_text.normalized(re.split(r"[\[=\s]", line)[0]), kind="index", line=line)
    if not requirement and "/" not in target and target != ".":
        msg = f"{line!r} names no exact version"
        raise UsageError(msg, hint="lock it first: `uv lock`, or `uv pip compile --universal --generate-hashes`")
    path = _path_in_context(target, directory=directory, context=context)
    kind = "file" if (context / path).is_file() else "directory"
    marker = f" {requirement[3].strip()}" if requirement and requirement[3].strip() else ""
    if kind == "directory" and not name:
        pyproject = Pyproject.read(context / path)
        own_name = pyproject.at("project", "name") or pyproject.at("tool", "poetry", "name")
        name = requirements_text.normalized(own_name) if isinstance(own_name, str) else ""
    return Unhashed(name=name or path.name, kind=kind, line=f"./{path.as_posix()}{marker}", path=path)


def _path_in_context(target: str, *, directory: Path, context: Path) -> Path:
    """Return a path relative to the build context. Raises UsageError for one outside."""
    text = unquote(urlsplit(target).path) if target.startswith("file:") else target
    path = Path(os.path.normpath(directory / text))
    if not os.path.lexists(path):
        msg = f"the lock file names {short(path)}, which is not there"
        raise UsageError(msg, hint="get it, or lock the project anew; nothing was written")
    try:
        return path.resolve().relative_to(context.resolve())
    except ValueError:
        msg = f"the lock file names {short(path)}, which is outside of {short(context)}: a build cannot see it"
        hint = "move it into the project, name it by a git address, or publish it to an index; nothing was written"
        raise UsageError(msg, hint=hint) from None


def python_for_lock(request: Request) -> Path:
    """Return a Python that the lock file's tool can resolve for; the machine's own where none fits."""
    if request.recorded_python is not None and request.recorded_python.path.is_file():
        return request.recorded_python.path
    try:
        return system.find(request.specifier, machine=request.machine).path
    except NoSuchPythonError:
        return request.machine.machine_python


# Minor versions of Python that uv installs for, of those that Docker's official images have for Debian 12.
_IMAGES = range(8, 15)
_USUAL = "3.12"  # Colab's own, as of 2026
_APT_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[\w.+:~-]+)?")
# What of a pyproject.toml says what is in an image; its version and the settings of linters do not.
_PROJECT_KEYS = (
    *("name", "requires-python", "dependencies", "optional-dependencies", "scripts", "gui-scripts", "entry-points"),
    "dynamic",
)
_POETRY_KEYS = (
    *("name", "dependencies", "dev-dependencies", "group", "extras", "source", "scripts", "packages", "include"),
    "package-mode",
)


# Build backends, and plugins of them, that find a project's version in its git tags.
_VERSION_BY_GIT = frozenset(
    [
        *("setuptools-scm", "hatch-vcs", "flit-scm", "vcs-versioning", "versioningit", "versioneer"),
        *("setuptools-git-versioning", "poetry-dynamic-versioning", "uv-dynamic-versioning"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ImageProject:
    """One project as an image sees it.

    `context` is the directory that a build gets, and that relative paths start from: the project's, or for a member of a
    workspace the one with the lock file. `name` is one that images can have too, `version` None where the build backend
    finds it out; `scripts` are the names of its console scripts, in order. `python` is such as "3.12", `base` the name of the
    base image. `apt` are the Debian packages that it asks for. `digest` changes when anything changes that an image has to be
    built anew for, but for the project's sources. `notes` say why it has that Python.
    """

    request: Request
    context: Path
    name: str
    version: str | None
    is_package: bool
    scripts: tuple[str, ...]
    python: str
    base: str
    packages: LockedPackages
    apt: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Return the project's directory relative to the build context."""
        return self.request.project.relative_to(self.context)

    @property
    def has_version_of_git(self) -> bool:
        """Say whether the build of its wheel asks git for the version."""
        return self.is_package and asks_git_for_version(self.request.pyproject)

    @property
    def lock_name(self) -> str:
        """Return the lock file's path relative to the build context."""
        return os.path.relpath(self.request.lock.path, self.context)


def read(request: Request, *, base: str | None = None, kind: str = "auto") -> ImageProject:
    """Read what goes into an image of a project, on the official image of its Python or on another `base`.

    A package whose sources are missing is none for the kind "packages", and refused for the others.

    Raises MissingStepError for a project without a lock file, LockMismatchError for a stale one, NoSuchPythonError where no
    base image has its Python, UsageError and ProjectFileError for what cannot be built.
    """
    require_lock(request)
    # A member of a workspace needs what is beside it: the directory with the lock file is the context.
    context = request.lock.directory if request.lock.directory in request.project.parents else request.project
    is_package = _is_package(request, kind)
    name = _text(request.pyproject, "name") or request.project.name
    tables = (request.pyproject.at("project", "scripts"), request.pyproject.at("tool", "poetry", "scripts"))
    scripts = dict.fromkeys(name for table in tables if isinstance(table, Mapping) for name in table)
    python, notes = _python(request, base)
    return ImageProject(
        request=request,
        context=context,
        name=normalized(re.sub(r"[^A-Za-z0-9.-]+", "-", name)).strip("-") or "project",
        version=_text(request.pyproject, "version"),
        is_package=is_package,
        scripts=tuple(scripts) if is_package else (),
        python=python,
        base=base or official_base(python),
        packages=read_packages(request, context),
        apt=apt_packages(request.pyproject),
        digest=digest(request),
        notes=notes,
    )


def official_base(python: str) -> str:
    """Return the name of the image that is taken where nobody names one."""
    return f"python:{python}-slim-bookworm"


def asks_git_for_version(pyproject: Pyproject) -> bool:
    """Say whether the version that a package gets when it is built comes from git tags."""
    requires = pyproject.at("build-system", "requires") or ()
    names = {normalized(match[0]) for line in requires if (match := re.match(r"[\w.-]+", str(line)))}
    if pyproject.at("tool", "poetry-dynamic-versioning", "enable") and "poetry-dynamic-versioning" in names:
        return True  # the version that stands there is a placeholder
    if _text(pyproject, "version") is not None:
        return False
    return bool(names & _VERSION_BY_GIT) or pyproject.at("tool", "pdm", "version", "source") == "scm"


def require_git(project: ImageProject) -> None:
    """Raise UsageError where a build would ask git for the version, and git's directory is not in the build context."""
    directory = project.request.project
    if (
        project.has_version_of_git
        and not (project.context / ".git").is_dir()
        and not (directory / "PKG-INFO").is_file()
    ):
        msg = f"the version of {project.name} comes from git, and {short(project.context)} has no .git that a build can see"
        raise UsageError(msg, hint="write the version into pyproject.toml; nothing was written")


def require_lock(request: Request) -> None:
    """Raise MissingStepError for a project that nothing locks, UsageError for one that conda locks."""
    lock = request.lock
    if lock.format.brings_python:
        msg = f"{short(lock.path)} is conda's, and images of conda environments are not built here"
        hint = "use micromamba's base image (mambaorg/micromamba), or repo2docker, which reads that file"
        raise UsageError(msg, hint=f"{hint}; nothing was written")
    if lock.is_there and lock.format.is_lock:
        return
    tool = "poetry lock" if request.pyproject.names_poetry else "uv lock"
    msg = f"{short(request.project)} has no lock file, so nobody can say what the image holds"
    raise MissingStepError(msg, hint=f"run `{tool}` there, or name one with lock=..., --lock FILE; nothing was written")


def digest(request: Request) -> str:
    """Return a checksum of what the lock file says and of what counts in pyproject.toml, on every machine the same."""
    lock, pyproject = request.lock, request.pyproject
    total = hashlib.sha256(f"{lock.path.name}\0".encode())
    for name, content in lock.format.inputs(lock):
        if not name.endswith("pyproject.toml"):
            total.update(f"{name}\0".encode() + content + b"\0")
    tables = [
        {key: pyproject.at("project", key) for key in _PROJECT_KEYS},
        {key: pyproject.at("tool", "poetry", key) for key in _POETRY_KEYS},
        *(pyproject.at(*keys) for keys in (("dependency-groups",), ("build-system",), ("tool", "uv"))),
        list(apt_packages(pyproject)),
        {"extras": sorted(request.options.extras), "groups": sorted(request.options.groups or ())},
    ]
    total.update(json.dumps(tables, sort_keys=True, default=str).encode())
    return total.hexdigest()


def apt_packages(pyproject: Pyproject) -> tuple[str, ...]:
    """Return the Debian packages of `[tool.colab-env] apt`. Raises ProjectFileError for what is no name of one."""
    names = pyproject.at("tool", "colab-env", "apt") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        msg = f"{short(pyproject.path)}: 'tool.colab-env.apt' is not a list of names"
        raise ProjectFileError(msg, hint='write it as apt = ["libpq-dev"]; nothing was written')
    if odd := next((name for name in names if not _APT_NAME.fullmatch(name)), None):
        msg = f"{short(pyproject.path)}: {odd!r} in 'tool.colab-env.apt' is no name of a Debian package"
        raise ProjectFileError(msg, hint='write it as "libpq-dev", or "libpq-dev=15.8-0"; nothing was written')
    return tuple(dict.fromkeys(names))


def _text(pyproject: Pyproject, key: str) -> str | None:
    value = pyproject.at("project", key) or pyproject.at("tool", "poetry", key)
    return value if isinstance(value, str) else None


def _is_package(request: Request, kind: str) -> bool:
    """Say whether the project is installed itself. Raises UsageError where it is to be, and has no sources."""
    pyproject, project = request.pyproject, request.project
    setting: Any = pyproject.at("tool", "uv", "package")
    if (
        not pyproject.is_poetry_package
        or setting is False
        or not (_text(pyproject, "name") or (project / "setup.py").is_file())
    ):
        return False
    backend = str(pyproject.at("build-system", "build-backend") or "")
    if not (setting or "build-system" in pyproject.values or (project / "setup.py").is_file()):
        return False
    if not backend.startswith(("poetry", "hatchling", "uv_build", "flit_core")):
        return True  # what is in it, the build backend finds out in its own way
    if pyproject.at("tool", "poetry", "packages") or _names_its_files(pyproject):
        return True
    module = re.sub(r"[-.]+", "_", normalized(_text(pyproject, "name") or ""))
    names = {module, (_text(pyproject, "name") or "").replace("-", "_").replace(".", "_")}
    candidates = [base / file for base in (project, project / "src") for name in names for file in (name, f"{name}.py")]
    if not any(map(os.path.lexists, candidates)):
        if kind == "packages":
            return False
        msg = f"{short(project)} is a package, and its sources are missing: there is no {module}/ and no src/{module}/"
        hint = (
            "add them, name them for the build backend, say package-mode = false ([tool.poetry]) or package = false "
            "([tool.uv]), or take kind='packages', --kind packages: the files of the project as they are"
        )
        raise UsageError(msg, hint=f"{hint}; nothing was written")
    return True


def _names_its_files(pyproject: Pyproject) -> bool:
    tables = (("hatch", "build"), ("uv", "build-backend"), ("flit", "module"), ("flit", "metadata"))
    return any(pyproject.at("tool", *keys) is not None for keys in tables)


def _python(request: Request, base: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the Python of the image: the base's, what is asked for, the environment's, .python-version's, Colab's.

    Colab's only where the lock file has as many wheels for it as for any; else why not. A slim image has no compiler.
    """
    specifier = request.specifier
    if minor := re.search(r"python:(3\.\d+)", base or ""):
        if not fits_short_version(specifier, minor[1]):
            msg = f"{base} has Python {minor[1]}, and the project needs {format_specifier(specifier)}"
            raise NoSuchPythonError(msg, hint="name another base image; nothing was written")
        return minor[1], ()
    fitting = [f"3.{minor}" for minor in _IMAGES if fits_short_version(specifier, f"3.{minor}")]
    if not fitting:
        msg = f"no Python that images are written for fits {format_specifier(specifier)!r}"
        hint = f"they are 3.{_IMAGES[0]} to 3.{_IMAGES[-1]}: name another image, or relax requires-python; nothing was written"
        raise NoSuchPythonError(msg, hint=hint)
    recorded = request.recorded_python.short_version if request.recorded_python else None
    for version in (recorded, pinned_python(request.project)):
        if version in fitting:
            return version, ()
    usual = _USUAL if _USUAL in fitting else fitting[-1]
    better = request.better_pythons(usual)
    best = [version for version in fitting if better and fits_short_version(better.specifier, version)]
    return (best[-1], (better.reason,)) if better and best else (usual, ())
