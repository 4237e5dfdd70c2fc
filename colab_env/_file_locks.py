"""Lock files, and the marks by which a run shows that it is alive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from colab_env import _files, _report

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without locks say
PRIVATE = ".passing-"
_MARK = "running-"


@contextlib.contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[bool]:
    """Hold a lock file; while another process holds it, say so and wait, calling `meanwhile` again and again.

    Any number of holders may have it `shared`. Without `wait`, False says that another has it. The file names the process
    that holds it alone: what another task of this one does is no other run.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _files.translate_os_errors(path):
        handle = take(path, how | fcntl.LOCK_NB)
        if handle is None and not wait:
            yield False
            return
        if handle is None:
            is_own = path.is_file() and path.read_text(errors="replace") == str(os.getpid())
            message = "Waiting for another run of colab-env to finish"
            with contextlib.nullcontext() if is_own else _report.activity(message):
                while (handle := take(path, how | fcntl.LOCK_NB)) is None:
                    meanwhile()
                    time.sleep(0.1)
    with handle:
        if not shared:
            with contextlib.suppress(OSError):  # a full disk shall not keep anybody from making room
                os.ftruncate(handle.fileno(), 0)
                os.write(handle.fileno(), str(os.getpid()).encode())
        yield True


def take(path: Path, how: int) -> IO[str] | None:
    """Open and lock a file, or return None while another process has the lock."""
    for attempt in itertools.count():
        path.parent.mkdir(parents=True, exist_ok=True)  # `undo` may have deleted it while this one waited
        try:
            # For the owner's eyes only: whoever may open a file, for reading too, may lock it, and would stop its owner.
            handle = open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        except FileNotFoundError:
            if attempt == 100:
                raise
            continue
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            handle.close()
            return None
        except BaseException:
            handle.close()
            raise
        if _files.is_at(handle.fileno(), path):
            with contextlib.suppress(OSError):  # an earlier version let others read it; some file systems have no modes
                os.fchmod(handle.fileno(), 0o600)
            return handle
        handle.close()  # it was deleted while this one waited, and locking it keeps nobody away
    return None


@contextlib.contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """Give an empty directory below `parent` (our own) that nobody else reads; it is gone after the block."""
    with _files.translate_os_errors(parent), contextlib.ExitStack() as stack:
        while True:
            parent.mkdir(parents=True, exist_ok=True)
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PRIVATE, dir=parent)))
            # Until it is locked it looks like what a run that was killed has left, and another run may clear it away.
            with contextlib.suppress(FileNotFoundError):
                if stack.enter_context(directory_lock(directory)) and directory.is_dir():
                    break
        yield directory


@contextlib.contextmanager
def directory_lock(directory: Path) -> Iterator[bool]:
    """Lock a directory without waiting; False says that another has the lock."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except OSError as error:
        if error.errno not in (*NO_LOCKS, errno.EWOULDBLOCK):
            raise
        # Where the file system has no locks, the caller goes on as if it had it.
        yield error.errno != errno.EWOULDBLOCK
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def mark(directory: Path, text: str) -> Iterator[None]:
    """Keep a small file of this text in `directory`, one of our own, until the block ends."""
    with _files.translate_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        # Its name is random: several runs may mark one directory at a time.
        descriptor, name = tempfile.mkstemp(prefix=_MARK, dir=directory)
        try:
            os.write(descriptor, text.encode())
            os.close(descriptor)
            yield
        finally:
            Path(name).unlink(missing_ok=True)


def marks(directory: Path) -> dict[Path, str]:
    """Return the texts of the files that `mark` keeps, or a run that was killed has left."""
    by_path: dict[Path, str] = {}
    for path in list(directory.glob(f"{_MARK}*")):
        with contextlib.suppress(OSError):
            by_path[path] = path.read_text(errors="replace")
    return by_path
