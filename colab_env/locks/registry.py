"""Which lock file a project has: the formats are found in `colab_env.formats`, the files by their names."""

from __future__ import annotations

import functools
import os
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, formats
from colab_env.errors import UsageError
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from collections.abc import Iterator


_PIXI = "run `pixi workspace export conda-environment environment.yml`, which is read, then this call again"
# What says what a project needs, and nobody here reads: never an empty environment instead.
_UNREAD = {
    "conda-lock.yml": "run `conda-lock render --kind env`, then give that file with lock=...",
    "pixi.lock": _PIXI,
    "pixi.toml": _PIXI,
    "[tool.pixi]": _PIXI,
    "Pipfile": "run `pipenv lock` for it, and this call reads its Pipfile.lock",
}


@functools.cache
def all_formats() -> tuple[LockFormat, ...]:
    """Return the formats in the order in which they are looked for."""
    modules = (import_module(f"{formats.__name__}.{module.name}") for module in pkgutil.iter_modules(formats.__path__))
    lock_formats = [lock_format for module in modules for lock_format in _defined_in(vars(module))]
    return tuple(sorted(lock_formats, key=lambda lock_format: lock_format.rank))


def _defined_in(names: dict[str, object]) -> Iterator[LockFormat]:
    for value in names.values():
        if isinstance(value, type) and issubclass(value, LockFormat) and value.__module__ == names["__name__"]:
            yield value()


def of_name(name: str) -> LockFormat:
    """Return the format that people call `name`, such as "uv.lock"."""
    return next(lock_format for lock_format in all_formats() if lock_format.name == name)


def find(
    project: Path, lock: str | Path | None = None, *, pyproject: Pyproject | None = None, by_poetry: bool = False
) -> LockFile:
    """Return the lock file of a project, or the one that its tool will make where there is none.

    `lock` names one, absolute or relative to the project; `pyproject` is the project's, where it has been read. A project
    that any tool might lock is locked by Poetry if that is said (`by_poetry`) or its files name it, else by uv. Raises
    UsageError when the file is not there or of no known format.
    """
    pyproject = pyproject or Pyproject.read(project)
    if lock is not None:
        return _named(project / _files.named_path(lock), pyproject)
    locks = candidates(project, pyproject=pyproject)
    is_locked = bool(locks) and locks[0].format.is_lock
    counting = locks[0] if locks and (is_locked or not by_poetry) else to_be_made(project, pyproject)
    # Dependencies that stand in a file which nobody here reads would be an empty environment and a ✓.
    if not is_locked and not pyproject.has_dependencies:
        _require_read(*unread(project, pyproject))
    return counting


def unread(project: Path, pyproject: Pyproject) -> list[str]:
    """Return what names packages in a project and nobody here reads: files, and "[tool.pixi]" of its pyproject.toml."""
    names = [name for name in _UNREAD if os.path.lexists(project / name)]
    if os.path.lexists(project / "Pipfile.lock"):  # which is read together with it
        names = [name for name in names if name != "Pipfile"]
    pixi = [pyproject.at("tool", "pixi", key) or {} for key in ("dependencies", "pypi-dependencies")]
    # Often that is the Python, and the project itself.
    of_pixi = {name for table in pixi for name in table} - {"python", pyproject.at("project", "name")}
    return [*names, *(["[tool.pixi]"] if of_pixi else [])]


def conda_files(project: Path, pyproject: Pyproject) -> list[str]:
    """Return the names of the files that conda makes an environment from, such as "environment.yml"."""
    paths = (path for each in all_formats() if each.brings_python for path in each.paths(project, pyproject))
    return [path.name for path in paths if path.exists()]


def candidates(project: Path, *, pyproject: Pyproject | None = None) -> list[LockFile]:
    """Return every lock file of a project, the one that counts first.

    One whose tool pyproject.toml names counts before those of other tools: a project that has moved to another tool often
    keeps its old file. Where it names none, and is of the standard, that is uv. What is loose, such as requirements.txt,
    counts where pyproject.toml has no dependencies of its own.
    """
    pyproject = pyproject or Pyproject.read(project)
    locks = [
        LockFile(path=path, format=lock_format, pyproject=pyproject)
        for lock_format in all_formats()
        for path in lock_format.paths(project, pyproject)
        if os.path.lexists(path)
    ]
    locks = [lock for lock in locks if lock.format.is_one(lock)]
    if any(lock.format.is_loose for lock in locks) and pyproject.has_dependencies:
        locks = [lock for lock in locks if not lock.format.is_loose]
    if described := [lock for lock in locks if not lock.format.is_lock]:  # which says what a setup.py beside it would
        locks = [lock for lock in locks if lock.format.is_lock and lock.format.name != "setup.py"] or described
    own = [lock for lock in locks if lock.format.is_lock and lock.format.tool]
    tools = {lock.format.tool for lock in own if pyproject.names(lock.format.tool)}
    tools = tools or ({"uv"} if pyproject.is_standard else set())
    ordered = iter(sorted(own, key=lambda lock: lock.format.tool not in tools))
    return [next(ordered) if lock in own else lock for lock in locks]


def to_be_made(project: Path, pyproject: Pyproject) -> LockFile:
    """Return the lock file that a project without one gets."""
    lock_format = next(lock_format for lock_format in all_formats() if lock_format.is_made_by_tool)
    return LockFile(path=project / lock_format.file_names[0], format=lock_format, pyproject=pyproject)


def formats_of(path: str) -> list[LockFormat]:
    """Return the formats that a file may be of by its name. A whole name says more than its end."""
    name = Path(path).name
    exact = [lock_format for lock_format in all_formats() if name in lock_format.file_names]
    return exact or [lock_format for lock_format in all_formats() if lock_format.matches(name)]


def _require_read(*names: str) -> None:
    """Raise UsageError for the first file that nobody here reads."""
    if unread := [name for name in names if name in _UNREAD]:
        msg = f"{unread[0]} is not read by colab-env"
        raise UsageError(msg, hint=f"{_UNREAD[unread[0]]}; nothing was changed")


def _named(path: Path, pyproject: Pyproject) -> LockFile:
    path = path.absolute()
    _require_read(path.name)
    fitting = formats_of(path.name)
    exact = [lock_format for lock_format in fitting if path.name in lock_format.file_names]
    project = pyproject.path.parent
    is_projects = path.parent == project or any(path in lock_format.paths(project, pyproject) for lock_format in exact)
    # A lock file elsewhere belongs to the pyproject.toml that it lies beside.
    pyproject_there = pyproject if is_projects else Pyproject.read(path.parent)
    locks = [LockFile(path=path, format=lock_format, pyproject=pyproject_there) for lock_format in fitting]
    lock = next((lock for lock in locks if not lock.is_there or lock.format.is_one(lock)), None)
    if lock is None:
        msg = f"{path.name} is not a lock file of a known kind"
        names = ", ".join(dict.fromkeys(name for lock_format in all_formats() for name in lock_format.file_names))
        raise UsageError(msg, hint=f"give one of {names}, or a script or notebook with a block of PEP 723")
    if not lock.is_there:
        msg = f"there is no lock file {short(path)}"
        raise UsageError(msg, hint="check the path, which is relative to the project; nothing was changed")
    return lock
