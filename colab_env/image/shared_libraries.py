"""Which shared libraries compiled files load, read from their dynamic sections (System V ABI)."""

from __future__ import annotations

import importlib.metadata
import posixpath
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from colab_env.image._layers import LayerFile
from colab_env.image.rootfs import RootFS

_LIBRARY = re.compile(r".+\.so(?:\.[\w.-]+)?")
_LITTLE_64 = b"\x7fELF\x02\x01"  # what amd64 and arm64 have
_LOADED, _DYNAMIC = 1, 2  # kinds of segments
_END, _NEEDED, _STRINGS, _SONAME = 0, 1, 5, 14  # tags of the dynamic section
_MOST_SEGMENTS = 256
_LARGEST_SECTION = 1 << 16  # bytes
_LONGEST_NAME = 256
_DIRECTORIES = ("lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib")
# The Python that loads a file has its libpython already; a driver's libraries come from the machine that runs the container.
_NEVER_MISSING = re.compile(r"libpython3.*|lib(?:cuda|nvidia-[\w-]+|nvcuvid)\.so\..*")
_MUSL = re.compile(r"(?:libc\.musl|ld-musl)-.*")


# Which package of Debian 12 has what wheels often load and python:X.Y-slim-bookworm lacks: OpenMP, and of what PEP 600 lets
# a wheel expect of a machine, the parts for screens. Asked of apt's Contents of that release.
SLIM_LACKS = {
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libatomic.so.1": "libatomic1",
    "libsndfile.so.1": "libsndfile1",
}


@dataclass(frozen=True, kw_only=True)
class MissingLibrary:
    """A shared library that compiled files of a distribution load, and neither the base nor another distribution has."""

    distribution: str
    library: str


def read_dynamic(file: IO[bytes], machine: int) -> tuple[str, list[str]] | None:
    """Return the name of a shared library, "" for one without, and those that it loads; None for what is no such file.

    `machine` is the number of the processor in ELF headers: a file for another one is none of ours. So is one for musl.
    """
    try:
        head = file.read(64)
        if not head.startswith(_LITTLE_64) or int.from_bytes(head[18:20], "little") != machine:
            return None
        (offset,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * min(count, _MOST_SEGMENTS))
        segments = [struct.unpack_from("<IIQQQQ", table, at) for at in range(0, len(table), size)]
        section = next((segment for segment in segments if segment[0] == _DYNAMIC), None)
        if section is None:
            return None
        file.seek(section[2])
        content = file.read(min(section[5], _LARGEST_SECTION))
        entries = list(struct.iter_unpack("<QQ", content[: len(content) // 16 * 16]))
        entries = entries[: next((at for at, (tag, _) in enumerate(entries) if tag == _END), len(entries))]
        strings = _position(segments, dict(entries)[_STRINGS])
        names = [(tag, _name(file, strings + value)) for tag, value in entries if tag in (_NEEDED, _SONAME)]
    except (
        struct.error,
        LookupError,
        ValueError,
        OSError,
        OverflowError,
    ):  # a file that somebody has damaged or packed
        return None
    needed = [name for tag, name in names if tag == _NEEDED and name]
    if any(map(_MUSL.fullmatch, needed)):
        return None
    return next((name for tag, name in names if tag == _SONAME), ""), needed


def _position(segments: list[tuple[int, ...]], address: int) -> int:
    """Return where in the file an address is. Raises LookupError where nothing is loaded to it."""
    for kind, _, offset, start, _, size in segments:
        if kind == _LOADED and start <= address < start + size:
            return address - start + offset
    raise LookupError(address)


def _name(file: IO[bytes], position: int) -> str:
    file.seek(position)
    return file.read(_LONGEST_NAME).partition(b"\0")[0].decode("utf-8", "replace")


def of_files(files: Mapping[str, LayerFile], machine: int) -> dict[str, list[str]]:
    """Return the names of the shared libraries among the files of a distribution, and of those that its files load."""
    provided, needed = set[str](), set[str]()
    for path, layer_file in files.items():
        name = posixpath.basename(path)
        is_library = _LIBRARY.fullmatch(name) is not None
        if is_library:
            provided.add(name)
        if layer_file.source is None or not (is_library or layer_file.is_program):
            continue
        with layer_file.source.open("rb") as file:
            dynamic = read_dynamic(file, machine)
        if dynamic is not None:
            provided.add(dynamic[0])
            needed.update(name for name in dynamic[1] if "/" not in name)
    return {"provided": sorted(provided - {""}), "needed": sorted(needed)}


def in_base(tree: RootFS, triplet: str, environ: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the shared libraries that the loader of a base image finds, as ld.so(8) looks for them."""
    configurations = ["etc/ld.so.conf", *tree.children("etc/ld.so.conf.d")]
    lines = b"\n".join(tree.content(path) or b"" for path in configurations).decode("utf-8", "replace").splitlines()
    paths = next((line.partition("=")[2] for line in environ if line.startswith("LD_LIBRARY_PATH=")), "").split(":")
    directories = [
        *(name for directory in _DIRECTORIES for name in (directory, f"{directory}/{triplet}")),
        *(line.strip().strip("/") for line in [*lines, *paths] if line.strip().startswith("/")),
    ]
    real = {path for directory in directories if (path := tree.real(directory)) is not None}
    names = (
        posixpath.basename(path)
        for directory in real
        for path in tree.children(directory)
        if tree.get(path) is not None
    )
    return tuple(sorted({name for name in names if _LIBRARY.fullmatch(name)}))


def missing(distributions: Mapping[str, Mapping[str, list[str]]], base: Iterable[str]) -> Iterator[MissingLibrary]:
    """Yield what distributions load and nobody has, in order of names; `distributions` are answers of `of_files`.

    A library of any distribution counts as there: by RPATH, or since the program loads it before, nobody can tell without
    running it.
    """
    provided = {*base, *(name for one in distributions.values() for name in one["provided"])}
    for name in sorted(distributions):
        for library in distributions[name]["needed"]:
            if library not in provided and not _NEVER_MISSING.fullmatch(library):
                yield MissingLibrary(distribution=name, library=library)


def missing_in_slim(site: Path, machine: int) -> Iterator[MissingLibrary]:
    """Yield what the distributions in a site-packages directory load of `SLIM_LACKS`, read from their compiled files."""
    distributions = {}
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        paths = {str(file): Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
        compiled = {name: path for name, path in paths.items() if _LIBRARY.fullmatch(path.name) and path.is_file()}
        if compiled:
            files = {name: LayerFile(source=path) for name, path in compiled.items()}
            distributions[distribution.metadata["Name"]] = of_files(files, machine)
    yield from (one for one in missing(distributions, ()) if one.library in SLIM_LACKS)


def notes(missing: Sequence[MissingLibrary]) -> list[str]:
    """Return a sentence about what packages miss, or none."""
    if not missing:
        return []
    by_name: dict[str, list[str]] = {}
    for one in missing:
        by_name.setdefault(one.distribution, []).append(one.library)
    listed = "; ".join(f"{name} ({', '.join(libraries)})" for name, libraries in by_name.items())
    way_out = "give a base that has them, or name their system packages in [tool.colab-env] apt for `container write`"
    return [f"compiled files of packages load libraries that the base lacks: {listed}; {way_out}"]
