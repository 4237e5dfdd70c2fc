"""The file system of a base image, read from its layers: whiteouts count, and links are followed inside of it only."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from colab_env.image.reference import damaged

if TYPE_CHECKING:
    from colab_env.image.base import BaseImage

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LINKS = 40  # as many as Linux follows
# Whose content says something about the Python and the packages in a base; of a program, its beginning says enough.
_WANTED = re.compile(
    r"(?:etc|usr/lib)/os-release|etc/(?:passwd|group)|etc/ld\.so\.conf(?:\.d/[^/]+)?|var/lib/dpkg/(?:status|status\.d/[^/]+)|(?:.*/)?(?:patchlevel\.h|pyvenv\.cfg|site\.py)"
    r"|.*\.dist-info/(?:METADATA|RECORD)|(?:.*/)?libc(?:-2\.\d+)?\.so(?:\.6)?"
)
_PROGRAM = re.compile(r"(?:.*/)?python3?(?:\.\d+)?")
_LARGEST = 32 * 2**20  # bytes; the status of thousands of Debian packages has five million
_HEADER = 64  # bytes of an ELF header
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One path: `kind` is "file", "directory", "symlink", "hardlink" or "other".

    `target` is that of a link; `content` is there where it may say something.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    target: str = ""
    content: bytes | None = None


class _HashingReader(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._sha256.update(block)
        return block

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


class RootFS:
    """Every path of an image as the container sees it. Paths are without a leading slash; the root is "."."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[str, Entry] = {".": Entry(kind="directory", mode=0o755, uid=0, gid=0)}

    @classmethod
    def read(cls, image: BaseImage) -> RootFS:
        """Read all layers of an image, the lowest first. Raises BaseImageError for one that is not what its digests say."""
        tree = cls(image.name)
        for blob, diff_id in zip(image.manifest.layers, image.diff_ids, strict=True):
            with image.source.open(blob) as file, _unpacked(file) as unpacked:
                hashing = _HashingReader(unpacked)
                tree.add(cast("IO[bytes]", hashing))
            if hashing.digest != diff_id:
                raise damaged(
                    image.name, f"the layer {blob.digest[:19]} unpacks to another than its configuration says"
                )
        return tree

    def add(self, layer: IO[bytes]) -> None:
        """Put a layer on top. A whiteout hides what is below, not what the same layer brings."""
        new: dict[str, Entry] = {}
        try:
            with tarfile.open(fileobj=layer, mode="r|") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # or it keeps every one
                    path = posixpath.normpath("/" + member.name).lstrip("/") or "."
                    if posixpath.basename(path).startswith(_WHITEOUT):
                        self._hide(path)
                    else:
                        new[path] = _entry(archive, member, path)
            while layer.read(_CHUNK):  # what lies behind the end of the archive counts in its digest
                pass
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise damaged(self._name, f"a layer cannot be read: {error}") from error
        for path, entry in new.items():
            below = self._entries.get(path)
            if entry.kind != "directory" and below is not None and below.kind == "directory":
                self._remove(path)  # a file instead of a directory hides what was in that
        self._entries |= new
        # Not every tool writes the directories that a file is in.
        for parent in {posixpath.dirname(path) for path in new} - {""}:
            for ancestor in _parents(parent):
                self._entries.setdefault(ancestor, Entry(kind="directory", mode=0o755, uid=0, gid=0))

    def get(self, path: str) -> Entry | None:
        """Return what is at a path, links followed; None where nothing is, or a link leads nowhere."""
        real = self.real(path)
        return None if real is None else self._entries.get(real)

    def real(self, path: str) -> str | None:
        """Return a path without links in it, or None where it leads nowhere. An absolute link starts at the image's root."""
        parts, done, links = path.strip("/").split("/"), "", 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            current = posixpath.dirname(done) if part == ".." else posixpath.join(done, part)
            entry = self._entries.get(current or ".")
            if entry is None or links > _LINKS:
                return None
            if entry.kind == "symlink":
                links += 1
                parts = [*entry.target.split("/"), *parts]
                done = "" if entry.target.startswith("/") else done
            elif entry.kind == "hardlink" and links <= _LINKS:
                links += 1
                parts, done = [*entry.target.strip("/").split("/"), *parts], ""
            else:
                done = current
        return done or "."

    def content(self, path: str) -> bytes | None:
        """Return the content of one of the files that are looked at, or None."""
        entry = self.get(path)
        return None if entry is None else entry.content

    def children(self, path: str) -> list[str]:
        """Return the paths right below a directory, in order."""
        prefix = "" if path == "." else f"{path}/"
        return sorted(name for name in self._entries if name.startswith(prefix) and "/" not in name[len(prefix) :])

    def directories(self, *tops: str) -> Iterator[tuple[str, Entry]]:
        """Yield the directories at and below some paths, and those above them."""
        ancestors = {str(parent) for top in tops for parent in _parents(top)}
        for path, entry in self._entries.items():
            if entry.kind == "directory" and (path in ancestors or path.startswith(tuple(f"{top}/" for top in tops))):
                yield path, entry

    def _hide(self, path: str) -> None:
        directory, name = posixpath.split(path)
        if name == _OPAQUE:
            self._remove_below(directory)
        elif not name.startswith(".wh..wh."):  # of a file system of long ago, which nobody else reads
            self._remove(posixpath.join(directory, name.removeprefix(_WHITEOUT)))

    def _remove(self, path: str) -> None:
        self._entries.pop(path, None)
        self._remove_below(path)

    def _remove_below(self, path: str) -> None:
        prefix = f"{path}/" if path else ""
        for name in [entry for entry in self._entries if entry.startswith(prefix) and entry != "."]:
            del self._entries[name]


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """Return a layer without its compression; engines look at its beginning too, not at its media type."""
    begin = cast("io.BufferedReader", file).peek(6)[:6]
    if begin.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if begin.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.BZ2File(file))
    return cast("IO[bytes]", lzma.LZMAFile(file)) if begin == b"\xfd7zXZ\x00" else file


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    kinds = [
        (member.isreg(), "file"),
        (member.isdir(), "directory"),
        (member.issym(), "symlink"),
        (member.islnk(), "hardlink"),
    ]
    kind = next((word for is_it, word in kinds if is_it), "other")
    length = _LARGEST if _WANTED.fullmatch(path) else _HEADER if _PROGRAM.fullmatch(path) else 0
    file = archive.extractfile(member) if kind == "file" and length else None
    content = None if file is None else file.read(length)
    return Entry(
        kind=kind,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        target=member.linkname,
        content=content,
    )
