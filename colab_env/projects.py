"""A project's directory, and what its files ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, pyproject
from colab_env.environment import find_lock
from colab_env.errors import NotWritableError, UsageError
from colab_env.locks import lockfiles
from colab_env.machine import Machine
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.lockfiles import LockFile


def directory(project: str | Path) -> Path:
    """Return the project's directory, absolute and without links. Where it is missing, the first file in it makes it."""
    place = Path(project).expanduser().absolute()
    if place.exists() and not place.is_dir():
        msg = f"{short(place)} is a file, not a directory"
        raise UsageError(msg, hint="give the directory that holds pyproject.toml, or that shall hold it")
    nearest = next(parent for parent in (place, *place.parents) if parent.exists())
    if not nearest.is_dir():
        msg = f"{short(nearest)} is a file, not a directory"
        raise NotWritableError(msg, hint="choose another directory")
    with _files.explaining(place):
        return place.resolve()


def asked_python(project: Path, lock: str | Path | None, machine: Machine) -> str | None:
    """Return the Python that the lock file asks for, else pyproject.toml, or None."""
    found = find_lock(project, None if lock is None else str(lock), machine)
    return (lockfiles.requires_python(found) if found else None) or pyproject.requires_python(project)


def is_poetrys(project: str | Path, lock: str | Path | None) -> bool:
    """Say whether Poetry reads the lock file, or makes the first."""
    found = find_lock(directory(project), None if lock is None else str(lock), Machine.detect())
    return found is None or found.kind == "poetry.lock"


def environment_yml(project: Path, lock: str | Path | None, machine: Machine) -> LockFile | None:
    """Return the environment.yml that says what the environment consists of, or None."""
    found = find_lock(project, None if lock is None else str(lock), machine)
    return found if found is not None and found.kind == lockfiles.CONDA else None
