"""Read, write, move and delete single files and trees, each whole or not at all: see also `_transactions`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from colab_env import _ledger, _report
from colab_env.errors import DiskFullError, NotWritableError, ProjectFileError, UsageError
from colab_env.results import short

CONTENT = "colab-env-content.json"
RECEIPT = "colab-env.json"
LARGEST = (
    64 * 2**20
)  # bytes of a file that people and their tools write; lock files of thousands of packages have a few million
# The sticky bit, which has no use in a directory of one owner, marks a directory as ours while it has no receipt yet:
# what somebody else puts at the path of a killed run does not carry it.
UNFINISHED = stat.S_ISVTX
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),  # something else in the way
)
_TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_FICLONE = 0x40049409
_COPIED = 2**20  # bytes at once
# Of directories: to another file system, or one that comes from below on an overlay, as in a container.
_NO_RENAME = (errno.EXDEV,)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # renameat2(2)


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


def is_at(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino) == (named.st_dev, named.st_ino)


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
        # One that another step writes at this moment was not there yet, although it is by now.
        if not os.path.lexists(path) or (isinstance(error, FileNotFoundError) and not path.is_symlink()):
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
    write_bytes(path.resolve(), text.encode(), mode=mode)


def make_directory(path: Path) -> None:
    """Make a directory of the data directory, and its parents; do not fail if it exists."""
    with translate_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file's content whole or not at all, keeping its mode."""
    with translate_os_errors(path):
        _ledger.note(path, hashlib.sha256(content).hexdigest())
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content, mode=mode)


def put_back(path: Path, content: bytes, *, mode: int, mtime_ns: int) -> None:
    """Replace a file by one with this content, mode and time, whole or not at all."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content, mode=mode, mtime_ns=mtime_ns)


def put_back_link(path: Path, target: str) -> None:
    """Replace whatever file or link is at a path by a symbolic link, in one instant."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = scratch_name(path, "new")
        with _turn_in(path.parent):
            # A killed run may have left it.
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(path)
        _ledger.sync_directory(path.parent)


@contextlib.contextmanager
def _turn_in(directory: Path) -> Iterator[None]:
    """Wait until nobody else makes a link in a directory: links themselves cannot be locked."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put(path: Path, content: bytes, *, mode: int | None = None, mtime_ns: int | None = None) -> None:
    new = scratch_name(path, "new")
    earlier = path.stat() if path.is_file() and not path.is_symlink() else None
    with _scratch(new) as descriptor:
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            # As open() would have made a new file; an old one keeps its permissions, and for root its owner.
            permissions = stat.S_IMODE(earlier.st_mode) if earlier else 0o666 & ~umask()
            os.fchmod(descriptor, permissions if mode is None else mode)
            if earlier is not None and os.geteuid() == 0:
                os.fchown(descriptor, earlier.st_uid, earlier.st_gid)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            # Before the name shows it: after a power cut the name would else lead to an empty file.
            os.fsync(descriptor)
            new.replace(path)
        except BaseException:
            if is_at(descriptor, new):
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
        # Not there any more, whoever had the lock has put it where it belongs, and the name is another's.
        is_here = is_at(descriptor, path)
        is_own = status.st_uid == os.geteuid() and status.st_nlink == 1 and stat.S_ISREG(status.st_mode)
        if is_own and is_here:
            break
        os.close(descriptor)
        if is_here:
            path.unlink(missing_ok=True)
    try:
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


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
        rename_or_copy(source, target)


def exchange(one: Path, other: Path) -> None:
    """Let two directories, or links, change names; where the file system can, neither name is missing at any moment.

    Where it cannot, they do so one after the other, and `recover` knows what a run that is killed in between leaves.
    """
    with translate_os_errors(one):
        if not _exchanged(one, other):
            aside = scratch_name(one, "old")
            rename_or_copy(one, aside)
            rename_or_copy(other, one)
            rename_or_copy(aside, other)


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
        rename_or_copy(moved, path)
        _ledger.forget(path)


def remove(path: Path) -> None:
    """Delete a file, a link or a tree. The caller has made sure that it is ours."""
    with translate_os_errors(path):
        _ledger.note(path, _ledger.ABSENT)
        delete(path)


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


def set_time(path: str | Path, seconds: float) -> None:
    """Let a file, or a link itself, have been changed at a moment, in seconds since 1970. Raises OSError."""
    os.utime(path, (seconds, seconds), follow_symlinks=False)


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
    old_umask = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(old_umask)


def link(path: Path, target: str | Path) -> None:
    """Make a symbolic link where nothing is."""
    with translate_os_errors(path):
        _ledger.note(path, _ledger.BY_TOOL)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


@contextlib.contextmanager
def noting_new(directory: Path) -> Iterator[None]:
    """Let `undo` know what a tool makes in a directory that is its own, and nothing else in it."""
    earlier = set(os.listdir(directory)) if directory.is_dir() else set()  # noqa: PTH208  (the names)
    created = [] if directory.is_dir() else [directory, *_ledger.missing_parents(directory)]
    try:
        yield
    finally:
        for name in sorted(set(os.listdir(directory)) - earlier if directory.is_dir() else ()):  # noqa: PTH208
            if not name.startswith("."):
                _ledger.made_by_tool(directory / name, parents=created)


def discard(path: Path) -> None:
    """Delete scratch files of our own, which no ledger knows."""
    with translate_os_errors(path):
        if os.path.lexists(path):
            delete_in_place(path)


def delete(path: Path) -> None:
    """Delete a file, or give a directory a name that says what is to become of it, and then delete it."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    doomed = scratch_name(path, "doomed")
    if os.path.lexists(doomed):
        delete_in_place(doomed)
    try:
        path.rename(doomed)
    except OSError as error:
        if error.errno not in (*_NO_RENAME, errno.ENOSPC, errno.EDQUOT):  # to delete makes room
            raise
        _delete_where_it_is(path)
        return
    delete_in_place(doomed)


def _delete_where_it_is(path: Path) -> None:
    """Delete a directory that cannot be renamed; a run that is killed meanwhile leaves what counts as half built."""
    mark = scratch_name(path, "building")
    is_new = not os.path.lexists(mark)
    # The mark comes first and the receipt goes before anything else: a kill from here on leaves what the next run takes
    # for half built, never a receipt over half a tree.
    mark.touch()
    path.chmod(stat.S_IMODE(path.stat().st_mode) | UNFINISHED)
    (path / RECEIPT).unlink(missing_ok=True)
    delete_in_place(path)
    if is_new:
        mark.unlink(missing_ok=True)


def rename_or_copy(source: Path, target: Path) -> None:
    """Rename a directory, or where that cannot be done, copy it whole, and then delete it."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _NO_RENAME or not source.is_dir() or source.is_symlink():
            raise
        # Copied under another name first, so that a kill leaves no half tree at the target.
        copying = scratch_name(target, "copying")
        if os.path.lexists(copying):
            delete_in_place(copying)
        shutil.copytree(source, copying, symlinks=True)
        copying.rename(target)
        _delete_where_it_is(source)


def delete_in_place(path: Path) -> None:
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


def scratch_name(path: Path, word: str) -> Path:
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
