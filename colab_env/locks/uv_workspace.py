"""Workspaces of uv: which project is a member of which, as uv finds it, read from pyproject.toml files alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from colab_env.errors import ProjectFileError
from colab_env.pyproject import Pyproject


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


def settings(pyproject: Pyproject) -> Mapping[str, Any]:
    """Return `[tool.uv]`; nothing where there is none."""
    found = (pyproject.values.get("tool") or {}).get("uv")
    return found if isinstance(found, Mapping) else {}


def _is_listed(parts: Sequence[str], patterns: Any) -> bool:
    listed = patterns if isinstance(patterns, list) else []
    return any(_matches(parts, os.path.normpath(each).split("/")) for each in listed if isinstance(each, str))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(each == "**" for each in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
