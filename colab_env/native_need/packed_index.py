"""The packed index: which package holds a file of a given name, in about 2 MB for a release, a lookup in milliseconds.

Three tables of sorted lines, cut into blocks that are compressed one by one, so that a lookup unpacks what it needs:

    names       cgraph.h <tab> 4711 4712          base name of a file, and the numbers of its locations
    locations   usr/include/graphviz <tab> libgraphviz-dev          line number 4711: directory and packages
    packages    libgraphviz-dev <tab> 38 <tab> - <tab> libcgraph6 <tab> <tab>    name, weight, flags, own libraries, wrapper, needs

The file begins with eight bytes of magic, the length of the header and the header itself: JSON, with the first key, the
length and the checksum of each block.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import lzma
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from colab_env.errors import DamagedError
from colab_env.results import short

MAGIC = b"colabapt"
VERSION = 1
# Bytes before compression: twice as much saves 4 % of a table, and a lookup in it takes twice as long. Most are of names.
_BLOCKS = {"names": 20480, "locations": 32768, "packages": 32768}
# The dictionary need not be larger than a block: with the 8 MB of the preset, setting it up takes longer than packing.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**17, "lc": 3, "lp": 0, "pb": 0}]


@dataclass(frozen=True, kw_only=True)
class Location:
    """A directory that holds a file, without the leading slash, and the packages that put it there."""

    directory: str
    packages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Package:
    """What the ranking knows of a package.

    `weight` is how many packages depend on it and on its own libraries, `libraries` are those, `is_default` says that a
    package such as `mpi-default-dev` depends on it, `wrapper` names the package that stands for it under a name without
    a version, as `libboost-dev` does for `libboost1.74-dev`, or that adds the library to headers alone; `is_python` says
    that it runs on the distribution's Python and on no C library of its own, `is_node` the same of Node.js; `is_essential`, that
    every Debian has it; `needs` are, of a Python package such as
    `python3-usb`, the packages that it rests on and that are not Python's.
    """

    name: str
    weight: int = 0
    is_default: bool = False
    libraries: tuple[str, ...] = ()
    wrapper: str | None = None
    is_python: bool = False
    is_node: bool = False
    is_essential: bool = False
    needs: tuple[str, ...] = ()


def pack(
    facts: Mapping[str, Any],
    names: Iterable[tuple[bytes, bytes]],
    locations: Iterable[bytes],
    packages: Iterable[bytes],
) -> bytes:
    """Return the bytes of an index. `names` and `packages` are sorted; `facts` come back as `Index.facts`."""
    tables: dict[str, list[tuple[str, int, int]]] = {}
    body: list[bytes] = []
    lines = {"names": (b"%s\t%s" % pair for pair in names), "locations": locations, "packages": packages}
    for table, content in lines.items():
        tables[table] = []
        for first, block in _blocks(content, _BLOCKS[table]):
            packed = lzma.compress(block, format=lzma.FORMAT_RAW, filters=_FILTERS)
            key = str(first) if table == "locations" else block.partition(b"\t")[0].decode(errors="replace")
            tables[table].append((key, len(packed), zlib.crc32(packed)))
            body.append(packed)
    header = zlib.compress(json.dumps({"version": VERSION, "facts": dict(facts), "tables": tables}).encode())
    return b"".join([MAGIC, struct.pack(">II", len(header), zlib.crc32(header)), header, *body])


def _blocks(lines: Iterable[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Join lines into blocks, each with the number of its first line."""
    block: list[bytes] = []
    size = first = 0
    for number, line in enumerate(lines):
        if size > most:
            yield first, b"\n".join(block)
            block, size, first = [], 0, number
        block.append(line)
        size += len(line) + 1
    if block:
        yield first, b"\n".join(block)


@dataclass(kw_only=True)
class _Table:
    firsts: list[Any]
    spans: list[tuple[int, int, int]] = field(default_factory=list)  # offset, length, checksum


class Index:
    """A packed index, read where it lies. Raises DamagedError for a file that is none or is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = path.read_bytes()
        self._unpacked = lru_cache(maxsize=256)(self._unpack)
        with self._whole():
            self.facts, self._tables = self._header()

    def _header(self) -> tuple[dict[str, Any], dict[str, _Table]]:
        start = len(MAGIC) + 8
        length, checksum = struct.unpack(">II", self._content[len(MAGIC) : start])
        packed = self._content[start : start + length]
        if not self._content.startswith(MAGIC) or zlib.crc32(packed) != checksum:
            raise ValueError(MAGIC)
        header = json.loads(zlib.decompress(packed))
        offset, tables = start + length, {}
        for name, blocks in header["tables"].items():
            is_numbered = name == "locations"
            table = _Table(firsts=[int(first) if is_numbered else str(first) for first, _, _ in blocks])
            for _, size, crc in blocks:
                table.spans.append((offset, size, crc))
                offset += size
            tables[name] = table
        if header["version"] != VERSION or offset != len(self._content) or set(tables) != _TABLES:
            raise ValueError(offset)
        return dict(header["facts"]), tables

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error, zlib.error) as error:
            msg = f"{short(self.path)} is not a whole index of packages"
            raise DamagedError(msg, hint="colab-env native index --refresh makes it anew") from error

    def _unpack(self, table: str, number: int) -> list[str]:
        offset, size, checksum = self._tables[table].spans[number]
        packed = self._content[offset : offset + size]
        with self._whole():
            if zlib.crc32(packed) != checksum:
                raise ValueError(checksum)
        return lzma.decompress(packed, format=lzma.FORMAT_RAW, filters=_FILTERS).decode(errors="replace").split("\n")

    def locations(self, name: str) -> list[Location]:
        """Return where files of this base name lie."""
        key, numbers = next(self._lines("names", name), ("", []))
        return [self._location(number) for number in numbers] if key == name else []

    def starting(self, prefix: str, *, at_most: int = 400) -> Iterator[tuple[str, Location]]:
        """Return the base names that begin with `prefix`, in order, and where they lie."""
        for number, (name, numbers) in enumerate(self._lines("names", prefix)):
            if not name.startswith(prefix) or number == at_most:
                return
            for location in numbers:
                yield name, self._location(location)

    def package(self, name: str) -> Package | None:
        """Return what is known of a package, or None where none of its files can be looked for."""
        key, fields = next(self._lines("packages", name), ("", []))
        if key != name:
            return None
        with self._whole():
            weight, flags, libraries, wrapper, *needs = fields  # an index from before has no needs
            return Package(
                name=name,
                weight=int(weight),
                is_default="d" in flags,
                libraries=tuple(libraries.split()),
                wrapper=wrapper or None,
                is_python="p" in flags,
                is_node="n" in flags,
                is_essential="e" in flags,
                needs=tuple(" ".join(needs).split()),
            )

    def package_names(self, prefix: str) -> list[str]:
        """Return the names of packages that begin with `prefix`."""
        names = []
        for name, _ in self._lines("packages", prefix):
            if not name.startswith(prefix):
                break
            names.append(name)
        return names

    def _location(self, number: str) -> Location:
        table = self._tables["locations"]
        with self._whole():
            block = bisect.bisect_right(table.firsts, int(number)) - 1
            directory, packages = self._unpacked("locations", block)[int(number) - table.firsts[block]].split("\t")
            return Location(directory=directory, packages=tuple(packages.split(",")))

    def _lines(self, table: str, start: str) -> Iterator[tuple[str, list[str]]]:
        """Return the lines of a table from a key on: the key, and the other fields."""
        firsts = self._tables[table].firsts
        first_block = max(bisect.bisect_left(firsts, start) - 1, 0)
        for block in range(first_block, len(firsts)):
            lines = self._unpacked(table, block)
            at = (
                bisect.bisect_left(lines, start, key=lambda line: line.partition("\t")[0])
                if block == first_block
                else 0
            )
            for line in lines[at:]:
                key, *fields = line.split("\t")
                yield key, " ".join(fields).split() if table == "names" else fields


_TABLES = {"names", "locations", "packages"}
