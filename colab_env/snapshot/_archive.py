"""Write and read one snapshot file: trees in a tar stream, compressed, with a checksum and a description at its end.

The file is what `tar --zstd -x` takes: one Zstandard frame, then a skippable one that holds the description and the
SHA-256 of all that stands before it. Reading unpacks into places beside the targets; nothing counts until the checksum
has held.
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
from colab_env.snapshot._tar import BLOCK, DIRECTORY, FILE, HARD_LINK, LINK, Member

if TYPE_CHECKING:
    import zstandard

MANIFEST, FILES = "manifest.json", "files"
_CHUNK = 1 << 20  # bytes
_SKIPPABLE = b"\x50\x2a\x4d\x18"  # RFC 8878, 3.1.2: a frame that decoders pass over
_MAGIC = b"colab-env-snap-1"
_LONGEST = 1 << 22  # bytes of a description
_TAIL = 1 << 16  # bytes; most descriptions are shorter
_LEVEL = 3  # see benchmarks/restore.py: higher ones take longer than they save, lower ones make larger files
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One directory of a snapshot: `name` in the archive, `place` on this machine, entries at its top to leave out."""

    name: str
    place: Path
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Footer:
    """What stands at the end of a snapshot: the `manifest`, and SHA-256 and length of the bytes before it."""

    manifest: dict[str, Any]
    sha256: str
    size: int


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


def write(
    out: BinaryIO, *, manifest: Mapping[str, Any], files: Mapping[str, bytes], trees: Sequence[Tree], check: LinkCheck
) -> Footer:
    """Write a snapshot: the manifest, small `files`, then the trees; return what its end says.

    `check` gets every symbolic link, as (tree's name, path below the tree, what it names), and raises for one that a
    reading would refuse. Sockets and devices are left out. Raises SnapshotError when a file changes meanwhile.
    """
    total = sum(_size(tree, check) for tree in trees)
    began, done = time.monotonic(), 0
    hashing = Hashing(out)
    with _compressor().stream_writer(cast("Any", hashing), closefd=False) as stream:
        for name, content in {MANIFEST: json.dumps(manifest).encode(), **files}.items():
            member = Member(name, FILE, 0o644, len(content), 0)
            stream.write(_tar.header(member) + content + _tar.padding(len(content)))
        for tree in trees:
            for piece in _tree_bytes(tree):
                stream.write(piece)
                done += len(piece)
                _report.progress(done, max(total, done), time.monotonic() - began)
        stream.write(_tar.END)
    footer = Footer(manifest=dict(manifest), sha256=hashing.sha256.hexdigest(), size=hashing.size)
    out.write(_footer_bytes(footer))
    return footer


LinkCheck = Callable[[str, str, str], object]


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


def _size(tree: Tree, check: LinkCheck) -> int:
    size = 0
    for path, entry in _entries(tree):
        if entry.is_symlink():
            check(tree.name, path, os.readlink(entry.path))  # noqa: PTH115  (forty thousand times)
        size += 3 * BLOCK + (entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0)
    return size


def _tree_bytes(tree: Tree) -> Iterator[bytes]:
    seen: dict[tuple[int, int], str] = {}
    top = tree.place.stat()
    yield _tar.header(Member(tree.name, DIRECTORY, stat.S_IMODE(top.st_mode), 0, top.st_mtime_ns))
    for path, entry in _entries(tree):
        found = entry.stat(follow_symlinks=False)
        member = _member(f"{tree.name}/{path}", entry, found, seen)
        if member is None:
            continue
        yield from _file_bytes(member, entry.path) if member.kind == FILE else [_tar.header(member)]


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


def _file_bytes(member: Member, path: str) -> Iterator[bytes]:
    left = member.size
    start = _tar.header(member)
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


def _footer_bytes(footer: Footer) -> bytes:
    text = json.dumps(vars(footer)).encode()
    payload = text + len(text).to_bytes(4, "little") + _MAGIC
    return _SKIPPABLE + len(payload).to_bytes(4, "little") + payload


# --- read


def read_footer(file: BinaryIO) -> Footer:
    """Read the end of a snapshot. Raises SnapshotError for a file that is none, or is cut off."""
    size = file.seek(0, os.SEEK_END)
    fixed = len(_MAGIC) + 4
    file.seek(max(size - _TAIL, 0))
    tail = file.read()
    length = int.from_bytes(tail[-fixed : -len(_MAGIC)], "little")
    if not tail.endswith(_MAGIC) or length > min(_LONGEST, size - fixed):
        raise damaged("its end is missing")
    if length + fixed > len(tail):
        file.seek(size - fixed - length)
        tail = file.read()
    try:
        footer = Footer(**json.loads(tail[-fixed - length : -fixed]))
        whole = footer.size + len(_SKIPPABLE) + 4 + length + fixed == size and isinstance(footer.manifest, dict)
    except (ValueError, TypeError) as error:
        raise damaged("its description cannot be read") from error
    file.seek(footer.size if whole else 0)
    if not whole or file.read(8) != _SKIPPABLE + (length + fixed).to_bytes(4, "little"):
        raise damaged("its length is not what its description says")
    return footer


def damaged(why: str) -> SnapshotError:
    return SnapshotError(f"the snapshot is damaged: {why}", hint="save it again; nothing was changed")
