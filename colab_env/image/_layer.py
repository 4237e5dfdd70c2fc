"""One layer as a tar file: the same bytes for the same files, whoever makes it, where and when."""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHUNK = 1 << 18  # bytes
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


def write(out: Any, files: Mapping[str, LayerFile], *, directories: Mapping[str, Owner], epoch: int) -> None:
    """Write a layer of files by their paths in the image, in order; a file whose name begins with `.wh.` hides another.

    Every directory above a file is in it, with mode and owner as in `directories`, those of the base: engines make one that
    is left out in their own way.
    """
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:
        made: set[str] = {"/"}
        for path in sorted(files):
            for parent in [*_above(path), *([path] if files[path].is_directory else [])]:
                if parent not in made:
                    mode, uid, gid = directories.get(parent, (0o755, 0, 0))
                    archive.addfile(_member(parent, epoch, type=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid))
                    made.add(parent)
            if not files[path].is_directory:
                _add(archive, path, files[path], epoch)
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every one


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
