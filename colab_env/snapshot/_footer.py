"""The end of a snapshot file: its description with a signature, and the limits that writing and reading hold.

A skippable frame of Zstandard holds the description as JSON, with the SHA-256 of all that stands before it; in a signed
file a signature of that JSON; its length; and what kind of file it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from colab_env import _state
from colab_env.errors import SnapshotError

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
    if not values.keys() <= vars(description).keys():
        raise damaged("its description has more than colab-env writes")
    return description


def damaged(why: str) -> SnapshotError:
    return SnapshotError(f"the snapshot is damaged: {why}", hint="save it again; nothing was changed")
