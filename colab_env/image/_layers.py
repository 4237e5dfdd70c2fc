"""Layers: written as tar files, the same bytes for the same files, and kept by digest. The only module that writes there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import posixpath
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from colab_env import _file_locks, _files

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

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

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
        with _file_locks.locked(self.directory / "lock"), _files.translate_os_errors(self.directory):
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


_MODES = (0o644, 0o755)
Owner = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class LayerFile:
    """A file of a layer: its bytes, or the file that has them, and whether it can be run; or a directory, by itself."""

    content: bytes | None = None
    source: Path | None = None
    is_program: bool = False
    is_directory: bool = False
    target: str = field(default="")
    """Where it is a symbolic link: where to."""

    @classmethod
    def of(cls, path: Path) -> LayerFile:
        """Take a file as it is: what its owner may run, everybody may; nothing else of its mode counts."""
        if path.is_symlink():
            return cls(target=os.readlink(path))  # noqa: PTH115  (as it is written)
        return cls(source=path, is_program=bool(path.stat().st_mode & 0o100))


def write_layer(out: Any, files: Mapping[str, LayerFile], *, directories: Mapping[str, Owner], epoch: int) -> None:
    """Write a layer of files by their paths in the image, in order; a file whose name begins with `.wh.` hides another.

    Every directory above a file is in it, with mode and owner as in `directories`, those of the base: engines make one that
    is left out in their own way.
    """
    # Not as a stream ("w|"): that copies what it has buffered once more for every 16 kB. And never closed: two empty blocks end
    # an archive (POSIX), where tarfile fills up to 10 kB.
    archive = tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK)
    written: set[str] = {"/"}
    for path in sorted(files):
        for parent in [*_above(path), *([path] if files[path].is_directory else [])]:
            if parent not in written:
                mode, uid, gid = directories.get(parent, (0o755, 0, 0))
                archive.addfile(_member(parent, epoch, type=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid))
                written.add(parent)
        if not files[path].is_directory:
            _add(archive, path, files[path], epoch)
        archive.members = []  # type: ignore[attr-defined]  # or it keeps every one
    out.write(bytes(2 * tarfile.BLOCKSIZE))


def _above(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts))]


def _add(archive: tarfile.TarFile, path: str, file: LayerFile, epoch: int) -> None:
    if file.target:
        archive.addfile(_member(path, epoch, type=tarfile.SYMTYPE, linkname=file.target, mode=0o777))
        return
    mode = _MODES[file.is_program]
    if file.source is None:
        content = file.content or b""
        archive.addfile(_member(path, epoch, size=len(content), mode=mode), io.BytesIO(content))
        return
    with file.source.open("rb") as stream:
        archive.addfile(_member(path, epoch, size=os.fstat(stream.fileno()).st_size, mode=mode), stream)


def _member(path: str, epoch: int, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(posixpath.normpath(path).lstrip("/"))
    for name, value in {"mtime": epoch, **fields}.items():
        setattr(member, name, value)
    return member
