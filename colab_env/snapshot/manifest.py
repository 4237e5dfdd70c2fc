"""What the description of a snapshot says, as typed values: anything else is refused before it is looked at."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_env import _state
from colab_env.interpreter import Interpreter, require_version
from colab_env.snapshot._footer import damaged

PROJECT_FILES = ("pyproject.toml", "poetry.lock", "poetry.toml")  # those that lock formats declare (`project_files`)
TREES = ("venv", "layer", "poetry", "uv", "python")
_NAMES = re.compile(
    r"(?P<label>.+)-(?P<given>[0-9a-f]{12})-(?P<left>[0-9a-f]{12})-(?P<build>[0-9a-f]{8})\.tar\.zst", re.ASCII
)

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")

Files = Mapping[str, str | None]  # SHA-256 of a project's files by name, None where there is none


@dataclass(frozen=True, kw_only=True)
class Name:
    """The name of a snapshot's file, in its parts."""

    label: str
    given: str
    left: str
    build: str

    @property
    def key(self) -> str:
        """Return the three hashes, which decide."""
        return f"{self.given}-{self.left}-{self.build}"

    def __str__(self) -> str:
        return f"{self.label}-{self.key}.tar.zst"

    @classmethod
    def parsed(cls, text: str) -> Name | None:
        """Read a file's name; None when it is not a snapshot's."""
        match = _NAMES.fullmatch(text)
        return cls(**match.groupdict()) if match else None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a cache: its name, its size in bytes, when it was written in seconds since 1970 (None: not known)."""

    name: str
    size: int = 0
    modified: float | None = None

    @property
    def is_leftover(self) -> bool:
        """Say whether a save that was killed, or one that is at work, left it."""
        return _PARTIAL.fullmatch(self.name) is not None


def entries_of_index(values: Any) -> list[Entry]:
    """Return what an index lists. Raises ValueError for anything else."""
    entries: tuple[Entry, ...] = _state.typed(tuple[Entry, ...], values)
    return [entry for entry in entries if re.fullmatch(r"[A-Za-z0-9._-]+", entry.name)]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What has to be the same where a snapshot is made and where it is used, but for files and Python.

    `machine_python` is a path and its build; `wanted` a checksum of options. The paths `package`, `data`, `project` and
    `pythons`, uv's directory of Pythons, may be others where a snapshot moves; format 1 had no `pythons`, and does not move.
    """

    format: int
    machine: str
    libc: str
    package: str
    machine_python: tuple[str, ...]
    colab: bool
    data: str
    project: str
    system_site_packages: bool
    wanted: str
    pythons: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One description. `trees` and `links` say where things were: they are compared with this machine, never used.

    `texts` are the files of each tree that name these paths, which they are rewritten in elsewhere; `fixed` is why a snapshot
    does not move.
    """

    inputs: Inputs
    given: Mapping[str, str | None]
    left: Mapping[str, str | None]
    python: Interpreter
    build: str
    layer: str
    packages: int
    cpu: int | None
    trees: Mapping[str, Path]
    links: Mapping[str, str]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: str | None = None

    def __post_init__(self) -> None:
        require_version(self.python.version)
        problems = {
            "other project files": not self.given.keys() == self.left.keys() == {*PROJECT_FILES},
            "other parts": not {"venv"} <= self.trees.keys() <= {*TREES},
            "links without a Python": bool(self.links) and "python" not in self.trees,
            "a path that is not absolute": not all(
                path.is_absolute() and path.name and ".." not in path.parts
                for path in (Path(self.inputs.project), self.python.path, *self.trees.values())
            ),
            "texts of other parts": not self.texts.keys() <= self.trees.keys(),
            "a Python that is in no directory": len(self.python.path.parts) < 4,
        }
        if wrong := [text for text, is_wrong in problems.items() if is_wrong]:
            raise ValueError(wrong[0])

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Manifest:
        """Take the values of a description. Raises SnapshotError for those that colab-env does not write."""
        try:
            manifest: Manifest = _state.typed(cls, dict(values))
        except (ValueError, OverflowError, RecursionError) as error:
            raise damaged("its description is not one of colab-env's") from error
        return manifest

    @property
    def holds_its_python(self) -> bool:
        """Say whether a snapshot brings its Python; /usr/local belongs to the machine and is never inside."""
        return "python" in self.trees


def key(identity: Mapping[str, Any], files: Files) -> str:
    """Return the hash for these inputs and these project files: 12 hexadecimal digits."""
    return hashed([identity, files], 12)


def hashed(value: Any, digits: int) -> str:
    """Return so many hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]
