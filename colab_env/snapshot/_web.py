"""A cache on any web server: files that it serves, listed in `index.json`, which a save writes, or on the server's own page.

The server need not know ranges: a file is then downloaded whole, and what was interrupted goes on where the server can.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote, urlsplit, urlunsplit

from colab_env import _download, _files, _report
from colab_env.errors import NetworkError
from colab_env.snapshot.manifest import Entry, entries_of_index

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
        found = None
        if self._local is None and self._position:
            found = _download.read_range(self._url, self._position, size)
        if found is None:
            return self._downloaded().read(size)
        self._position += len(found)
        return found

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
