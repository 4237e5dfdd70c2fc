"""Write, replace, lock: the only module that changes files of the user's machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from colab_env import _journal, _report
from colab_env.errors import DiskFullError, NotOursError, NotWritableError
from colab_env.results import short

RECEIPT = "colab-env.json"
# The sticky bit, which has no use in a directory of one owner, marks a directory as ours while it has no receipt yet:
# what somebody else puts at the path of a killed run does not carry it.
_UNFINISHED = stat.S_ISVTX
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),  # something else in the way
)


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn the system's errors about files into this package's, naming `path` where the system names nothing."""
    try:
        yield
    except OSError as error:
        where = short(error.filename or path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            msg = f"no space left on the disk while writing {where}"
            raise DiskFullError(msg, hint="free some space, then run the same call again") from error
        if error.errno in _REFUSED:
            msg = f"cannot write {where}: {error.strerror}"
            raise NotWritableError(msg, hint="choose another directory, or change its owner or mode") from error
        raise


@contextlib.contextmanager
def locked(path: Path, *, meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a lock file; while another process holds it, say so and wait, calling `meanwhile` again and again.

    The file names the process that holds it: what another task of this one does is no other run.
    """
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    with handle:
        if not _took(handle):
            handle.seek(0)
            is_own = handle.read() == str(os.getpid())
            said = "Waiting for another run of colab-env to finish"
            with contextlib.nullcontext() if is_own else _report.activity(said):
                while not _took(handle):
                    meanwhile()
                    time.sleep(0.1)
        with contextlib.suppress(OSError):  # a full disk shall not keep anybody from making room
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), str(os.getpid()).encode())
        yield


def _took(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file's text whole or not at all, keeping its mode. Follows a symbolic link to the file it names."""
    path = path.resolve()
    with explaining(path):
        _journal.note(path, _sha256(text.encode()))
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat() if path.exists() else None
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            Path(temporary).chmod(before.st_mode & 0o7777 if before else 0o666 & ~umask())
            if before is not None and os.geteuid() == 0:
                os.chown(temporary, before.st_uid, before.st_gid)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_program(path: Path, text: str) -> None:
    """Write an executable text file whole or not at all."""
    write_text(path, text)
    with explaining(path):
        path.chmod(0o700)  # it may hold the address of a private index


def copy(source: Path, target: Path, *, ignore: tuple[str, ...] = ()) -> None:
    """Copy a file or a tree."""
    with explaining(target):
        _journal.note(target, _journal.TREE if source.is_dir() else _sha256(source.read_bytes()))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*ignore), dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def move(source: Path, target: Path) -> None:
    """Rename within one file system."""
    with explaining(target):
        if source.is_dir():
            _journal.note(source, {"moved_to": str(target)})
        else:
            _journal.note(target, _sha256(source.read_bytes()))
            _journal.note(source, _journal.ABSENT)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def remove(path: Path) -> None:
    """Delete a file, a link or a tree. The caller has made sure that it is ours."""
    with explaining(path):
        _journal.note(path, _journal.ABSENT)
        _delete(path)


def link(path: Path, target: str | Path) -> None:
    """Make a symbolic link where nothing is."""
    with explaining(path):
        _journal.note(path, _journal.TOOL)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


@contextlib.contextmanager
def staging(places: Mapping[Path, Path]) -> Iterator[None]:
    """Keep scratch directories, by the place that each is for, until the block ends."""
    missing = list(dict.fromkeys(parent for place in places for parent in place.parents if not parent.exists()))
    for place, scratch in places.items():
        discard(scratch)
        if not os.path.lexists(place):
            _journal.note(place, _journal.TREE)  # now, while its parents are missing too
    try:
        yield
    finally:
        for scratch in places.values():
            discard(scratch)
        for parent in sorted(missing, reverse=True):
            with contextlib.suppress(OSError):
                parent.rmdir()


def discard(path: Path) -> None:
    """Delete scratch files of our own, which no journal knows."""
    if os.path.lexists(path):
        _delete(path)


def _delete(path: Path) -> None:
    with explaining(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_receipt(directory: Path) -> dict[str, Any] | None:
    """Return what was written when `directory` was completed, or None: not ours, or not complete."""
    receipt = read_json(directory / RECEIPT)
    return receipt if isinstance(receipt, dict) else None


def write_receipt(directory: Path, receipt: Mapping[str, Any]) -> None:
    """Mark `directory` as ours and complete. The last thing a transaction does."""
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
    with _undoing(path), explaining(path):
        if os.path.lexists(path):
            path.rename(_beside(path, "old"))
        else:
            _journal.note(path, _journal.TREE)
        path.parent.mkdir(parents=True, exist_ok=True)
        _beside(path, "building").touch()
        path.mkdir(mode=0o777 | _UNFINISHED)
        yield path


@contextlib.contextmanager
def adopting(path: Path, finished: Path) -> Iterator[Path]:
    """Put a directory that was finished elsewhere on this file system in its place, as `replacing` does."""
    with replacing(path):
        finished.rename(path)
        if read_receipt(path) is None:  # a Python, which has no receipt: `undo` shall know it all the same
            _journal.note(path, _journal.TOOL)
        yield path


@contextlib.contextmanager
def updating(path: Path) -> Iterator[Path]:
    """Change a directory in place inside the block; if the block raises, it is as it was.

    The copy made first is of hard links: it costs no space, and it is good as long as the tools that work inside
    replace files instead of writing into them, as pip, uv and Poetry do. The receipt is away until the block writes it
    anew.
    """
    recover(path)
    with _undoing(path), explaining(path):
        shutil.copytree(path, _beside(path, "copying"), symlinks=True, copy_function=os.link)
        _beside(path, "copying").rename(_beside(path, "old"))
        _beside(path, "building").touch()
        path.chmod(stat.S_IMODE(path.stat().st_mode) | _UNFINISHED)
        (path / RECEIPT).unlink(missing_ok=True)
        yield path


def recover(path: Path) -> None:
    """Bring back what a run that ended early was replacing or updating, unless the new one is complete.

    What somebody else put at `path` since then is left alone.
    """
    building, copying = _beside(path, "building"), _beside(path, "copying")
    with explaining(path):
        if os.path.lexists(copying):
            _delete(copying)
        if building.exists():
            _finish(path) if read_receipt(path) else _delete_unfinished(path)
            building.unlink()
        if not os.path.lexists(path) or read_receipt(path) is not None:
            _take_back(path)


def _delete_unfinished(path: Path) -> None:
    if path.is_dir() and path.stat().st_mode & _UNFINISHED:
        _delete(path)


def _finish(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & _UNFINISHED:
        path.chmod(stat.S_IMODE(mode) & ~_UNFINISHED)


def _take_back(path: Path) -> None:
    aside = _beside(path, "old")
    if os.path.lexists(aside):
        _delete(aside) if os.path.lexists(path) else aside.rename(path)


@contextlib.contextmanager
def _undoing(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with explaining(path):
            _delete(_beside(path, "copying"))
            if _beside(path, "building").exists():
                _delete(path)
                _beside(path, "building").unlink()
            _take_back(path)
        raise
    _finish(path)
    _beside(path, "building").unlink()
    if os.path.lexists(_beside(path, "old")):
        _delete(_beside(path, "old"))


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f".{path.name}.colab-env-{word}")


@contextlib.contextmanager
def restoring(*paths: Path) -> Iterator[None]:
    """Bring small files back to what they were if the block raises; files that were not there disappear."""
    before = {path: path.read_bytes() if path.is_file() else None for path in paths}
    for path in paths:
        _journal.note(path, _journal.UNKNOWN)
    try:
        yield
        for path in paths:
            _journal.note(path, _sha256(path.read_bytes()) if path.is_file() else _journal.ABSENT)
    except BaseException:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        raise


@contextlib.contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """Give an empty directory below `parent` (our own) that nobody else reads; it is gone after the block."""
    with explaining(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".passing-", dir=parent) as place:
            yield Path(place)


def _require_ours(path: Path, is_ours: Callable[[Path], bool] | None) -> None:
    accepted = is_ours(path) if is_ours else os.path.lexists(path / RECEIPT)
    if not accepted:
        msg = f"{short(path)} exists, and colab-env did not make it"
        raise NotOursError(msg, hint="move it away or choose another place; nothing was changed")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def umask() -> int:
    """Return the permission bits that this process takes from new files."""
    current = os.umask(0)
    os.umask(current)
    return current


def check_writable(directory: Path) -> None:
    """Raise NotWritableError unless files can be made in `directory`, or in its nearest parent that exists."""
    nearest = next(place for place in (directory, *directory.parents) if place.exists())
    if not nearest.is_dir():
        msg = f"{short(nearest)} is a file, not a directory"
        raise NotWritableError(msg, hint="choose another directory")
    with explaining(nearest), tempfile.TemporaryFile(dir=nearest):
        pass
