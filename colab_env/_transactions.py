"""Build, replace and change directories whole or not at all, and clear away what runs that ended early have left.

A run that ends anywhere leaves the old state or the new one, and beside it at most files whose names `recover` knows: what is
being written (`new`), the mark of a transaction (`building`), the old directory (`old`, or `copying` while that is made), and
what is being deleted (`doomed`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from colab_env import _file_locks, _files, _ledger, _state
from colab_env.errors import DiskFullError, NotOursError, NotWritableError
from colab_env.results import short

_WORDS = ("building", "copying", "old", "new", "doomed", "purged", "staging", "restoring")
_SCRATCH_NAME = re.compile(rf"\.(.+)\.colab-env-(?:{'|'.join(_WORDS)})")
# Directories in the data directory.
_SWEPT = ("compiled", "layers", "bin", "guard", "downloads", "scripts", "resolved", "conda-envs")


@contextlib.contextmanager
def replacing(path: Path, *, is_ours: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Build a directory anew inside the block; if the block raises, the old one comes back.

    Raises NotOursError when something stands at `path` that `is_ours` (by default: has our receipt, in whatever state, or
    the list of what is in it) does not accept.
    What a killed run left is recognised by the names beside `path` and cleared away first.
    """
    recover(path)
    if os.path.lexists(path):
        _require_ours(path, is_ours)
    with _transaction(path) as begun:
        if os.path.lexists(path):
            _files.rename_or_copy(path, _files.scratch_name(path, "old"))
        # From here on a failure has to bring the old one back.
        begun.append(True)
        path.mkdir(mode=0o777 | _files.UNFINISHED)
        yield path


@contextlib.contextmanager
def adopting(path: Path, finished: Path) -> Iterator[Path]:
    """Put a directory that was finished elsewhere on this file system in its place, as `replacing` does."""
    with replacing(path):
        _files.sync_tree(finished)
        finished.rename(path)
        if _files.read_receipt(path) is None:  # a Python, which has no receipt: `undo` shall know it all the same
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
        shutil.copytree(path, _files.scratch_name(path, "copying"), symlinks=True, copy_function=os.link)
        _files.scratch_name(path, "copying").rename(_files.scratch_name(path, "old"))
        begun.append(True)
        path.chmod(stat.S_IMODE(path.stat().st_mode) | _files.UNFINISHED)
        (path / _files.RECEIPT).unlink(missing_ok=True)
        yield path


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
                with _files.translate_os_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(_marked(_files.scratch_name(path, "staging")))
                _files.discard(directory)
            yield scratch
        finally:
            for path, directory in zip(paths, scratch, strict=True):
                _files.discard(directory)
                _files.scratch_name(path, "staging").unlink(missing_ok=True)
            stack.close()
            for parent in sorted(missing, reverse=True):
                with contextlib.suppress(OSError):
                    parent.rmdir()


@contextlib.contextmanager
def restoring(*paths: Path) -> Iterator[Callable[[], None]]:
    """Bring small files back to what they were if the block raises; files that were not there disappear.

    Gives what has to be called before a receipt says that the files are right: so that the ledger knows them by then.
    """
    saved = {path: (path.read_bytes(), path.stat()) if path.is_file() else None for path in paths}
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
        for path, content_before in saved.items():
            if content_before is None:
                path.unlink(missing_ok=True)
            elif not path.is_file() or path.read_bytes() != content_before[0]:
                _files.put_back(
                    path.resolve(),
                    content_before[0],
                    mode=stat.S_IMODE(content_before[1].st_mode),
                    mtime_ns=content_before[1].st_mtime_ns,
                )
        know()
        raise


@contextlib.contextmanager
def _transaction(path: Path) -> Iterator[list[bool]]:
    """Hold the mark that says that a run works at `path`; once it has begun, the old directory returns if it raises."""
    begun: list[bool] = []
    with _files.translate_os_errors(path):
        if not os.path.lexists(path):
            _ledger.note(path, _ledger.TREE)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _marked(_files.scratch_name(path, "building")):
            try:
                yield begun
            except BaseException:
                if begun:
                    _files.delete(path)
                _settle(path)
                _files.scratch_name(path, "building").unlink(missing_ok=True)
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
        handle = _file_locks.take(mark, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _file_locks.NO_LOCKS:
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
    return path.is_dir() and not path.is_symlink() and path.stat().st_mode & _files.UNFINISHED != 0


def _finish(path: Path) -> None:
    if is_unfinished(path):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_files.UNFINISHED)


def _settle(path: Path, *, is_finished: bool = False) -> None:
    """Leave the old directory or the new one, and nothing beside it."""
    old = _files.scratch_name(path, "old")
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)
    for word in ("copying", "doomed", "purged", *(["old"] if is_finished or is_complete(path) else [])):
        if os.path.lexists(_files.scratch_name(path, word)):
            _files.delete_in_place(_files.scratch_name(path, word))


def is_complete(path: Path) -> bool:
    """Say whether what is at `path` is ours and finished."""
    return (
        _files.read_receipt(path) is not None
        if (is_kernelspec_ours := _kernelspec_is_ours(path)) is None
        else is_kernelspec_ours
    )


def _kernelspec_is_ours(path: Path) -> bool | None:
    spec = _files.read_json(path / "kernel.json")
    if not isinstance(spec, dict):
        return None  # no kernelspec, or one that nobody can read
    metadata = spec.get("metadata")
    return isinstance(metadata, dict) and "colab_env" in metadata


def recover(path: Path, *, wait: bool = True) -> None:
    """Bring back what a run that ended early was replacing or updating, unless the new one is complete.

    What was half written, half copied or half deleted goes. What somebody else put at `path` since then is left alone,
    and so, without `wait`, is the work of a run that goes on.
    """
    with _files.translate_os_errors(path):
        if not leftovers(path):
            return
        has_begun = os.path.lexists(_files.scratch_name(path, "building"))
        with _marked(_files.scratch_name(path, "building"), wait=wait) as is_free:
            # Without the mark, a sticky bit is somebody's who shares a directory with others.
            if is_free and has_begun:
                if is_unfinished(path) and _files.read_receipt(path) is None:
                    _files.delete(path)
                _finish(path)
            if is_free:
                _settle(path)
        # Without waiting: it may be this run that has staged what is to come here.
        with _marked(_files.scratch_name(path, "staging"), wait=False) as is_free:
            if is_free:
                _files.discard(_files.scratch_name(path, "restoring"))
        _discard_unwritten(_files.scratch_name(path, "new"), wait=wait)


def sweep(data: Path, paths: Iterable[Path]) -> None:
    """Clear away what runs that ended early left in the data directory and beside `paths`.

    The work of runs that go on is left alone.
    """
    with _files.translate_os_errors(data):
        for directory in (data, *(data / name for name in _SWEPT)):
            for entry in list(directory.iterdir()) if directory.is_dir() else ():
                if (original := beside_of(entry)) is not None:
                    recover(original, wait=False)
                elif entry.name.startswith(_file_locks.PRIVATE) and entry.is_dir():
                    # Its own run may have ended, and deleted it, since it was listed.
                    with contextlib.suppress(FileNotFoundError), _file_locks.directory_lock(entry) as is_free:
                        if is_free:
                            _files.delete_in_place(entry)
    real = os.path.realpath(data)
    for path in dict.fromkeys(path for path in paths if os.path.realpath(path) != real):
        # What cannot be cleared away in one project is no matter of another one's.
        with contextlib.suppress(NotWritableError, DiskFullError):
            recover(path, wait=False)


def _discard_unwritten(path: Path, *, wait: bool) -> None:
    """Delete a file that a killed run was writing."""
    if path.is_dir() or path.is_symlink():
        _files.delete_in_place(path)
    elif (
        path.exists() and (handle := _file_locks.take(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))) is not None
    ):
        with handle:
            path.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """Return what runs that ended early, or go on, have left beside a path."""
    return [scratch for word in _WORDS if os.path.lexists(scratch := _files.scratch_name(path, word))]


def beside_of(path: Path) -> Path | None:
    """Return the path that a leftover belongs to, or None when it is none."""
    match = _SCRATCH_NAME.fullmatch(path.name)
    return path.with_name(match[1]) if match else None


def staged_name(path: Path) -> Path:
    """Return where `staging` builds what is to come to a path."""
    return _files.scratch_name(path, "restoring")


def _require_ours(path: Path, is_ours: Callable[[Path], bool] | None) -> None:
    if not (is_ours or _state.is_ours)(path):
        msg = f"{short(path)} exists, and colab-env did not make it"
        raise NotOursError(msg, hint="move it away or choose another place; nothing was changed")
