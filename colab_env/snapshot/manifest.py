"""What the description of a snapshot says, as typed values: anything else is refused before it is looked at.

It stands at the end of the file: a skippable frame of Zstandard holds the description as JSON, with the SHA-256 of all
that stands before it; in a signed file a signature of that JSON; its length; and what kind of file it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from colab_env import _state
from colab_env.errors import SnapshotError
from colab_env.interpreter import Interpreter, require_version

_SKIPPABLE = b"\x50\x2a\x4d\x18"  # RFC 8878, 3.1.2: a frame that decoders pass over
_UNSIGNED, _SIGNED = b"colab-env-snap-1", b"colab-env-snap-2"  # the first is the first release's
_SIGNATURE = 32  # bytes
_TAIL = 1 << 16  # bytes; most descriptions are shorter
# What a snapshot may be at the most, when it is written and when it is read.
MOST_DESCRIPTION = 1 << 18  # bytes
MOST_MEMBERS = 500_000
MOST_UNPACKED = 1 << 38  # bytes of the archive, unpacked
MOST_FILES = 1 << 24  # bytes of the project's files, together
# Files of the first release do not declare how large they are unpacked.
_UNDECLARED = 1 << 26  # bytes, and `USUAL_RATIO` times what they are packed
USUAL_RATIO = 100


@dataclass(frozen=True, kw_only=True)
class Description:
    """What stands at the end of a snapshot: the `manifest`, and SHA-256 and length of the bytes before it.

    `members` are the archive's, `unpacked` its bytes before they were packed; the first release did not count them.
    """

    manifest: Mapping[str, Any]
    sha256: str
    size: int
    members: int | None = None
    unpacked: int | None = None

    def __post_init__(self) -> None:
        counts = [count for count in (self.size, self.members, self.unpacked) if count is not None]
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256, re.ASCII) or min(counts) < 0:
            msg = "no description"
            raise ValueError(msg)

    @property
    def most_members(self) -> int:
        """Return how many members reading takes."""
        return MOST_MEMBERS if self.members is None else min(self.members, MOST_MEMBERS)

    @property
    def most_unpacked(self) -> int:
        """Return how many bytes reading unpacks."""
        most = _UNDECLARED + USUAL_RATIO * self.size if self.unpacked is None else self.unpacked
        return min(most, MOST_UNPACKED)


@dataclass(frozen=True, kw_only=True)
class Footer(Description):
    """A description as a file has it: its `text` is what the `signature` is of, None where there is none."""

    text: bytes
    signature: bytes | None = None


def footer_bytes(text: bytes, signature: bytes | None) -> bytes:
    """Return the end of a file: of one that is signed, or of one as the first release wrote it."""
    kind = _UNSIGNED if signature is None else _SIGNED
    payload = text + (signature or b"") + len(text).to_bytes(4, "little") + kind
    return _SKIPPABLE + len(payload).to_bytes(4, "little") + payload


def read_footer(file: BinaryIO) -> Footer:
    """Read the end of a snapshot. Raises SnapshotError for a file that is none, or is cut off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    tail = file.read()
    kind = tail[-len(_SIGNED) :]
    after = (_SIGNATURE if kind == _SIGNED else 0) + 4 + len(_SIGNED)  # bytes that stand after the text
    length = int.from_bytes(tail[-4 - len(_SIGNED) : -len(_SIGNED)], "little")
    if kind not in (_UNSIGNED, _SIGNED) or length > min(MOST_DESCRIPTION, size - after):
        raise damaged("its end is missing")
    if length + after > len(tail):
        file.seek(size - after - length)
        tail = file.read()
    text, signature = tail[-after - length : -after], tail[-after : -after + _SIGNATURE]
    footer = Footer(**vars(described(text)), text=text, signature=signature if kind == _SIGNED else None)
    whole = footer.size + len(_SKIPPABLE) + 4 + length + after == size
    file.seek(footer.size if whole else 0)
    if not whole or file.read(8) != _SKIPPABLE + (length + after).to_bytes(4, "little"):
        raise damaged("its length is not what its description says")
    return footer


def described(text: bytes) -> Description:
    """Read a description. Raises SnapshotError."""
    try:
        values = json.loads(text)
        description: Description = _state.typed(Description, values)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged("its description cannot be read") from error
    # The signature covers the text: a field that nobody reads would be signed and mean nothing.
    if not values.keys() <= vars(description).keys():
        raise damaged("its description has more than colab-env writes")
    return description


def damaged(why: str) -> SnapshotError:
    return SnapshotError(f"the snapshot is damaged: {why}", hint="save it again; nothing was changed")


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
