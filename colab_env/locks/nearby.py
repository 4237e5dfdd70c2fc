"""Where a project is when a directory says nothing of one: around it, or below it, in the same git repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from colab_env.errors import ProjectFileError, UsageError
from colab_env.locks import registry
from colab_env.pyproject import Pyproject
from colab_env.results import as_word, short

_DEPTH, _MOST = 2, 2000  # levels below, and directories that are looked into at most
_LISTED = 3
_READ_THOUGH_HIDDEN = (".binder", ".devcontainer")
_PASSED_OVER = ("node_modules", "site-packages", "__pycache__", "venv", "env")
# What names packages by a name that nobody looks for.
_OTHER = re.compile(r"(.*requirements.*|.*environment.*|conda.*|env)\.(txt|in|ya?ml)", re.IGNORECASE)
_REQUIREMENTS = "requirements"
_IN_REQUIREMENTS = re.compile(r".*\.(txt|in)")


def project_around(directory: Path) -> Path | None:
    """Return the project that a directory is in: itself, or one above it in the same git repository, or None."""
    for current in (directory, *directory.parents):
        if current in (Path.home(), Path(current.anchor)):
            return None
        if is_project(current):
            return current
        if os.path.lexists(current / ".git") or _repository(current.parent) is None:
            return None
    return None


def project_of(directory: Path) -> Path:
    """Return the project that is meant where somebody names a directory, or works in it.

    uv, Poetry, PDM and Pipenv look above a directory that says nothing, and so does this within a git repository. An empty
    directory is a new project, and one with an environment or a pyproject.toml is its own.
    """
    if _is_own(directory) or not _names(directory, is_directory=None):
        return directory
    return project_around(directory) or directory


def is_project(directory: Path) -> bool:
    """Say whether files in a directory say what a project needs; settings of tools alone, as for ruff, do not."""
    pyproject = Pyproject.read(directory)
    if pyproject.names_poetry or registry.unread(directory, pyproject):
        return True
    locks = registry.candidates(directory, pyproject=pyproject)
    return pyproject.has_dependencies or pyproject.is_standard or any(lock.format.is_lock for lock in locks)


def require_nothing_elsewhere(directory: Path) -> None:
    """Raise UsageError where its repository names packages in other places: an empty environment beside them is no answer.

    An empty directory, and one that is not there yet, is a new project.
    """
    repository = _repository(directory)
    if repository is None or not _names(directory, is_directory=None):
        return
    found = choices(directory)
    if not found and directory != repository:
        found = [(option, path) for option, path in choices(repository) if path != directory]
    if found:
        options = [f"{option} {as_word(os.path.relpath(path, directory))}" for option, path in found]
        more = f", and {len(options) - _LISTED} more" if len(options) > _LISTED else ""
        msg = f"{short(directory)} has nothing that says what the project needs"
        hint = f"choose: {' or '.join(options[:_LISTED])}{more}; a [project] in a pyproject.toml here makes a new one"
        raise UsageError(msg, hint=f"{hint}; nothing was changed")


def choices(directory: Path) -> list[tuple[str, Path]]:
    """Return what names packages in a directory, and the projects below it: the option that takes each, and its path."""
    return [*_other_files(directory), *_projects_below(directory)]


def _other_files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield how files are chosen that seem to name packages, in the directory and in one called requirements."""
    for place in (directory, directory / _REQUIREMENTS):
        pattern = _IN_REQUIREMENTS if place.name == _REQUIREMENTS else _OTHER
        names = [name for name in _names(place, is_directory=False) if pattern.fullmatch(name)]
        for name in names:
            if f"{name.removesuffix('.in')}.txt" not in names or not name.endswith(".in"):  # what was made of it counts
                yield "--lock", place / name


def _projects_below(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield how the projects below a directory are chosen, the nearest first."""
    level, looked = [directory], 0
    for _ in range(_DEPTH):
        level = [parent / name for parent in level for name in _names(parent, is_directory=True)]
        for path in level[: max(_MOST - looked, 0)]:
            try:
                is_one = is_project(path)
            except ProjectFileError:  # what is wrong there is said where it is chosen
                is_one = True
            if is_one:
                yield "--project", path
        looked += len(level)


def _names(parent: Path, *, is_directory: bool | None) -> list[str]:
    """Return what is in a directory, but for what is hidden; None takes files and directories."""
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if is_directory in (None, entry.is_dir(follow_symlinks=False))]
    except OSError:
        return []
    shown = [name for name in names if not name.startswith(".") or name in _READ_THOUGH_HIDDEN]
    return sorted(name for name in shown if name not in _PASSED_OVER)


def _is_own(directory: Path) -> bool:
    names = (".venv", "pyproject.toml", "poetry.toml")
    return any(os.path.lexists(directory / name) for name in names) or is_project(directory)


def _repository(directory: Path) -> Path | None:
    """Return the git repository around a directory, or None; one that is a person's home holds settings, not one project."""
    found = next((parent for parent in (directory, *directory.parents) if os.path.lexists(parent / ".git")), None)
    return None if found == Path.home() else found
