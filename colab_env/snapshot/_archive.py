"""Write one snapshot file: trees in a tar stream, compressed, with a signed description at its end.

The file is what `tar --zstd -x` takes: one Zstandard frame, then a skippable one (see `manifest`). Of tar there is here the
part of POSIX pax that snapshots use, and no more. Reading unpacks into places beside the targets; nothing counts until
the checksum has held.
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
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from colab_env import _report
from colab_env.errors import SnapshotError
from colab_env.snapshot.manifest import (
    MOST_DESCRIPTION,
    MOST_FILES,
    MOST_MEMBERS,
    MOST_UNPACKED,
    Description,
    Footer,
    described,
    footer_bytes,
)

if TYPE_CHECKING:
    import zstandard

BLOCK = 512  # bytes; every header is one, and contents are filled up to a multiple
END = bytes(2 * BLOCK)
FILE, HARD_LINK, LINK, DIRECTORY, _EXTENDED = b"0", b"1", b"2", b"5", b"x"
_KINDS = (FILE, HARD_LINK, LINK, DIRECTORY)
_NAME = 100  # bytes that a name or a link may have in the header itself
_SIZE = 8**11  # bytes from which on a size stands in the extended header
LONGEST_PATH = 4096  # bytes of a member's name, and of what a link names: Linux takes no more (PATH_MAX)
LONGEST_NAME = 255  # bytes of one part of a path
_LARGEST = 1 << 14  # bytes of an extended header: two names, a time, a size
_LONGEST_NUMBER = 40  # digits of a size or a time, with its fraction
_LATEST = 1 << 33  # seconds since 1970: the year 2242, which every file system of Linux but ext3 has
# No set-user-ID, set-group-ID or sticky bit, and nothing that everybody may write.
_MODES = 0o775


class Member(NamedTuple):
    """One member: its `name`, its `kind`, permission bits, bytes of content, time in nanoseconds, what a link names."""

    name: str
    kind: bytes
    mode: int
    size: int
    mtime_ns: int
    link: str = ""


def header(member: Member) -> bytes:
    """Return the blocks that stand before a member's content.

    Times have nanoseconds, as conda's and colab-env's own records compare them.
    """
    name, link = member.name.encode(errors="surrogateescape"), member.link.encode(errors="surrogateescape")
    seconds, nanoseconds = divmod(member.mtime_ns, 10**9)
    extended = _record(b"mtime", b"%d.%09d" % (seconds, nanoseconds))
    if len(name) > _NAME:
        extended += _record(b"path", name)
    if len(link) > _NAME:
        extended += _record(b"linkpath", link)
    if member.size >= _SIZE:
        extended += _record(b"size", b"%d" % member.size)
    first = _block(b"././@PaxHeader", _EXTENDED, 0o644, len(extended), 0, b"")
    size = member.size if member.size < _SIZE else 0
    block = _block(name[:_NAME], member.kind, member.mode, size, max(seconds, 0), link[:_NAME])
    return first + extended + padding(len(extended)) + block


def padding(size: int) -> bytes:
    """Return what fills content of this many bytes up to a whole block."""
    return bytes(-size % BLOCK)


def extended_size(block: bytes) -> int | None:
    """Return how many bytes of extended header follow this header, or None when it is a member's own."""
    if block[156:157] != _EXTENDED:
        return None
    size = _number(block[124:136])
    if size > _LARGEST:
        raise _unreadable("a header is too long")
    return size


def parse(block: bytes, extended: bytes = b"") -> Member:
    """Read a member's own header, with the extended one that stood before it. Raises SnapshotError.

    Modes are masked, and a time that no file system has is the nearest one that it has.
    """
    kind, name, link = block[156:157], block[:100].rstrip(b"\0"), block[157:257].rstrip(b"\0")
    mode, size, mtime_ns = _number(block[100:108]) & _MODES, _number(block[124:136]), None
    for key, value in _records(extended):
        if key == b"mtime":
            mtime_ns = _nanoseconds(value)
        elif key == b"path":
            name = value
        elif key == b"linkpath":
            link = value
        elif key == b"size":
            size = _number(value, base=10)
    if mtime_ns is None:
        mtime_ns = _number(block[136:148]) * 10**9
    path = name.decode(errors="surrogateescape").rstrip("/")
    if block[345]:  # the header's own way to write a long name
        path = f"{block[345:500].rstrip(bytes(1)).decode(errors='surrogateescape')}/{path}"
    if kind not in _KINDS:
        msg = f"the member {path!r} is neither a file, a directory nor a link"
        raise _unreadable(msg)
    if b"\0" in name or b"\0" in link or len(name) > LONGEST_PATH or len(link) >= LONGEST_PATH:
        msg = f"the member {path[:_NAME]!r} has a name or a link that no file system takes"
        raise _unreadable(msg)
    mtime_ns = min(max(mtime_ns, 0), _LATEST * 10**9)
    return Member(path, kind, mode, size, mtime_ns, link.decode(errors="surrogateescape"))


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3  # a space, an equals sign and a line end
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _records(extended: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(extended):
        space = extended.find(b" ", position)
        end = position + _number(extended[position:space], base=10) if space > position else 0
        key, equals, value = extended[space + 1 : end].partition(b"=")
        # A record that ends before it begins would be read again and again.
        if end <= space or not equals or not value.endswith(b"\n") or end > len(extended):
            raise _unreadable("an extended header is damaged")
        yield key, value[:-1]
        position = end


def _block(name: bytes, kind: bytes, mode: int, size: int, mtime: int, link: bytes) -> bytes:
    fields = [name.ljust(_NAME, b"\0"), b"%07o\0" % mode, b"0000000\0" * 2, b"%011o\0%011o\0" % (size, mtime)]
    text = b"".join([*fields, b" " * 8, kind, link.ljust(_NAME, b"\0"), b"ustar\x0000"]).ljust(BLOCK, b"\0")
    return text[:148] + b"%06o\0 " % sum(text) + text[156:]


def _number(field: bytes, *, base: int = 8) -> int:
    # int() takes time with the square of the digits.
    if len(field) > _LONGEST_NUMBER:
        raise _unreadable("a header is damaged")
    try:
        number = int(field.rstrip(b"\0 ") or b"0", base)
    except ValueError as error:
        raise _unreadable("a header is damaged") from error
    if number < 0:
        raise _unreadable("a header is damaged")
    return number


def _nanoseconds(value: bytes) -> int:
    seconds, _, fraction = value[:_LONGEST_NUMBER].partition(b".")
    try:
        return int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
    except ValueError as error:
        raise _unreadable("a member's time is damaged") from error


def _unreadable(why: str) -> SnapshotError:
    return SnapshotError(f"the snapshot cannot be read: {why}")


MANIFEST, FILES = "manifest.json", "files"
_CHUNK = 1 << 20  # bytes
_LEVEL = 3  # see benchmarks/restore.py: higher ones take longer than they save, lower ones make larger files
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One directory of a snapshot: `name` in the archive, `directory` on this machine, entries at its top to leave out."""

    name: str
    directory: Path
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

    def __init__(self, file: BinaryIO, *, limit: int | None = None, on_size: Callable[[int], object] = int) -> None:
        self._file = file
        self._limit = limit
        self._seen = on_size
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        return self._note(content)

    def read(self, size: int = -1) -> bytes:
        remaining = (self._limit or 0) - self.size
        content = self._file.read(min(size, remaining) if size >= 0 else remaining)
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
        return header(member)


def _pieces(contents: Contents, counter: _Counter) -> Iterator[bytes]:
    for name, content in {MANIFEST: json.dumps(contents.manifest).encode(), **contents.files}.items():
        piece = counter.header(Member(name, FILE, 0o644, len(content), 0)) + content + padding(len(content))
        counter.size += len(piece)
        yield piece
    for tree in contents.trees:
        for piece in _tree_bytes(tree, counter):
            counter.size += len(piece)
            yield piece
    counter.size += len(END)
    yield END


def _description_text(contents: Contents, hashing: Hashing, counter: _Counter) -> bytes:
    description = Description(
        manifest=contents.manifest,
        sha256=hashing.sha256.hexdigest(),
        size=hashing.size,
        members=counter.members,
        unpacked=counter.size,
    )
    text = json.dumps(vars(description)).encode()
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
        with os.scandir(tree.directory / below) as listed:
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
    # Device and inode of files with several names: the later names become hard links in the archive.
    first_names: dict[tuple[int, int], str] = {}
    top = tree.directory.stat()
    yield counter.header(Member(tree.name, DIRECTORY, stat.S_IMODE(top.st_mode), 0, top.st_mtime_ns))
    for path, entry in _entries(tree):
        status = entry.stat(follow_symlinks=False)
        member = _member(f"{tree.name}/{path}", entry, status, first_names)
        if member is None:
            continue
        header = counter.header(member)
        yield from _file_bytes(member, header, entry.path) if member.kind == FILE else [header]


def _member(
    name: str, entry: os.DirEntry[str], status: os.stat_result, first_names: dict[tuple[int, int], str]
) -> Member | None:
    mode, mtime = stat.S_IMODE(status.st_mode) & 0o777, status.st_mtime_ns
    if stat.S_ISLNK(status.st_mode):
        return Member(name, LINK, mode, 0, mtime, os.readlink(entry.path))  # noqa: PTH115  (forty thousand times)
    if stat.S_ISDIR(status.st_mode):
        return Member(name, DIRECTORY, mode, 0, mtime)
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_nlink > 1:
        first = first_names.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            return Member(name, HARD_LINK, mode, 0, mtime, first)
    return Member(name, FILE, mode, status.st_size, mtime)


def _file_bytes(member: Member, start: bytes, path: str) -> Iterator[bytes]:
    remaining = member.size
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (forty thousand times)
        while remaining:
            content = file.read(min(remaining, _CHUNK))
            if not content:
                msg = f"{path} became shorter while it was saved"
                raise SnapshotError(msg, hint="wait until nothing writes there, then save again")
            remaining -= len(content)
            yield start + content if remaining else b"".join([start, content, padding(member.size)])
            start = b""
        if not member.size:
            yield start
