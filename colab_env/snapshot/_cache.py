"""Caches of snapshots: a directory, any web server, or what fsspec opens. The only module that writes into one.

Drive keeps one large sequential file well, and little else: no links, no locks, and it can go away at any moment. A
file appears under its final name when all of it is written; what a killed save leaves is known by its name.
A web server has its files listed in `index.json`, which a save writes, or on a page of its own. It need not know ranges:
a file is then downloaded whole, and what was interrupted goes on where the server can.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import quote, urlsplit, urlunsplit

from colab_env import _download, _files, _report
from colab_env.errors import CacheError, ColabEnvError, DiskFullError, NetworkError, UsageError
from colab_env.results import short
from colab_env.snapshot.manifest import Entry, Name, entries_of_index

INDEX = "index.json"
_LINK = re.compile(r"""href\s*=\s*["']?(?:\./)?([A-Za-z0-9._-]+\.tar\.zst)["'?#>\s]""", re.IGNORECASE)


class WebStore:
    """A directory of a web server: it is read, and nothing is ever saved there."""

    is_read_only = True

    def __init__(self, url: str, downloads: Path) -> None:
        self._url = urlsplit(url)
        self._downloads = downloads
        self.where = _report.clean(url)

    def entries(self, *, required: bool) -> list[Entry]:
        """Return the files that the index, or the server's own list of them, names. A server that has none is an error."""
        del required
        with contextlib.suppress(NetworkError, ValueError, RecursionError):
            return entries_of_index(json.loads(_download.read_text(self._at(INDEX))))
        page = _download.read_text(self._at(""))
        return entries_of_index([{"name": name} for name in dict.fromkeys(_LINK.findall(page))])

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading: in ranges as far as that goes."""
        return cast("BinaryIO", _WebFile(self._at(name), self._downloads / f"snapshot-{name}"))

    def create(self, name: str) -> BinaryIO:
        """Refuse: see `is_read_only`."""
        raise NotImplementedError

    def publish(self, file: BinaryIO, partial: str, name: str) -> None:
        """Refuse: see `is_read_only`."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Refuse: see `is_read_only`."""
        raise NotImplementedError

    def _at(self, name: str) -> str:
        return urlunsplit(self._url._replace(path=f"{self._url.path.rstrip('/')}/{quote(name)}"))


class _WebFile(io.RawIOBase):
    """A file at an address: its end in one range, all of it by a download that lasts as long as this is open."""

    def __init__(self, url: str, target: Path) -> None:
        self._url = url
        self._target = target
        self._local: BinaryIO | None = None
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self._local is not None:
            return self._local.seek(offset, whence)
        size = _download.size(self._url) if whence == os.SEEK_END else 0
        if size is None:
            return self._downloaded().seek(offset, whence)
        self._position = offset + size
        return self._position

    def read(self, size: int = -1) -> bytes:
        chunk = None
        if self._local is None and self._position:
            chunk = _download.read_range(self._url, self._position, size)
        if chunk is None:
            return self._downloaded().read(size)
        self._position += len(chunk)
        return chunk

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
            _files.unlink(self._target)
        super().close()

    def _downloaded(self) -> BinaryIO:
        if self._local is None:
            _download.fetch(self._url, self._target, sha256=None)  # a snapshot has its own checksum and signature
            self._local = self._target.open("rb", buffering=0)
            self._local.seek(self._position)
        return self._local


_LARGEST_INDEX = 1 << 22  # bytes
_GONE = (errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


class Store(Protocol):
    """A place for files without directories."""

    where: str
    is_read_only: bool

    def entries(self, *, required: bool) -> list[Entry]:
        """Return the files that are there; where the place does not exist, none, or FileNotFoundError if `required`."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing."""

    def publish(self, file: BinaryIO, partial: str, name: str) -> None:
        """Complete a new file and give it its final name, in the place of another."""

    def remove(self, name: str) -> None:
        """Delete a file."""


def store(where: str | Path, *, downloads: Path) -> Store:
    """Return the cache at a path, of a web server, or at an address such as "gs://bucket/envs" (needs colab-bootstrap[fsspec]).

    What a web server has only whole lies in `downloads` while it is read.
    """
    if str(where).startswith(("https://", "http://")):
        return WebStore(str(where), downloads)
    if "://" in str(where):
        return _Remote(str(where))
    return _Directory(Path(where).expanduser().absolute())


def entries(store: Store, *, required: bool = False) -> list[Entry]:
    """Return the files of a cache, by name. Raises CacheError, also where there is none and one is `required`."""
    with _explaining(store.where):
        return sorted(store.entries(required=required), key=lambda entry: entry.name)


@contextlib.contextmanager
def reading(store: Store, name: str) -> Iterator[BinaryIO]:
    """Open a file of the cache. Raises CacheError; so does every reading inside the block."""
    with _explaining(store.where):
        file = store.open(name)
    with file:
        yield cast("BinaryIO", _Explained(file, store.where))


@contextlib.contextmanager
def writing(store: Store, name: str) -> Iterator[BinaryIO]:
    """Write a file that gets its name when the block ends well; otherwise nothing is left. Raises CacheError."""
    partial = f".{name}.{secrets.token_hex(4)}.partial"  # two sessions may save the same snapshot
    with _explaining(store.where):
        file = store.create(partial)
    try:
        yield cast("BinaryIO", _Explained(file, store.where))
        with _explaining(store.where):
            store.publish(file, partial, name)
    except BaseException:
        with contextlib.suppress(Exception):
            file.close()
        with contextlib.suppress(Exception):
            store.remove(partial)
        raise


def write_index(store: Store) -> None:
    """Write which snapshots a cache has, for web servers that list nothing. Raises CacheError.

    An index.json that is somebody else's stays.
    """
    listing = entries(store)
    listed = [asdict(entry) for entry in listing if Name.parsed(entry.name)]
    has_one = any(entry.name == INDEX for entry in listing)
    # A directory that a web server shows may well have an index.json of somebody else's.
    if has_one and not _is_index(store):
        return
    if listed:
        with writing(store, INDEX) as out:
            out.write(json.dumps(listed, indent=1).encode() + b"\n")
    elif has_one:
        remove(store, INDEX)


def _is_index(store: Store) -> bool:
    with reading(store, INDEX) as file:
        try:
            return all(Name.parsed(entry.name) for entry in entries_of_index(json.loads(file.read(_LARGEST_INDEX))))
        except (ValueError, RecursionError):
            return False


def remove(store: Store, name: str) -> None:
    """Delete a file of the cache. Raises CacheError."""
    with _explaining(store.where):
        store.remove(name)


class _Directory:
    """Any directory: a disk, a mounted Drive, the input of a Kaggle notebook."""

    def __init__(self, path: Path) -> None:
        self.where = short(path)
        self.is_read_only = path.is_dir() and not os.access(path, os.W_OK)
        self._path = path

    def entries(self, *, required: bool) -> list[Entry]:
        files = []
        with contextlib.suppress(*([] if required else [FileNotFoundError])), os.scandir(self._path) as listed:
            for entry in listed:
                # It may go between the listing and the look.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    files.append(Entry(name=entry.name, size=status.st_size, modified=status.st_mtime))
        return files

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb", buffering=0)

    def create(self, name: str) -> BinaryIO:
        # Only its last directory is made: below a Drive that is not mounted, more would be in the way of mounting it.
        self._path.mkdir(exist_ok=True)
        return (self._path / name).open("xb")

    def publish(self, file: BinaryIO, partial: str, name: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        file.close()  # Drive tells here that it is full
        (self._path / partial).replace(self._path / name)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)


class _Remote:
    """What fsspec opens."""

    is_read_only = False

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError as error:
            msg = f"the cache {url} needs fsspec"
            raise UsageError(msg, hint="install colab-bootstrap[fsspec], or give a directory") from error
        self.where = url
        with _explaining(url):
            self._files, self._path = fsspec.core.url_to_fs(url)
        self._is_on_disk = url.startswith(("file://", "local://"))

    def entries(self, *, required: bool) -> list[Entry]:
        self._files.invalidate_cache()
        try:
            listed = self._files.ls(self._path, detail=True)
        except FileNotFoundError:
            if required and self._is_on_disk:  # a bucket has no directories: what is not there is empty
                raise
            return []
        return [_remote_entry(item) for item in listed if item["type"] == "file"]

    def open(self, name: str) -> BinaryIO:
        return cast("BinaryIO", self._files.open(self._at(name), "rb"))

    def create(self, name: str) -> BinaryIO:
        self._files.makedirs(self._path, exist_ok=True)
        return cast("BinaryIO", self._files.open(self._at(name), "wb"))

    def publish(self, file: BinaryIO, partial: str, name: str) -> None:
        file.close()
        self._files.mv(self._at(partial), self._at(name))

    def remove(self, name: str) -> None:
        if self._files.exists(self._at(name)):
            self._files.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"


def _remote_entry(listed: dict[str, Any]) -> Entry:
    modified: Any = next(
        (listed[key] for key in ("mtime", "created", "LastModified", "updated") if key in listed), None
    )
    seconds = modified.timestamp() if hasattr(modified, "timestamp") else modified
    name = listed["name"].rstrip("/").rpartition("/")[2]
    return Entry(name=name, size=listed["size"] or 0, modified=seconds if isinstance(seconds, (int, float)) else None)


class _Explained:
    """A file whose faults are those of its cache, not of what is saved or restored."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        with _explaining(self._where):
            return self._file.read(size)

    def write(self, content: bytes) -> int:
        with _explaining(self._where):
            return self._file.write(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _explaining(self._where):
            return self._file.seek(offset, whence)


@contextlib.contextmanager
def _explaining(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            msg = f"no space is left in the cache {where}"
            raise DiskFullError(msg, hint=f"`colab-env cache prune {where} --keep 2` makes some") from error
        hint = "mount it again" if error.errno in _GONE else "check that it exists, is mounted and may be written"
        msg = f"the cache {where} cannot be used: {error.strerror or error}"
        raise CacheError(msg, hint=hint) from error
    except ColabEnvError:
        raise
    except NotImplementedError as error:  # what fsspec's file systems say that only read, such as https
        msg = f"the cache {where} can be read, not written"
        raise CacheError(msg, hint="give a directory, or an address such as gs://bucket/envs, to save there") from error
    except Exception as error:  # each of fsspec's file systems has errors of its own
        msg = f"the cache {where} cannot be used: {type(error).__name__}: {error}"
        raise CacheError(msg, hint="check the address and the account") from error
