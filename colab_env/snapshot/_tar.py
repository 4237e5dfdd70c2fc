"""Write and read the members of a tar archive in memory: the part of POSIX pax that snapshots use, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from colab_env.errors import SnapshotError

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
    own = _block(name[:_NAME], member.kind, member.mode, size, max(seconds, 0), link[:_NAME])
    return first + extended + padding(len(extended)) + own


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
    shown = name.decode(errors="surrogateescape").rstrip("/")
    if block[345]:  # the header's own way to write a long name
        shown = f"{block[345:500].rstrip(bytes(1)).decode(errors='surrogateescape')}/{shown}"
    if kind not in _KINDS:
        msg = f"the member {shown!r} is neither a file, a directory nor a link"
        raise _unreadable(msg)
    if b"\0" in name or b"\0" in link or len(name) > LONGEST_PATH or len(link) >= LONGEST_PATH:
        msg = f"the member {shown[:_NAME]!r} has a name or a link that no file system takes"
        raise _unreadable(msg)
    mtime_ns = min(max(mtime_ns, 0), _LATEST * 10**9)
    return Member(shown, kind, mode, size, mtime_ns, link.decode(errors="surrogateescape"))


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
