"""Note every file of a directory and keep originals that can be put back exactly."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from colab_env import _files

_SMALL = 1_000_000  # bytes; conda rewrites entry points in place, and a hard link would follow that
_REPLACED = ("lib/", "include/", "share/")  # where conda replaces its own files and never writes into them
# Trees that conda never writes: walking them costs minutes on Colab.
_SKIPPED = re.compile(r"lib/python3[^/]*/dist-packages|cuda[^/]*")
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


class Entry(NamedTuple):
    """One path as it was: `saved` is an offset in the store of small files, or a file's name, or None."""

    mode: int
    size: int
    mtime_ns: int
    inode: int
    owner: tuple[int, int]
    link: str | None = None
    saved: int | str | None = None

    def is_same(self, other: Entry | None) -> bool:
        """Say whether nothing was written here. What is in a directory counts for itself."""
        if other is None or self.mode != other.mode or self.link != other.link:
            return False
        return not stat.S_ISREG(self.mode) or self[1:4] == other[1:4]

    @classmethod
    def parsed(cls, values: Any) -> Entry:
        """Read what JSON makes of an entry. Raises ValueError for anything else."""
        try:
            mode, size, mtime_ns, inode, (user, group), link, saved = values
        except TypeError as error:
            raise ValueError(*error.args) from error
        is_saved = saved is None or isinstance(saved, (int, str))
        # By type, not isinstance: True is an int for Python and no size.
        if {*map(type, (mode, size, mtime_ns, inode, user, group))} != {int} or not isinstance(link, (str, type(None))):
            is_saved = False
        if not is_saved:
            msg = f"{values!r} is no entry"
            raise ValueError(msg)
        return cls(mode, size, mtime_ns, inode, (user, group), link, saved)


def look_at(path: Path) -> Entry | None:
    """Return one path as it is, or None when nothing is there."""
    try:
        status = path.lstat()
        link = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    inode, owner = status.st_ino, (status.st_uid, status.st_gid)
    return Entry(status.st_mode, status.st_size, status.st_mtime_ns, inode, owner, link)


def walk(prefix: Path, *, closed: frozenset[str]) -> dict[str, Entry]:
    """Note everything below `prefix`, by relative path, except inside `closed` and trees that conda never writes."""
    entries: dict[str, Entry] = {}
    waiting = [""] if prefix.is_dir() else []
    while waiting:
        directory = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(prefix / directory) as listed:  # another program's
            for item in listed:
                path = f"{directory}{item.name}"
                entry = look_at(Path(item.path))
                if entry is None:
                    continue
                entries[path] = entry
                if stat.S_ISDIR(entry.mode) and path not in closed and not _SKIPPED.fullmatch(path):
                    waiting.append(f"{path}/")
    return entries


def behind_links(prefix: Path) -> dict[str, Entry]:
    """Note the files outside `prefix` that links in its `bin` name: writing to such a link writes to them."""
    entries = {}
    base = os.path.realpath(prefix)
    # conda writes through such a link into a file outside the prefix.
    for link in (prefix / "bin").glob("*"):
        target = os.path.realpath(link)
        if link.is_symlink() and not target.startswith(f"{base}/") and Path(target).is_file():
            entry = look_at(Path(target))
            if entry is not None:
                entries[os.path.relpath(target, base)] = entry
    return entries


class Originals:
    """A directory with the content of files: one store for small ones, hard links (across devices copies) for large."""

    def __init__(self, directory: Path, *, is_permanent: bool = False) -> None:
        self.directory = directory
        self.is_permanent = is_permanent

    def keep(self, prefix: Path, entries: Mapping[str, Entry], *, is_conda: Callable[[str], bool]) -> dict[str, Entry]:
        """Save every file of `entries`; return these with where their content is."""
        self.directory.mkdir(parents=True)
        names = itertools.count()
        saved = dict(entries)
        with (self.directory / "small").open("wb") as store:
            for path, entry in entries.items():
                if not stat.S_ISREG(entry.mode):
                    continue
                # A link costs no space and no time; everything else goes into one file, not one each.
                if _can_be_linked(path, entry, is_conda):
                    saved[path] = self._linked(prefix / path, entry, str(next(names)))
                else:
                    saved[path] = _stored(prefix / path, entry, store)
        return saved

    def _linked(self, path: Path, entry: Entry, name: str) -> Entry:
        _link_or_copy(path, self.directory / name)
        # On an overlay file system the first link gives the file another inode.
        return entry._replace(saved=name, inode=path.lstat().st_ino)

    def restore(self, path: Path, entry: Entry) -> None:
        """Put one path back with its content, mode, owner and time, whole or not at all."""
        with _files.translate_os_errors(path):
            if stat.S_ISDIR(entry.mode):
                if path.is_symlink() or not path.is_dir():
                    _files.remove(path)
                    path.mkdir(parents=True)
                path.chmod(stat.S_IMODE(entry.mode))
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                _files.remove(path)
            # Not the name itself, which may be as long as names can be.
            word = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
            temporary = path.with_name(f".{word}.colab-env-back")
            _files.remove(temporary)
            if entry.link is not None:
                temporary.symlink_to(entry.link)
            else:
                self._write(entry, temporary)
            temporary.replace(path)
            # Of two names of one file, the system keeps both.
            temporary.unlink(missing_ok=True)

    def extract(self, entries: Mapping[str, Entry], directory: Path) -> dict[str, Entry]:
        """Give each of a few entries a file of its own in `directory`."""
        extracted = {}
        for path, entry in entries.items():
            name = _name_for(path) if stat.S_ISREG(entry.mode) else None
            if name is not None:
                directory.mkdir(parents=True, exist_ok=True)
                _files.remove(directory / name)
                self._write(entry, directory / name)
            extracted[path] = entry._replace(saved=name)
        return extracted

    def _write(self, entry: Entry, target: Path) -> None:
        if isinstance(entry.saved, str) and self.is_permanent:
            shutil.copy2(self.directory / entry.saved, target)  # a link would let later changes into what is kept
        elif isinstance(entry.saved, str):
            _link_or_copy(self.directory / entry.saved, target)
        else:
            with (self.directory / "small").open("rb") as store:
                store.seek(entry.saved or 0)
                content = store.read(entry.size)
            if len(content) != entry.size:
                raise OSError(errno.EIO, "what was saved of it is not whole", os.fspath(target))
            target.write_bytes(content)
        with contextlib.suppress(PermissionError):
            os.chown(target, *entry.owner)
        target.chmod(stat.S_IMODE(entry.mode))
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))


def _name_for(path: str) -> str:
    """Return a file's name for a path, another one for each."""
    name = os.fsencode(path)
    is_plain = b"%" not in name and len(name) <= 255
    return path.replace("/", "%") if is_plain else hashlib.sha256(name).hexdigest()


def _can_be_linked(path: str, entry: Entry, is_conda: Callable[[str], bool]) -> bool:
    if path.startswith("../"):
        return False
    return entry.size >= _SMALL or (path.startswith(_REPLACED) and is_conda(path))


def _stored(path: Path, entry: Entry, store: BinaryIO) -> Entry:
    content = path.read_bytes()
    offset = store.tell()
    store.write(content)
    return entry._replace(saved=offset, size=len(content))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)
