"""The cache of layers: blobs by their digest, and what is known of what they were made from. The only module that writes there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from colab_env import _files

_CHUNK = 1 << 20  # bytes
_WORK = "work-"


class HashingFile:
    """A file for writing that counts and hashes what goes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.is_new = True
        """Whether nothing of the same content was there."""

    def write(self, block: bytes) -> int:
        """Write all of it."""
        self._file.write(block)
        self._sha256.update(block)
        self.size += len(block)
        return len(block)

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is complete."""

    @property
    def digest(self) -> str:
        """Return the digest of what was written."""
        return f"sha256:{self._sha256.hexdigest()}"


class LayerCache:
    """One directory; a blob or a record appears in it whole or not at all. Whoever uses it holds its lock."""

    def __init__(self, directory: Path, *, fresh: bool = False) -> None:
        """Open the cache; a `fresh` one takes nothing that is there already, but keeps what is made."""
        self.directory = directory
        self.is_fresh = fresh
        self._made: set[str] = set()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Path]:
        """Hold the lock, and give a scratch directory that is gone after the block; what a killed run left goes first."""
        with _files.translate_os_errors(self.directory):
            (self.directory / "blobs").mkdir(parents=True, exist_ok=True)
            (self.directory / "records").mkdir(exist_ok=True)
        with _files.locked(self.directory / "lock"), _files.translate_os_errors(self.directory):
            for leftover in self.directory.glob(f"{_WORK}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self.directory))
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def path(self, digest: str) -> Path:
        """Return where a blob lies, or would."""
        return self.directory / "blobs" / digest.removeprefix("sha256:")

    def has(self, digest: str, size: int) -> bool:
        """Say whether a blob is there in full; what is looked at counts as used."""
        path = self.path(digest)
        with contextlib.suppress(OSError):
            if path.stat().st_size == size:
                os.utime(path)
                return True
        return False

    @contextlib.contextmanager
    def writing(self) -> Iterator[HashingFile]:
        """Write a new blob, which is named by its digest when the block ends well."""
        with (
            _files.translate_os_errors(self.directory),
            tempfile.NamedTemporaryFile(prefix=_WORK, dir=self.directory / "blobs", delete=False) as file,
        ):
            path = Path(file.name)
            try:
                hashing = HashingFile(file)
                yield hashing
                file.flush()
                os.fsync(file.fileno())  # later builds look at its size only
                path.chmod(0o644)
                hashing.is_new = not self.path(hashing.digest).is_file()
                path.replace(self.path(hashing.digest))
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def record(self, key: str) -> Any:
        """Return what is known by a key, or None."""
        if self.is_fresh and key not in self._made:
            return None
        return _files.read_json(self.directory / "records" / key)

    def remember(self, key: str, value: Any) -> None:
        """Keep a plain value by a key, which is the checksum of all that the value depends on."""
        self._made.add(key)
        path = self.directory / "records" / key
        with _files.translate_os_errors(path):
            new = path.with_name(f"{_WORK}{key}")
            new.write_text(json.dumps(value, sort_keys=True))
            new.replace(path)

    def prune(self, limit: int) -> int:
        """Delete the blobs that were not used for the longest time, beyond a limit in bytes; return how many bytes went."""
        blobs = [(path, path.stat()) for path in (self.directory / "blobs").iterdir()]
        blobs.sort(key=lambda blob: blob[1].st_mtime, reverse=True)
        total = gone = 0
        for path, status in blobs:
            total += status.st_size
            is_leftover = path.name.startswith(_WORK) or path.suffix == ".part"
            if total > limit or (is_leftover and time.time() - status.st_mtime > 86400):
                path.unlink(missing_ok=True)
                gone += status.st_size
        return gone


def key_of(kind: str, *parts: Any) -> str:
    """Return the name of a record: what it is about, and a checksum of what it depends on."""
    return f"{kind}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"
