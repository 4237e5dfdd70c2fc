"""The archive of a snapshot as a stream: decompressed and hashed in one thread, read by its members in another."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from colab_env import _report
from colab_env.snapshot import _tar
from colab_env.snapshot._archive import Hashing
from colab_env.snapshot._footer import Footer, damaged
from colab_env.snapshot._tar import BLOCK, Member

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
        size = _tar.extended_size(blocks) if len(blocks) == 3 * BLOCK else None
        if size is not None and size <= BLOCK:  # nearly all of them: an extended header of one block, all in this chunk
            self._position += 3 * BLOCK
            return _tar.parse(blocks[2 * BLOCK :], blocks[BLOCK : BLOCK + size])
        block = self._take(BLOCK)
        if block.count(0) == BLOCK:
            self.drain()
            return None
        size = _tar.extended_size(block)
        if size is None:
            return _tar.parse(block)
        extended = self._take(size + -size % BLOCK)[:size]
        return _tar.parse(self._take(BLOCK), extended)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Return a member's content; each piece has to be used before the next is asked for."""
        left = size
        while left:
            if self._position == len(self._view):
                self._next_chunk()
            end = min(self._position + left, len(self._view))
            piece = self._view[self._position : end]
            self._position = end
            left -= len(piece)
            yield piece
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
        parts, left = [], size
        while left:
            if self._position == len(self._view):
                self._next_chunk()
            end = min(self._position + left, len(self._view))
            parts.append(bytes(self._view[self._position : end]))
            left -= end - self._position
            self._position = end
        return b"".join(parts)

    def _next_chunk(self) -> None:
        self._view.release()
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
        file, limit=footer.size, seen=lambda size: _report.progress(size, footer.size, time.monotonic() - began)
    )
    file.seek(0)
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
