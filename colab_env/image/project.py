"""What goes into an image: read from the one `Request`, before anything is written or downloaded."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.errors import MissingStepError, NoSuchPythonError, ProjectFileError, UsageError
from colab_env.image import packages
from colab_env.image.packages import LockedPackages
from colab_env.interpreter import fits_short_version, format_specifier
from colab_env.locks.requirements_text import normalized
from colab_env.pyproject import Pyproject
from colab_env.request import Request
from colab_env.results import short

# Minor versions of Python that Docker's official images have for Debian 12.
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
    workspace the one with the lock file. `name` is normalized, `version` None where the build backend finds it out;
    `scripts` are the names of its console scripts, in order. `python` is such as "3.12", `base` the name of the base image.
    `apt` are the Debian packages that it asks for. `digest` changes when anything changes that an image has to be built anew
    for, but for the project's sources.
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
    context = _context(request)
    is_package = _is_package(request, kind)
    name = _name(request.pyproject) or request.project.name
    python = _python(request, base)
    return ImageProject(
        request=request,
        context=context,
        name=normalized(re.sub(r"[^\w.-]+", "-", name)) or "project",
        version=_text(request.pyproject, "version"),
        is_package=is_package,
        scripts=tuple(_scripts(request.pyproject)) if is_package else (),
        python=python,
        base=base or f"python:{python}-slim-bookworm",
        packages=packages.read(request, context),
        apt=apt_packages(request.pyproject),
        digest=digest(request),
    )


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
    said = pyproject.at("tool", "colab-env", "apt") or []
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        msg = f"{short(pyproject.path)}: 'tool.colab-env.apt' is not a list of names"
        raise ProjectFileError(msg, hint='write it as apt = ["libpq-dev"]; nothing was written')
    if odd := next((each for each in said if not _APT_NAME.fullmatch(each)), None):
        msg = f"{short(pyproject.path)}: {odd!r} in 'tool.colab-env.apt' is no name of a Debian package"
        raise ProjectFileError(msg, hint='write it as "libpq-dev", or "libpq-dev=15.8-0"; nothing was written')
    return tuple(dict.fromkeys(said))


def _context(request: Request) -> Path:
    directory = request.lock.directory
    return directory if directory in request.project.parents else request.project


def _name(pyproject: Pyproject) -> str | None:
    return _text(pyproject, "name")


def _text(pyproject: Pyproject, key: str) -> str | None:
    said = pyproject.at("project", key) or pyproject.at("tool", "poetry", key)
    return said if isinstance(said, str) else None


def _scripts(pyproject: Pyproject) -> list[str]:
    tables = (pyproject.at("project", "scripts"), pyproject.at("tool", "poetry", "scripts"))
    return list(dict.fromkeys(name for table in tables if isinstance(table, Mapping) for name in table))


def _is_package(request: Request, kind: str) -> bool:
    """Say whether the project is installed itself. Raises UsageError where it is to be, and has no sources."""
    pyproject, project = request.pyproject, request.project
    said: Any = pyproject.at("tool", "uv", "package")
    if not pyproject.is_poetry_package or said is False or not (_name(pyproject) or (project / "setup.py").is_file()):
        return False
    backend = str(pyproject.at("build-system", "build-backend") or "")
    if not (said or "build-system" in pyproject.values or (project / "setup.py").is_file()):
        return False
    if not backend.startswith(("poetry", "hatchling", "uv_build", "flit_core")):
        return True  # what is in it, the build backend finds out in its own way
    if pyproject.at("tool", "poetry", "packages") or _names_its_files(pyproject):
        return True
    module = re.sub(r"[-.]+", "_", normalized(_name(pyproject) or ""))
    names = {module, (_name(pyproject) or "").replace("-", "_").replace(".", "_")}
    there = [base / each for base in (project, project / "src") for name in names for each in (name, f"{name}.py")]
    if not any(map(os.path.lexists, there)):
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
    places = (("hatch", "build"), ("uv", "build-backend"), ("flit", "module"), ("flit", "metadata"))
    return any(pyproject.at("tool", *keys) is not None for keys in places)


def _python(request: Request, base: str | None) -> str:
    """Return the Python of the image: the base's, what is asked for, the environment's, .python-version's, Colab's."""
    specifier = request.specifier
    if found := re.search(r"python:(3\.\d+)", base or ""):
        if not fits_short_version(specifier, found[1]):
            msg = f"{base} has Python {found[1]}, and the project needs {format_specifier(specifier)}"
            raise NoSuchPythonError(msg, hint="name another base image; nothing was written")
        return found[1]
    fitting = [f"3.{minor}" for minor in _IMAGES if fits_short_version(specifier, f"3.{minor}")]
    if not fitting:
        msg = f"no official image has a Python that fits {format_specifier(specifier)!r}"
        hint = f"there are 3.{_IMAGES[0]} to 3.{_IMAGES[-1]}: name a base image, or relax requires-python; nothing was written"
        raise NoSuchPythonError(msg, hint=hint)
    recorded = request.recorded_python.short_version if request.recorded_python else None
    wanted = (recorded, _python_version_file(request.project), _USUAL)
    return next((each for each in wanted if each in fitting), fitting[-1])


def _python_version_file(project: Path) -> str | None:
    text = (_files.content(project / ".python-version") or b"").decode("utf-8", "replace")
    found = re.match(r"\s*(3\.\d+)", text)
    return found[1] if found else None
