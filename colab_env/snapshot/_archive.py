"""Write one snapshot file: trees in a tar stream, compressed, with a signed description at its end.

The file is what `tar --zstd -x` takes: one Zstandard frame, then a skippable one (see `_footer`). Reading unpacks into
places beside the targets; nothing counts until the checksum has held.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from colab_env import _report
from colab_env.errors import SnapshotError
from colab_env.snapshot import _tar
from colab_env.snapshot._footer import (
    MOST_DESCRIPTION,
    MOST_FILES,
    MOST_MEMBERS,
    MOST_UNPACKED,
    Description,
    Footer,
    described,
    footer_bytes,
)
from colab_env.snapshot._tar import BLOCK, DIRECTORY, FILE, HARD_LINK, LINK, Member

if TYPE_CHECKING:
    import zstandard

MANIFEST, FILES = "manifest.json", "files"
_CHUNK = 1 << 20  # bytes
_LEVEL = 3  # see benchmarks/restore.py: higher ones take longer than they save, lower ones make larger files
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One directory of a snapshot: `name` in the archive, `place` on this machine, entries at its top to leave out."""

    name: str
    place: Path
    without: frozenset[str] = frozenset()


LinkCheck = Callable[[str, str, str], object]
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into a snapshot. `check` gets every symbolic link, as (tree's name, path below the tree, what it names).

    It raises for one that a reading would refuse.
    """

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]
    trees: Sequence[Tree]
    check: LinkCheck


class Hashing:
    """Counts and hashes what goes by."""

    def __init__(self, file: BinaryIO, *, limit: int | None = None, seen: Callable[[int], object] = int) -> None:
        self._file = file
        self._limit = limit
        self._seen = seen
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        return self._note(content)

    def read(self, size: int = -1) -> bytes:
        left = (self._limit or 0) - self.size
        content = self._file.read(min(size, left) if size >= 0 else left)
        self._note(content)
        return content

    def _note(self, content: bytes) -> int:
        self.sha256.update(content)
        self.size += len(content)
        self._seen(self.size)
        return len(content)


# --- write


def write(out: BinaryIO, contents: Contents, *, sign: Sign | None) -> Footer:
    """Write a snapshot: the manifest, the small files, then the trees; return what its end says.

    Sockets and devices are left out. Raises SnapshotError when a file changes meanwhile, and for what a reading would
    refuse.
    """
    size, count = _measure(contents)
    if count > MOST_MEMBERS or size > MOST_UNPACKED or sum(map(len, contents.files.values())) > MOST_FILES:
        msg = f"{count} files of {_report.megabytes(size)} are more than a snapshot holds"
        raise SnapshotError(msg, hint="docs/threat-model.md has the limits")
    began, hashing, counter = time.monotonic(), Hashing(out), _Counter()
    with _compressor().stream_writer(cast("Any", hashing), closefd=False) as stream:
        for piece in _pieces(contents, counter):
            stream.write(piece)
            _report.progress(counter.size, max(size, counter.size), time.monotonic() - began)
    text = _description_text(contents, hashing, counter)
    footer = Footer(**vars(described(text)), text=text, signature=sign(text) if sign else None)
    out.write(footer_bytes(text, footer.signature))
    return footer


class _Counter:
    """Counts members, and bytes of the archive."""

    def __init__(self) -> None:
        self.members = 0
        self.size = 0

    def header(self, member: Member) -> bytes:
        self.members += 1
        return _tar.header(member)


def _pieces(contents: Contents, counter: _Counter) -> Iterator[bytes]:
    for name, content in {MANIFEST: json.dumps(contents.manifest).encode(), **contents.files}.items():
        piece = counter.header(Member(name, FILE, 0o644, len(content), 0)) + content + _tar.padding(len(content))
        counter.size += len(piece)
        yield piece
    for tree in contents.trees:
        for piece in _tree_bytes(tree, counter):
            counter.size += len(piece)
            yield piece
    counter.size += len(_tar.END)
    yield _tar.END


def _description_text(contents: Contents, hashing: Hashing, counter: _Counter) -> bytes:
    found = Description(
        manifest=contents.manifest,
        sha256=hashing.sha256.hexdigest(),
        size=hashing.size,
        members=counter.members,
        unpacked=counter.size,
    )
    text = json.dumps(vars(found)).encode()
    if len(text) > MOST_DESCRIPTION:
        msg = f"a description of {len(text)} bytes is more than a snapshot holds"
        raise SnapshotError(msg, hint="docs/threat-model.md has the limits")
    return text


def _compressor() -> zstandard.ZstdCompressor:
    import zstandard

    # Without a limit each of the threads takes a job of 8 MB and its output.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, threads=min(len(os.sched_getaffinity(0)), _THREADS), job_size=1 << 22, write_checksum=1
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _entries(tree: Tree) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Return everything in a tree, each directory before what it holds, its files together."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(tree.place / below) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            if not below and entry.name in tree.without:
                continue
            yield below + entry.name, entry
        deeper = [e for e in entries if e.is_dir(follow_symlinks=False) and (below or e.name not in tree.without)]
        waiting.extend(f"{below}{entry.name}/" for entry in reversed(deeper))


def _measure(contents: Contents) -> tuple[int, int]:
    """Return about how many bytes the archive will have, and how many members."""
    size, count = 0, 1 + len(contents.files) + len(contents.trees)
    for tree in contents.trees:
        for path, entry in _entries(tree):
            if entry.is_symlink():
                contents.check(tree.name, path, os.readlink(entry.path))  # noqa: PTH115  (forty thousand times)
            size += 3 * BLOCK
            size += entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
            count += 1
    return size, count


def _tree_bytes(tree: Tree, counter: _Counter) -> Iterator[bytes]:
    seen: dict[tuple[int, int], str] = {}
    top = tree.place.stat()
    yield counter.header(Member(tree.name, DIRECTORY, stat.S_IMODE(top.st_mode), 0, top.st_mtime_ns))
    for path, entry in _entries(tree):
        found = entry.stat(follow_symlinks=False)
        member = _member(f"{tree.name}/{path}", entry, found, seen)
        if member is None:
            continue
        header = counter.header(member)
        yield from _file_bytes(member, header, entry.path) if member.kind == FILE else [header]


def _member(
    name: str, entry: os.DirEntry[str], found: os.stat_result, seen: dict[tuple[int, int], str]
) -> Member | None:
    mode, mtime = stat.S_IMODE(found.st_mode) & 0o777, found.st_mtime_ns
    if stat.S_ISLNK(found.st_mode):
        return Member(name, LINK, mode, 0, mtime, os.readlink(entry.path))  # noqa: PTH115  (forty thousand times)
    if stat.S_ISDIR(found.st_mode):
        return Member(name, DIRECTORY, mode, 0, mtime)
    if not stat.S_ISREG(found.st_mode):
        return None
    if found.st_nlink > 1:
        first = seen.setdefault((found.st_dev, found.st_ino), name)
        if first != name:
            return Member(name, HARD_LINK, mode, 0, mtime, first)
    return Member(name, FILE, mode, found.st_size, mtime)


def _file_bytes(member: Member, start: bytes, path: str) -> Iterator[bytes]:
    left = member.size
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (forty thousand times)
        while left:
            content = file.read(min(left, _CHUNK))
            if not content:
                msg = f"{path} became shorter while it was saved"
                raise SnapshotError(msg, hint="wait until nothing writes there, then save again")
            left -= len(content)
            yield start + content if left else b"".join([start, content, _tar.padding(member.size)])
            start = b""
        if not member.size:
            yield start
