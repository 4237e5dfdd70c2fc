"""Write, replace, lock: the only module that changes files of the user's machine.

Everything is built, replaced and deleted so that a run that ends anywhere leaves the old state or the new one, and
beside it at most files whose names `recover` knows: what is being written (`new`), the mark of a transaction
(`building`), the old directory (`old`, or `copying` while that is made), and what is being deleted (`doomed`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from colab_env import _ledger, _report
from colab_env.errors import DiskFullError, NotOursError, NotWritableError, ProjectFileError, UsageError
from colab_env.results import short

RECEIPT = "colab-env.json"
LARGEST = (
    64 * 2**20
)  # bytes of a file that people and their tools write; lock files of thousands of packages have a few million
# The sticky bit, which has no use in a directory of one owner, marks a directory as ours while it has no receipt yet:
# what somebody else puts at the path of a killed run does not carry it.
_UNFINISHED = stat.S_ISVTX
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),  # something else in the way
)
_TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_FICLONE = 0x40049409
_COPIED = 2**20  # bytes at once
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without locks say
# Of directories: to another file system, or one that comes from below on an overlay, as in a container.
_NO_RENAME = (errno.EXDEV,)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # renameat2(2)
_BESIDE = ("building", "copying", "old", "new", "doomed", "purged", "staging", "restoring")
_BESIDE_NAME = re.compile(rf"\.(.+)\.colab-env-(?:{'|'.join(_BESIDE)})")
_PRIVATE = ".passing-"
_MARK = "running-"
# Directories in the data directory.
_SWEPT = ("layers", "bin", "guard", "downloads", "scripts", "resolved", "conda-envs")


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors about files into this package's, naming `path` where the system names nothing."""
    try:
        yield
    except (ConnectionError, TimeoutError):  # a pipe that nobody reads any more, or a network: no file's fault
        raise
    except OSError as error:
        raise translate_error(error, path) from error


def translate_error(error: OSError, path: Path | None = None) -> DiskFullError | NotWritableError:
    """Return this package's error for one of the system's about files."""
    where = short(error.filename or path or "a file")
    reason = error.strerror or str(error)
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):  # of a tree: one for each file
        where, reason = short(error.args[0][-1][1]), str(error.args[0][-1][-1])
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in reason:
        msg = f"no space left on the disk while writing {where}"
        return DiskFullError(msg, hint="free some space, then run the same call again")
    if error.errno in _TOO_MANY:
        msg = f"cannot open {where}: {reason}"
        return NotWritableError(msg, hint="close other programs or raise the limit (ulimit -a), then run it again")
    if error.errno in _REFUSED:
        msg = f"cannot write {where}: {reason}"
        return NotWritableError(msg, hint="choose another directory, or change its owner or mode")
    msg = f"cannot read or write {where}: {reason}"
    return NotWritableError(msg, hint="see whether its disk or mount is well, then run the same call again")


# --- locks


@contextlib.contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[bool]:
    """Hold a lock file; while another process holds it, say so and wait, calling `meanwhile` again and again.

    Any number of holders may have it `shared`. Without `wait`, False says that another has it. The file names the process
    that holds it alone: what another task of this one does is no other run.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with translate_os_errors(path):
        handle = _taken(path, how | fcntl.LOCK_NB)
        if handle is None and not wait:
            yield False
            return
        if handle is None:
            is_own = path.is_file() and path.read_text(errors="replace") == str(os.getpid())
            message = "Waiting for another run of colab-env to finish"
            with contextlib.nullcontext() if is_own else _report.activity(message):
                while (handle := _taken(path, how | fcntl.LOCK_NB)) is None:
                    meanwhile()
                    time.sleep(0.1)
    with handle:
        if not shared:
            with contextlib.suppress(OSError):  # a full disk shall not keep anybody from making room
                os.ftruncate(handle.fileno(), 0)
                os.write(handle.fileno(), str(os.getpid()).encode())
        yield True


def _taken(path: Path, how: int) -> IO[str] | None:
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
        if _is_at(handle.fileno(), path):
            with contextlib.suppress(OSError):  # an earlier version let others read it; some file systems have no modes
                os.fchmod(handle.fileno(), 0o600)
            return handle
        handle.close()  # it was deleted while this one waited, and locking it keeps nobody away
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino) == (named.st_dev, named.st_ino)


# --- files


def content(path: Path, *, largest: int = LARGEST) -> bytes | None:
    """Return the bytes of a file that somebody else wrote, or None where nothing is at the path.

    Raises ProjectFileError for what is no regular file, such as a pipe to wait at or a link to nothing, for one that may
    not be read, and for one that has more than `largest` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError:  # no file has such a name
        return None
    except OSError as error:
        if not os.path.lexists(path):
            return None
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            msg = f"{short(path)} is {_kind(status.st_mode)}, not a file"
            raise ProjectFileError(msg, hint="move it away, or put the file in its place; nothing was changed")
        with open(descriptor, "rb", closefd=False) as file:
            read = file.read(largest + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if len(read) > largest:
        msg = f"{short(path)} has more than {_report.megabytes(largest)}"
        raise ProjectFileError(msg, hint="see whether it is the file that you mean; nothing was changed")
    return read


def named_path(text: str | Path) -> Path:
    """Return the path that a person wrote, with `~` for a home directory. Raises UsageError for what no file can be called."""
    path = Path(text)
    try:
        path = path.expanduser()
        os.stat(path)  # noqa: PTH116  (what matters is whether it can be asked)
    except RuntimeError as error:
        msg = f"{str(path)!r} begins with the home directory of nobody on this machine"
        raise UsageError(msg, hint="write the path in full, or ./~ for a file of that name") from error
    except ValueError as error:
        msg = f"{str(path)!r} is not a path: no file can have such a name"
        raise UsageError(msg, hint="check the path; nothing was changed") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            msg = f"{str(path)!r} is not a path: {error.strerror}"
            raise UsageError(msg, hint="check the path; nothing was changed") from error
    return path


def output_path(path: str | Path) -> Path:
    """Return where a file that somebody named is written: where a link at the path leads.

    Raises NotWritableError for what no file may replace, such as a pipe, a device or a directory; and as `named_path` does.
    """
    # Through a link the file it leads to is written, and the link stays.
    path = Path(os.path.realpath(named_path(path)))
    with translate_os_errors(path):
        mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFREG
    if not stat.S_ISREG(mode):
        msg = f"cannot write {short(path)}: it is {_kind(mode)}, not a file"
        raise NotWritableError(msg, hint="give the name of a file; nothing was changed")
    return path


def _unreadable(path: Path, error: OSError) -> ProjectFileError | NotWritableError | DiskFullError:
    if error.errno in (*_TOO_MANY, errno.EIO):  # the machine's fault, not the file's
        return translate_error(error, path)
    is_lost = path.is_symlink() and not path.exists()
    reason = f"is a link to {path.readlink()}, where nothing is" if is_lost else f"cannot be read: {error.strerror}"
    return ProjectFileError(f"{short(path)} {reason}", hint="mend that, or move it away; nothing was changed")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace a file's text whole or not at all, keeping its mode. Follows a symbolic link to the file it names.

    What else is in the way goes: state that is damaged heals. A path that somebody named is an `output_path` first.
    """
    path, content = path.resolve(), text.encode()
    with translate_os_errors(path):
        _ledger.note(path, hashlib.sha256(content).hexdigest())
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content, mode=mode)


def make_directory(path: Path) -> None:
    """Make a directory of the data directory, and its parents; do not fail if it exists."""
    with translate_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content whole or not at all, keeping its mode."""
    with translate_os_errors(path):
        _ledger.note(path, hashlib.sha256(content).hexdigest())
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content)


def put_back(path: Path, content: bytes, *, mode: int, mtime_ns: int) -> None:
    """Replace a file by one with this content, mode and time, whole or not at all."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content, mode=mode, mtime_ns=mtime_ns)


def put_back_link(path: Path, target: str) -> None:
    """Replace whatever file or link is at a path by a symbolic link, in one instant."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(path, "new")
        # A killed run may have left it.
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(path)
        _ledger.sync_directory(path.parent)


def _put(path: Path, content: bytes, *, mode: int | None = None, mtime_ns: int | None = None) -> None:
    new = _beside(path, "new")
    before = path.stat() if path.is_file() and not path.is_symlink() else None
    with _scratch(new) as descriptor:
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            # As open() would have made a new file; an old one keeps its permissions, and for root its owner.
            permissions = stat.S_IMODE(before.st_mode) if before else 0o666 & ~umask()
            os.fchmod(descriptor, permissions if mode is None else mode)
            if before is not None and os.geteuid() == 0:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            # Before the name shows it: after a power cut the name would else lead to an empty file.
            os.fsync(descriptor)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    _ledger.sync_directory(path.parent)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[int]:
    """Give the descriptor of an empty file that nobody else writes to, for the owner's eyes only."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        status = os.fstat(descriptor)
        is_own = status.st_uid == os.geteuid() and status.st_nlink == 1 and stat.S_ISREG(status.st_mode)
        if is_own and _is_at(descriptor, path):
            break
        os.close(descriptor)
        if not is_own:
            path.unlink(missing_ok=True)
    try:
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def write_program(path: Path, text: str) -> None:
    """Write an executable text file whole or not at all."""
    write_text(path, text, mode=0o700)  # it may hold the address of a private index


def copy(source: Path, target: Path, *, ignore: tuple[str, ...] = ()) -> None:
    """Copy a file or a tree."""
    with translate_os_errors(target):
        if source.is_dir():
            # Noted before it happens: a kill in between then leaves something that `undo` knows.
            _ledger.note(target, _ledger.TREE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*ignore), dirs_exist_ok=True)
            return
        content, status = source.read_bytes(), source.stat()
        _ledger.note(target, hashlib.sha256(content).hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        _put(target, content, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)


def clone(source: Path, target: Path) -> None:
    """Copy the bytes of a file into a new one: shared until one of them changes where the file system can do that.

    Raises FileNotFoundError where there is no source. Ioctl FICLONE of linux/fs.h.
    """
    with source.open("rb") as file, translate_os_errors(target), target.open("wb") as copied:
        try:
            fcntl.ioctl(copied.fileno(), _FICLONE, file.fileno())
        except OSError:
            shutil.copyfileobj(file, copied, _COPIED)


def copy_links(source: Path, target: Path) -> None:
    """Copy a tree by hard links, or where the file system or its border forbids that, by content."""

    def link_or_copy(one: str, other: str) -> None:
        try:
            os.link(one, other, follow_symlinks=False)
        except OSError as error:
            # Another disk, a file system without hard links, or too many of one file.
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            shutil.copy2(one, other, follow_symlinks=False)

    with translate_os_errors(target):
        shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy)


def move(source: Path, target: Path) -> None:
    """Rename within one file system."""
    with translate_os_errors(target):
        # A directory is known by where it went; a file by its content, for which two entries suffice.
        if source.is_dir():
            _ledger.note(source, _ledger.MovedTo(path=target))
        else:
            _ledger.note(target, hashlib.sha256(source.read_bytes()).hexdigest())
            _ledger.note(source, _ledger.ABSENT)
        target.parent.mkdir(parents=True, exist_ok=True)
        _rename(source, target)


def exchange(one: Path, other: Path) -> None:
    """Let two directories, or links, change names; where the file system can, neither name is missing at any moment.

    Where it cannot, they do so one after the other, and `recover` knows what a run that is killed in between leaves.
    """
    with translate_os_errors(one):
        if not _exchanged(one, other):
            aside = _beside(one, "old")
            _rename(one, aside)
            _rename(other, one)
            _rename(aside, other)


def _exchanged(one: Path, other: Path) -> bool:
    import ctypes  # a shared library, and seldom needed

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # glibc before 2.28
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(one))


def move_back(moved: Path, path: Path) -> None:
    """Take a `move` of a directory back, as if it had not been."""
    with translate_os_errors(path):
        _rename(moved, path)
        _ledger.forget(path)


def remove(path: Path) -> None:
    """Delete a file, a link or a tree. The caller has made sure that it is ours."""
    with translate_os_errors(path):
        _ledger.note(path, _ledger.ABSENT)
        _delete(path)


def unshared(directory: Path) -> dict[str, str]:
    """Return the setting with which uv gives a directory files of its own.

    Its own default is a hard link into its cache, and "clone" falls back to that where the file system cannot share
    bytes until they are changed. Ioctl FICLONE of linux/fs.h.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as source, tempfile.TemporaryFile(dir=directory) as target:
            # With a byte in it: cloning nothing proves nothing.
            source.write(b"1")
            source.flush()
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return {"UV_LINK_MODE": "copy"}
    return {"UV_LINK_MODE": "clone"}


def empty(directory: Path) -> None:
    """Delete everything in a directory that is being built, if there is one; it keeps its mark."""
    for path in directory.iterdir() if directory.is_dir() else ():
        remove(path)


def unlink(path: Path) -> None:
    """Delete one file or link; do not fail if it does not exist."""
    path.unlink(missing_ok=True)


def remove_if_empty(directory: Path) -> None:
    """Delete a directory that nothing is in; leave any other as it is."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def rename(source: Path, target: Path) -> None:
    """Rename as the system does it, without a word in the ledger: for what the ledger itself is in. Raises OSError."""
    source.rename(target)


def chmod(path: Path, mode: int) -> None:
    """Change the permissions of a file, but for its kind."""
    with translate_os_errors(path):
        path.chmod(stat.S_IMODE(mode))


def open_to_all(path: Path) -> None:
    """Let everybody read a file, and enter and run what the owner may: a directory, or a program."""
    mode = stat.S_IMODE(path.stat().st_mode)
    opened = mode | 0o444 | (0o111 if mode & 0o100 else 0)
    if opened != mode:
        chmod(path, opened)


def closed_to_others(path: Path) -> Path | None:
    """Return what keeps other accounts from running a program: the program, or a directory above it; None: nothing does."""
    real = Path(os.path.realpath(path))
    closed = (directory for directory in (*reversed(real.parents), real) if not directory.stat().st_mode & stat.S_IXOTH)
    return next(closed, None)


@contextlib.contextmanager
def readable_to_all() -> Iterator[None]:
    """Let everybody read what is made inside the block, by this process or its children, whatever the umask."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def link(path: Path, target: str | Path) -> None:
    """Make a symbolic link where nothing is."""
    with translate_os_errors(path):
        _ledger.note(path, _ledger.BY_TOOL)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


@contextlib.contextmanager
def noting_new(directory: Path) -> Iterator[None]:
    """Let `undo` know what a tool makes in a directory that is its own, and nothing else in it."""
    before = set(os.listdir(directory)) if directory.is_dir() else set()  # noqa: PTH208  (the names)
    made = [] if directory.is_dir() else [directory, *_ledger.missing_parents(directory)]
    try:
        yield
    finally:
        for name in sorted(set(os.listdir(directory)) - before if directory.is_dir() else ()):  # noqa: PTH208
            if not name.startswith("."):
                _ledger.made_by_tool(directory / name, parents=made)


@contextlib.contextmanager
def staging(*paths: Path) -> Iterator[list[Path]]:
    """Give the name of a scratch directory beside each path, to build in; what is left of them goes after the block."""
    missing = list(dict.fromkeys(parent for path in paths for parent in path.parents if not parent.exists()))
    scratch = [staged_name(path) for path in paths]
    with contextlib.ExitStack() as stack:
        try:
            for path, directory in zip(paths, scratch, strict=True):
                if not os.path.lexists(path):
                    _ledger.note(path, _ledger.TREE)  # now, while its parents are missing too
                with translate_os_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(_marked(_beside(path, "staging")))
                discard(directory)
            yield scratch
        finally:
            for path, directory in zip(paths, scratch, strict=True):
                discard(directory)
                _beside(path, "staging").unlink(missing_ok=True)
            stack.close()
            for parent in sorted(missing, reverse=True):
                with contextlib.suppress(OSError):
                    parent.rmdir()


def copy_as_links(source: Path, target: Path) -> None:
    """Copy a directory, its files as hard links."""
    with translate_os_errors(target):
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)


def replaced_name(path: Path) -> Path:
    """Return where the old directory is while `replacing` builds a new one at a path."""
    return _beside(path, "old")


def staged_name(path: Path) -> Path:
    """Return where `staging` builds what is to come to a path."""
    return _beside(path, "restoring")


def discard(path: Path) -> None:
    """Delete scratch files of our own, which no ledger knows."""
    with translate_os_errors(path):
        if os.path.lexists(path):
            _delete_in_place(path)


def _delete(path: Path) -> None:
    """Delete a file, or give a directory a name that says what is to become of it, and then delete it."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    doomed = _beside(path, "doomed")
    if os.path.lexists(doomed):
        _delete_in_place(doomed)
    try:
        path.rename(doomed)
    except OSError as error:
        if error.errno not in (*_NO_RENAME, errno.ENOSPC, errno.EDQUOT):  # to delete makes room
            raise
        _delete_where_it_is(path)
        return
    _delete_in_place(doomed)


def _delete_where_it_is(path: Path) -> None:
    """Delete a directory that cannot be renamed; a run that is killed meanwhile leaves what counts as half built."""
    mark = _beside(path, "building")
    is_new = not os.path.lexists(mark)
    # The mark comes first and the receipt goes before anything else: a kill from here on leaves what the next run takes
    # for half built, never a receipt over half a tree.
    mark.touch()
    path.chmod(stat.S_IMODE(path.stat().st_mode) | _UNFINISHED)
    (path / RECEIPT).unlink(missing_ok=True)
    _delete_in_place(path)
    if is_new:
        mark.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
    """Rename a directory, or where that cannot be done, copy it whole, and then delete it."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _NO_RENAME or not source.is_dir() or source.is_symlink():
            raise
        # Copied under another name first, so that a kill leaves no half tree at the target.
        copying = _beside(target, "copying")
        if os.path.lexists(copying):
            _delete_in_place(copying)
        shutil.copytree(source, copying, symlinks=True)
        copying.rename(target)
        _delete_where_it_is(source)


def _delete_in_place(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_try_again)
    else:
        shutil.rmtree(path, onerror=lambda function, name, info: _try_again(function, name, info[1]))


def _try_again(function: Callable[..., object], name: str, error: BaseException) -> None:
    """Go on where another run deleted or added something meanwhile, or where a directory did not let its owner write."""
    if isinstance(error, FileNotFoundError):
        return
    if isinstance(error, OSError) and error.errno == errno.ENOTEMPTY and function is os.rmdir:
        shutil.rmtree(name)  # a program that was still at work there; once, or it would be a race
        return
    if not isinstance(error, PermissionError) or function not in (os.unlink, os.rmdir):
        raise error
    parent = os.path.dirname(name)  # noqa: PTH120
    os.chmod(parent, stat.S_IMODE(os.stat(parent).st_mode) | stat.S_IRWXU)  # noqa: PTH101, PTH116
    function(name)


# --- receipts


def read_receipt(directory: Path) -> dict[str, Any] | None:
    """Return what was written when `directory` was completed, or None: not ours, or not complete."""
    receipt = read_json(directory / RECEIPT)
    return receipt if isinstance(receipt, dict) else None


def write_receipt(directory: Path, receipt: Mapping[str, Any]) -> None:
    """Mark `directory` as ours and complete, once all of it is on the disk. The last thing a transaction does."""
    with translate_os_errors(directory):
        sync_tree(directory)
    write_json(directory / RECEIPT, receipt)


def read_json(path: Path) -> Any:
    """Return a JSON file's value, or None when there is none that can be read; a pipe, which would wait, is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


# --- directories


@contextlib.contextmanager
def replacing(path: Path, *, is_ours: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Build a directory anew inside the block; if the block raises, the old one comes back.

    Raises NotOursError when something stands at `path` that `is_ours` (by default: has our receipt, in whatever state)
    does not accept.
    What a killed run left is recognised by the names beside `path` and cleared away first.
    """
    recover(path)
    if os.path.lexists(path):
        _require_ours(path, is_ours)
    with _transaction(path) as begun:
        if os.path.lexists(path):
            _rename(path, _beside(path, "old"))
        # From here on a failure has to bring the old one back.
        begun.append(True)
        path.mkdir(mode=0o777 | _UNFINISHED)
        yield path


@contextlib.contextmanager
def adopting(path: Path, finished: Path) -> Iterator[Path]:
    """Put a directory that was finished elsewhere on this file system in its place, as `replacing` does."""
    with replacing(path):
        sync_tree(finished)
        finished.rename(path)
        if read_receipt(path) is None:  # a Python, which has no receipt: `undo` shall know it all the same
            _ledger.note(path, _ledger.BY_TOOL)
        yield path


@contextlib.contextmanager
def updating(path: Path) -> Iterator[Path]:
    """Change a directory in place inside the block; if the block raises, it is as it was.

    The copy made first is of hard links: it costs no space, and it is good as long as the tools that work inside
    replace files instead of writing into them, as pip, uv and Poetry do. The receipt is away until the block writes it
    anew.
    """
    recover(path)
    with _transaction(path) as begun:
        # Two names, so that "old" is always whole.
        shutil.copytree(path, _beside(path, "copying"), symlinks=True, copy_function=os.link)
        _beside(path, "copying").rename(_beside(path, "old"))
        begun.append(True)
        path.chmod(stat.S_IMODE(path.stat().st_mode) | _UNFINISHED)
        (path / RECEIPT).unlink(missing_ok=True)
        yield path


@contextlib.contextmanager
def _transaction(path: Path) -> Iterator[list[bool]]:
    """Hold the mark that says that a run works at `path`; once it has begun, the old directory returns if it raises."""
    begun: list[bool] = []
    with translate_os_errors(path):
        if not os.path.lexists(path):
            _ledger.note(path, _ledger.TREE)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _marked(_beside(path, "building")):
            try:
                yield begun
            except BaseException:
                if begun:
                    _delete(path)
                _settle(path)
                _beside(path, "building").unlink(missing_ok=True)
                raise
            _finish(path)
            # A receipt must not outlive a power cut that the directory it is in did not survive.
            _ledger.sync_directory(path.parent)
            _settle(path, is_finished=True)


@contextlib.contextmanager
def _marked(mark: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a file that says that the run is alive; False where another run holds it, and no `wait`.

    It goes when the block has come to its end: after an exception it says what is to be cleared away.
    """
    try:
        handle = _taken(mark, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        handle = mark.open("a+")  # alone, as far as anybody knows
    if handle is None:
        yield False
        return
    with handle:
        yield True
        mark.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Say whether a directory is ours and half built: it carries the mark that a transaction takes away at its end."""
    return path.is_dir() and not path.is_symlink() and path.stat().st_mode & _UNFINISHED != 0


def _finish(path: Path) -> None:
    if is_unfinished(path):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_UNFINISHED)


def _settle(path: Path, *, is_finished: bool = False) -> None:
    """Leave the old directory or the new one, and nothing beside it."""
    old = _beside(path, "old")
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)
    for word in ("copying", "doomed", "purged", *(["old"] if is_finished or is_complete(path) else [])):
        if os.path.lexists(_beside(path, word)):
            _delete_in_place(_beside(path, word))


def is_complete(path: Path) -> bool:
    """Say whether what is at `path` is ours and finished."""
    return read_receipt(path) is not None if (said := _kernelspec_is_ours(path)) is None else said


def _kernelspec_is_ours(path: Path) -> bool | None:
    spec = read_json(path / "kernel.json")
    if not isinstance(spec, dict):
        return None  # no kernelspec, or one that nobody can read
    metadata = spec.get("metadata")
    return isinstance(metadata, dict) and "colab_env" in metadata


def recover(path: Path, *, wait: bool = True) -> None:
    """Bring back what a run that ended early was replacing or updating, unless the new one is complete.

    What was half written, half copied or half deleted goes. What somebody else put at `path` since then is left alone,
    and so, without `wait`, is the work of a run that goes on.
    """
    with translate_os_errors(path):
        if not leftovers(path):
            return
        has_begun = os.path.lexists(_beside(path, "building"))
        with _marked(_beside(path, "building"), wait=wait) as is_free:
            # Without the mark, a sticky bit is somebody's who shares a directory with others.
            if is_free and has_begun:
                if is_unfinished(path) and read_receipt(path) is None:
                    _delete(path)
                _finish(path)
            if is_free:
                _settle(path)
        # Without waiting: it may be this run that has staged what is to come here.
        with _marked(_beside(path, "staging"), wait=False) as is_free:
            if is_free:
                discard(_beside(path, "restoring"))
        _discard_unwritten(_beside(path, "new"), wait=wait)


def beside_of(path: Path) -> Path | None:
    """Return the path that a leftover belongs to, or None when it is none."""
    match = _BESIDE_NAME.fullmatch(path.name)
    return path.with_name(match[1]) if match else None


def leftovers(path: Path) -> list[Path]:
    """Return what runs that ended early, or go on, have left beside a path."""
    return [beside for beside in (_beside(path, word) for word in _BESIDE) if os.path.lexists(beside)]


def _discard_unwritten(path: Path, *, wait: bool) -> None:
    """Delete a file that a killed run was writing."""
    if path.is_dir() or path.is_symlink():
        _delete_in_place(path)
    elif path.exists() and (handle := _taken(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))) is not None:
        with handle:
            path.unlink(missing_ok=True)


def _beside(path: Path, word: str) -> Path:
    name = os.fsencode(path.name)
    if len(name) > 255 - len(f"..colab-env-{word}"):  # the longest that a file system takes
        return path.with_name(f".{hashlib.sha256(name).hexdigest()[:16]}.colab-env-{word}")
    return path.with_name(f".{path.name}.colab-env-{word}")


def sync_tree(path: Path) -> None:
    """Bring everything below `path` to the disk."""
    # One call for the whole file system: on ext4, one for each of 5,000 new files took 60 times as long.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            os.sync()
    except (ImportError, AttributeError, OSError):  # no such call here
        os.sync()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def restoring(*paths: Path) -> Iterator[Callable[[], None]]:
    """Bring small files back to what they were if the block raises; files that were not there disappear.

    Gives what has to be called before a receipt says that the files are right: so that the ledger knows them by then.
    """
    before = {path: (path.read_bytes(), path.stat()) if path.is_file() else None for path in paths}
    for path in paths:
        # What a tool writes into them is known only afterwards; a kill in between leaves a file that `undo` does not
        # guess about.
        _ledger.note(path, _ledger.UNKNOWN)

    def know() -> None:
        for path in paths:
            _ledger.note(path, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else _ledger.ABSENT)

    try:
        yield know
        know()
    except BaseException:
        for path, content_before in before.items():
            if content_before is None:
                path.unlink(missing_ok=True)
            elif not path.is_file() or path.read_bytes() != content_before[0]:
                put_back(
                    path.resolve(),
                    content_before[0],
                    mode=stat.S_IMODE(content_before[1].st_mode),
                    mtime_ns=content_before[1].st_mtime_ns,
                )
        know()
        raise


@contextlib.contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """Give an empty directory below `parent` (our own) that nobody else reads; it is gone after the block."""
    with translate_os_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PRIVATE, dir=parent) as directory, _directory_lock(Path(directory)):
            yield Path(directory)


@contextlib.contextmanager
def _directory_lock(directory: Path) -> Iterator[bool]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except OSError as error:
        if error.errno not in (*_NO_LOCKS, errno.EWOULDBLOCK):
            raise
        # Where the file system has no locks, the caller goes on as if it had it.
        yield error.errno != errno.EWOULDBLOCK
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def mark(directory: Path, text: str) -> Iterator[None]:
    """Keep a small file of this text in `directory`, one of our own, until the block ends."""
    with translate_os_errors(directory):
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


def sweep(data: Path, paths: Iterable[Path]) -> None:
    """Clear away what runs that ended early left in the data directory and beside `paths`.

    The work of runs that go on is left alone.
    """
    with translate_os_errors(data):
        for directory in (data, *(data / name for name in _SWEPT)):
            for entry in list(directory.iterdir()) if directory.is_dir() else ():
                if (named := beside_of(entry)) is not None:
                    recover(named, wait=False)
                elif entry.name.startswith(_PRIVATE) and entry.is_dir():
                    with _directory_lock(entry) as is_free:
                        if is_free:
                            _delete_in_place(entry)
    real = os.path.realpath(data)
    for path in dict.fromkeys(path for path in paths if os.path.realpath(path) != real):
        # What cannot be cleared away in one project is no matter of another one's.
        with contextlib.suppress(NotWritableError, DiskFullError):
            recover(path, wait=False)


def _require_ours(path: Path, is_ours: Callable[[Path], bool] | None) -> None:
    accepted = is_ours(path) if is_ours else os.path.lexists(path / RECEIPT)
    if not accepted:
        msg = f"{short(path)} exists, and colab-env did not make it"
        raise NotOursError(msg, hint="move it away or choose another place; nothing was changed")


def umask() -> int:
    """Return the permission bits that this process takes from new files."""
    current = os.umask(0)
    os.umask(current)
    return current


def check_writable(directory: Path) -> None:
    """Raise NotWritableError unless files can be made in `directory`, or in its nearest parent that exists."""
    nearest = next(ancestor for ancestor in (directory, *directory.parents) if ancestor.exists())
    if not nearest.is_dir():
        msg = f"{short(nearest)} is a file, not a directory"
        raise NotWritableError(msg, hint="choose another directory")
    with translate_os_errors(nearest), tempfile.TemporaryFile(dir=nearest):
        pass
