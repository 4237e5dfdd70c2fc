"""Workspaces of uv: which project is a member of which, as uv finds it, read from pyproject.toml files alone."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.errors import ProjectFileError
from colab_env.pyproject import Pyproject

_PIN = re.compile(r"(?:cpython[-@]?|python)?(3\.\d{1,2})(?:\.\d{1,2})?", re.ASCII)
_MOST = 200  # directories; no resolution reads more


def root(project: Path, pyproject: Pyproject) -> Path | None:
    """Return the root of the workspace that a project is a member of, or None: also where it is the root itself."""
    if pyproject.content is None or "workspace" in (own := settings(pyproject)) or own.get("managed") is False:
        return None
    for directory in project.parents:
        if not os.path.lexists(directory / pyproject.path.name):
            continue
        try:  # what is wrong in another project's file is that one's
            above = Pyproject.read(directory)
            workspace, is_project = settings(above).get("workspace"), "project" in above.values
        except ProjectFileError:
            return None
        if isinstance(workspace, Mapping):
            parts = project.relative_to(directory).parts
            is_member = _is_listed(parts, workspace.get("members")) and not _is_listed(parts, workspace.get("exclude"))
            return directory if is_member else None
        if is_project:
            return None
    return None


def local_projects(project: Path, pyproject: Pyproject) -> list[Path]:
    """Return the directories that a project's resolution reads too: its workspace, and sources that are paths, with theirs."""
    reached, waiting = {project: None}, [(project, pyproject)]
    while waiting and len(reached) < _MOST:
        directory, own = waiting.pop()
        above = root(directory, own)
        for neighbour in (*([above] if above else []), *_members(directory, own), *_path_sources(directory, own)):
            if neighbour not in reached and neighbour.is_dir():
                reached[neighbour] = None
                with contextlib.suppress(ProjectFileError):  # what is wrong in another project's file is that one's
                    waiting.append((neighbour, Pyproject.read(neighbour)))
    return [path for path in reached if path != project]


def _members(directory: Path, pyproject: Pyproject) -> Iterator[Path]:
    workspace = settings(pyproject).get("workspace")
    listed = workspace.get("members") if isinstance(workspace, Mapping) else None
    for pattern in listed if isinstance(listed, list) else ():
        with contextlib.suppress(ValueError, NotImplementedError, IndexError):  # no pattern, or an absolute one
            yield from (path.parent for path in sorted(directory.glob(f"{pattern}/pyproject.toml")))


def _path_sources(directory: Path, pyproject: Pyproject) -> Iterator[Path]:
    sources = settings(pyproject).get("sources")
    for value in sources.values() if isinstance(sources, Mapping) else ():
        for source in value if isinstance(value, list) else [value]:
            path = source.get("path") if isinstance(source, Mapping) else None
            if isinstance(path, str) and "\0" not in path:
                yield Path(os.path.normpath(directory / path))


def settings(pyproject: Pyproject) -> Mapping[str, Any]:
    """Return `[tool.uv]`; nothing where there is none."""
    table = (pyproject.values.get("tool") or {}).get("uv")
    return table if isinstance(table, Mapping) else {}


def pinned_python(*directories: Path) -> str | None:
    """Return the X.Y of CPython that the first `.python-version` in these directories pins, or None.

    uv takes the very patch level that is written there; here any one of that X.Y will do, as everywhere else.
    """
    match = _PIN.fullmatch(pinned_text(*directories))
    return match[1] if match else None


def pinned_text(*directories: Path) -> str:
    """Return the line that counts of the first `.python-version` in these directories, whatever it says, or nothing."""
    for directory in directories:
        lines = (_files.content(directory / ".python-version") or b"").decode("utf-8", "replace").splitlines()
        pinned = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if pinned:
            return pinned[0]
    return ""


def _is_listed(parts: Sequence[str], patterns: Any) -> bool:
    listed = patterns if isinstance(patterns, list) else []
    return any(_matches(parts, os.path.normpath(pattern).split("/")) for pattern in listed if isinstance(pattern, str))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
