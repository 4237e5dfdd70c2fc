"""Read a snapshot as a stream of members, and make files from them, never outside its targets.

It is decompressed and hashed in one thread and read by its members in another.

Reading to verify is the same reading: only what touches the disk is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from colab_env import _files, _report
from colab_env.errors import SnapshotError
from colab_env.jupyter import kernelspec
from colab_env.snapshot import _archive, moving
from colab_env.snapshot._archive import (
    BLOCK,
    DIRECTORY,
    FILE,
    FILES,
    LINK,
    LONGEST_NAME,
    LONGEST_PATH,
    MANIFEST,
    Hashing,
    LinkCheck,
    Member,
)
from colab_env.snapshot.manifest import MOST_DESCRIPTION, MOST_FILES, Footer, damaged
from colab_env.snapshot.moving import Move

_CHUNK = 1 << 20  # bytes
_WAITING = 6  # chunks between the thread that decompresses and the one that writes
_WINDOW = 1 << 23  # bytes of memory that a frame may ask for: four times what ours do


class Stream:
    """The decompressed archive, in chunks that another thread has made ready."""

    def __init__(self, full: queue.Queue[Any], free: queue.Queue[bytearray]) -> None:
        self._full = full
        self._free = free
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._position = 0

    def next_member(self) -> Member | None:
        """Return the next header, or None at the end of the archive."""
        blocks = self._view[self._position : self._position + 3 * BLOCK].tobytes()
        size = _archive.extended_size(blocks) if len(blocks) == 3 * BLOCK else None
        if size is not None and size <= BLOCK:  # nearly all of them: an extended header of one block, all in this chunk
            self._position += 3 * BLOCK
            return _archive.parse(blocks[2 * BLOCK :], blocks[BLOCK : BLOCK + size])
        block = self._take(BLOCK)
        if block.count(0) == BLOCK:
            self.drain()
            return None
        size = _archive.extended_size(block)
        if size is None:
            return _archive.parse(block)
        extended = self._take(size + -size % BLOCK)[:size]
        return _archive.parse(self._take(BLOCK), extended)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Return a member's content; each piece has to be used before the next is asked for."""
        remaining = size
        while remaining:
            if self._position == len(self._view):
                self._next_chunk()
            end = min(self._position + remaining, len(self._view))
            piece = self._view[self._position : end]
            self._position = end
            remaining -= len(piece)
            yield piece
        # A member is filled up to a whole block.
        rest = -size % BLOCK
        if self._position + rest <= len(self._view):
            self._position += rest
        else:
            self._take(rest)

    def skip(self, size: int) -> None:
        """Pass over a member's content."""
        for _piece in self.pieces(size):
            pass

    def drain(self) -> None:
        """Read to the end."""
        with contextlib.suppress(EOFError):
            while True:
                self._next_chunk()

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end <= len(self._view):
            start, self._position = self._position, end
            return bytes(self._view[start:end])
        parts, remaining = [], size
        while remaining:
            if self._position == len(self._view):
                self._next_chunk()
            end = min(self._position + remaining, len(self._view))
            parts.append(bytes(self._view[self._position : end]))
            remaining -= end - self._position
            self._position = end
        return b"".join(parts)

    def _next_chunk(self) -> None:
        self._view.release()
        # Given back to be filled again: memory stays the same, however large the snapshot is.
        self._free.put(self._buffer)
        self._buffer, self._view, self._position = bytearray(), memoryview(b""), 0
        ready = self._full.get()
        if isinstance(ready, BaseException):
            raise ready
        self._buffer, length = ready
        self._view = memoryview(self._buffer)[:length]


@contextlib.contextmanager
def reading(file: BinaryIO, footer: Footer) -> Iterator[Stream]:
    """Decompress and hash in a second thread; both let go of Python's lock. At the end of the block, all must hold."""
    began = time.monotonic()
    body = Hashing(
        file, limit=footer.size, on_size=lambda size: _report.progress(size, footer.size, time.monotonic() - began)
    )
    file.seek(0)
    # Bounded: the thread that decompresses waits for the one that writes, so memory stays the same.
    full: queue.Queue[Any] = queue.Queue(_WAITING)
    free: queue.Queue[bytearray] = queue.Queue()
    stopped = threading.Event()
    pump = threading.Thread(target=_pump, args=(body, footer.most_unpacked, full, free, stopped), daemon=True)
    pump.start()
    try:
        yield Stream(full, free)
    except EOFError as error:
        raise damaged("it is cut off") from error
    finally:
        stopped.set()
        # The other thread may wait for room in the queue, and would never see that it is to stop.
        with contextlib.suppress(queue.Empty):
            while True:
                full.get_nowait()
        pump.join()
    if body.size != footer.size or body.sha256.hexdigest() != footer.sha256:
        raise damaged("its checksum does not hold")


def _pump(
    body: Hashing, most: int, full: queue.Queue[Any], free: queue.Queue[bytearray], stopped: threading.Event
) -> None:
    ended: BaseException = EOFError()
    try:
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(cast("Any", body), read_size=_CHUNK)
        while not stopped.is_set():
            buffer = _recycled(free)
            length = reader.readinto(buffer)
            if not length:
                break
            most -= length
            if most < 0:
                raise damaged("it unpacks to more than it says, or than is usual")  # noqa: TRY301
            full.put((buffer, length))
        while not stopped.is_set() and body.read(_CHUNK):
            pass
    except BaseException as error:  # noqa: BLE001  (raised in the thread that waits)
        ended = damaged(str(error)) if type(error).__name__ == "ZstdError" else error
    full.put(ended)


def _recycled(free: queue.Queue[bytearray]) -> bytearray:
    # New memory for every chunk costs as much as filling it.
    with contextlib.suppress(queue.Empty):
        while True:
            buffer = free.get_nowait()
            if len(buffer) == _CHUNK:
                return buffer
    return bytearray(_CHUNK)


_DIRECTORY_NAMES = 1 << 24  # bytes of the names of all directories, which are kept in memory
_OURS = (_files.RECEIPT, kernelspec.UNTRIED, "pyvenv.cfg")  # at a tree's top: later steps write them, and follow links
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The files of each tree that name paths, and how these are to be elsewhere."""

    listed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    move: Move = moving.STAYS


def unpack(
    file: BinaryIO,
    footer: Footer,
    *,
    targets: Mapping[str, Path | None],
    check: LinkCheck,
    texts: Texts = Texts(),
    is_rehearsal: bool = False,
) -> dict[str, bytes]:
    """Unpack the trees into empty `targets`, by the tree's name, and return the small files.

    A tree whose target is None is read and not written, and in a rehearsal none is. Where `texts` move, they are written last,
    and links name what is here. Nothing may be trusted before this
    has returned: the checksum is known at the end only. Raises SnapshotError for what is damaged, is larger than it
    says or than a snapshot may be, or for a member that would leave its target.
    """
    writer = _Writer(footer, targets, check, texts, is_rehearsal=is_rehearsal)
    with reading(file, footer) as stream:
        while (member := stream.next_member()) is not None:
            writer.add(member, stream)
    writer.finish()
    if not _says(writer.files.pop(MANIFEST, b""), footer.manifest):
        raise damaged("its two descriptions differ")
    return writer.files


def _says(text: bytes, manifest: Mapping[str, Any]) -> bool:
    try:
        return text == json.dumps(manifest).encode()
    except (RecursionError, ValueError):
        return False


class _Writer:
    """Makes files from members, in their targets only."""

    def __init__(
        self,
        footer: Footer,
        targets: Mapping[str, Path | None],
        check: LinkCheck,
        texts: Texts,
        *,
        is_rehearsal: bool,
    ) -> None:
        self.files: dict[str, bytes] = {}
        self._targets = targets
        self._check = check
        self._is_rehearsal = is_rehearsal
        self._move = texts.move
        self._listed = {f"{tree}/{below}" for tree, listed in texts.listed.items() for below in listed}
        self._texts: dict[str, tuple[str, Member, bytes]] = {}  # path, member, content
        self._texts_left = moving.MOST_TEXT
        # By the name in the archive; only these can be a member's parent, so that no link ever is. "" is not written.
        self._directories: dict[str, str] = {}
        self._regular: set[int] = set()  # hashes of the names of files, and of all else: a tenth of what names take
        self._others: set[int] = set()
        self._times: list[tuple[str, int, int]] = []
        self._umask = _files.umask()
        self._members_left = footer.most_members
        self._is_counted = footer.members is not None
        self._files_left = MOST_FILES + MOST_DESCRIPTION
        self._names_left = _DIRECTORY_NAMES

    def add(self, member: Member, stream: Stream) -> None:
        """Make what one member says. Raises SnapshotError, naming the member, when it would leave its place."""
        parent, slash, name = member.name.rpartition("/")
        if name in ("", ".", "..") or len(os.fsencode(name)) > LONGEST_NAME:
            raise _leaving(member)
        self._count(member)
        if member.kind == FILE and (not slash or parent == FILES):
            self.files[member.name] = self._small(member, stream)
        elif not slash:
            if member.kind != DIRECTORY or member.name not in self._targets:
                raise _leaving(member)
            target = self._targets[member.name]
            self._directories[member.name] = str(target or "")
            if target is not None and not self._is_rehearsal:
                target.mkdir(parents=True)
                # Its owner has to write there: what a restore adds, and what takes it away again.
                self._times.append((str(target), member.mode | 0o700, member.mtime_ns))
        elif (directory := self._directories.get(parent)) is None:
            raise _leaving(member)
        else:
            self._add_below(directory, name, member, stream)

    def finish(self) -> None:
        """Give the directories their modes and times, which writing into them changed. Raises SnapshotError."""
        is_short = self._is_counted and self._members_left > 0
        if is_short or self._targets.keys() - self._directories.keys() or self._listed:
            raise damaged("a part of it is missing")
        moved = self._move.texts({name: content for name, (_, _, content) in self._texts.items()})
        for name, (path, member, _) in self._texts.items():
            # A module whose compiled file is of the same second and size must not pass for that one's source.
            member = member._replace(mtime_ns=time.time_ns()) if name.endswith(".py") else member  # noqa: PLW2901
            self._write(path, member, [moved[name]])
        for path, mode, mtime_ns in reversed(self._times):
            os.chmod(path, mode)  # noqa: PTH101
            os.utime(path, ns=(mtime_ns, mtime_ns))

    def _count(self, member: Member) -> None:
        self._members_left -= 1
        if self._members_left < 0:
            raise damaged("it has more members than it says, or than a snapshot may have")
        # The hash alone is kept: a snapshot may have half a million names.
        name = hash(member.name)
        if name in self._regular or name in self._others:
            msg = f"the snapshot has two members {member.name!r}"
            raise SnapshotError(msg, hint="nothing was changed")
        (self._regular if member.kind == FILE else self._others).add(name)

    def _small(self, member: Member, stream: Stream) -> bytes:
        self._files_left -= member.size
        if self._files_left < 0:
            raise _leaving(member)
        return b"".join(bytes(piece) for piece in stream.pieces(member.size))

    def _add_below(self, directory: str, name: str, member: Member, stream: Stream) -> None:
        path = f"{directory}/{name}" if directory else ""
        if len(path) * 4 > LONGEST_PATH and len(os.fsencode(path)) >= LONGEST_PATH:
            raise _leaving(member)
        tree, _, below = member.name.partition("/")
        if below in _OURS and member.kind in (LINK, DIRECTORY):
            raise _leaving(member)
        if member.kind == LINK:
            if not member.link:
                raise _leaving(member)
            member = member._replace(link=self._move.path(member.link))
            self._check(tree, below, member.link)
        path = "" if self._is_rehearsal and member.kind != DIRECTORY else path
        if member.kind == FILE:
            self._add_file(path, member, stream)
        elif member.kind == DIRECTORY:
            self._names_left -= len(member.name)
            if self._names_left < 0:
                raise damaged("its directories have more names than a snapshot may have")
            self._directories[member.name] = path
            if path and not self._is_rehearsal:
                os.mkdir(path, 0o700)  # noqa: PTH102
                self._times.append((path, member.mode | 0o500, member.mtime_ns))
        else:
            self._add_link(path, member)

    def _add_file(self, path: str, member: Member, stream: Stream) -> None:
        if member.name in self._listed:
            self._listed.discard(member.name)
            self._texts_left -= member.size
            if self._texts_left < 0:
                raise damaged("more of its files name their paths than a snapshot may have")
            self._regular.discard(hash(member.name))  # no link is made to what is written last
            self._others.add(hash(member.name))
            if path and self._move.pairs:
                self._texts[member.name] = (
                    path,
                    member,
                    b"".join(bytes(piece) for piece in stream.pieces(member.size)),
                )
                return
        if not path:
            stream.skip(member.size)
            return
        self._write(path, member, stream.pieces(member.size) if member.size else ())

    def _write(self, path: str, member: Member, pieces: Iterable[bytes | memoryview]) -> None:
        mode = member.mode | 0o400
        descriptor = os.open(path, _NEW, mode)
        try:
            for piece in pieces:
                _write_all(descriptor, piece)
            # open() has taken the mask off; a snapshot's modes come back as they were.
            if mode & self._umask:
                os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _add_link(self, path: str, member: Member) -> None:
        if member.kind == LINK:
            if path:
                os.symlink(member.link, path)  # noqa: PTH211
                os.utime(path, ns=(member.mtime_ns, member.mtime_ns), follow_symlinks=False)
            return
        parent, _, name = member.link.rpartition("/")
        # Only what this archive made as a file, in the same tree, is a twin.
        is_here = member.link.partition("/")[0] == member.name.partition("/")[0] and hash(member.link) in self._regular
        if parent not in self._directories or not is_here:
            raise _leaving(member)
        if path:
            os.link(f"{self._directories[parent]}/{name}", path, follow_symlinks=False)


def _write_all(descriptor: int, content: bytes | memoryview) -> None:
    written = os.write(descriptor, content)
    while written < len(content):
        content = content[written:]
        written = os.write(descriptor, content)


def _leaving(member: Member) -> SnapshotError:
    msg = f"the snapshot's member {member.name!r} would leave its place"
    return SnapshotError(msg, hint="nothing was changed; a snapshot is trusted like code: see where this one came from")
