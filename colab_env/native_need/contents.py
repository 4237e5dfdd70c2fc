"""apt's own lists, read in one pass: of Contents what can be looked for, of Packages what the ranking needs.

A line of Contents is a path, spaces, and the packages that have it, with their sections:
`usr/include/zlib.h    libdevel/zlib1g-dev` in Debian, `usr/include/zlib.h    universe/libdevel/...` in Ubuntu.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from colab_env.native_need.packed_index import pack

# What can be looked for lies here; the rest of a distribution's seven million files does not. One pattern goes over a
# whole chunk: it begins with a line feed, which `re` seeks with memchr, so that a line of no use costs no Python.
_WANTED = re.compile(
    rb"""\n(
    (?:usr/)?(?:lib/(?:
        (?:[^\s/]+/){0,4}lib[^\s/]+\.(?:so(?:\.[0-9][^\s/]*)?|a)\s
        |(?:[^\s/]+/)?pkgconfig/
    )|s?bin/)[^\n]*
    |usr/(?:include/
        |games/
        |lib/(?:(?:[^\s/]+/){1,4}include/|(?:[^\s/]+/)?perl/[^\s/]+/CORE/|(?:[^\s/]+/)?girepository-1\.0/|(?:[^\s/]+/){1,3}bin[^\s/]*/[^\s/]+\s)
        |share/(?:pkgconfig|R/include)/
        |(?:share|lib/[^\s/]+)/perl(?:/[0-9]|5/)(?:[^\s/]*/){0,6}[^\s/]+\.pm\s
    )[^\n]*)""",
    re.VERBOSE,
)
_SHARED = (b"\nusr/share/pkgconfig/", b"\nusr/share/R/include/", b"\nusr/share/perl/", b"\nusr/share/perl5/")
# Perl's own library is looked for by its files, and what has 39,000 more modules by its name: Debian's Perl policy (4.2)
# makes that of the module's, libemail-simple-perl has Email/Simple.pm. Of those that are called otherwise, as libwww-perl
# with LWP, the index has the names.
_PERLS = re.compile(r"(?:^|,)lib[^,]+-perl(?:$|,)")
_MODULE = re.compile(rb"usr/(?:share|lib/[^\s/]+)/perl5/(?:[0-9.]+/)?([A-Za-z]\S*)\.pm")
_CMAKE = re.compile(rb"usr/(?:lib|share)/\S*(?:[Cc]onfig|/Find[^\s/]+)\.cmake\s")
# Parts of a library's own headers that nobody includes from outside.
_INNER = re.compile(rb"/(?:detail|details|impl|internal|internals|private|tests?|examples?)(?:/|$)")
_DEEPEST = 7  # directories; deeper ones are the inside of C++ libraries
# Packages for another machine than this one, and those that are for debugging only.
_FOREIGN = re.compile(
    r"-linux-gnu[a-z0-9]*$|-cross$|-cross-|mingw|djgpp|-dbg$|-dbgsym$|^lib(?:n?32|64|x32)|-arm-none|-avr|riscv|wasm32|^linux-headers|^android-"
    r"|^piglit$|-gles-"
)
_LONGER_SONAME = re.compile(rb"(lib.+?\.so\.[0-9]+)\.[0-9.]+")
_DEFAULT = re.compile(r"(?:^|-)defaults?(?:-|$)")
_NUMBERS = re.compile(r"-?[0-9]+(?:\.[0-9]+)*(?:\.q[0-9]+)?(?=-|$)")
_HEADERS_ONLY = re.compile(r"-headers$|-common$|-dev-common$")
_EVERYWHERE = frozenset({"libc6", "libgcc-s1", "libstdc++6"})  # of every compiled extension
_FIELD = re.compile(rb"\n(Package|Source|Depends|Pre-Depends|Recommends|Essential):([^\n]*)")
_VERSION = re.compile(r"\s*\([^)]*\)|\s*\[[^\]]*\]|\s*<[^>]*>|:[a-z0-9-]+")


@dataclass(kw_only=True)
class Contents:
    """The files of all Contents lists, by base name; feed it chunk by chunk, of one list after the other."""

    names: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    locations: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)  # of Perl: LWP/UserAgent, and the packages that have it
    lines: int = 0
    _perls: dict[bytes, str] = field(default_factory=dict)
    _packages: dict[bytes, bytes] = field(default_factory=dict)
    _is_inner: dict[bytes, bool] = field(default_factory=dict)

    def read(self, chunks: Iterable[bytes]) -> None:
        """Take in one list."""
        for chunk in _whole_lines(chunks):
            lines = chunk.count(b"\n") - 1
            self.lines += lines
            # Most of a distribution is documentation: chunks with nothing but that are passed over.
            if chunk.count(b"\nusr/share/") < lines or any(start in chunk for start in _SHARED):
                for line in _WANTED.findall(chunk):
                    self._add(line)
            if b".cmake" in chunk:  # rare, and slow to look for in every line
                for line in chunk.split(b"\n"):
                    if b".cmake" in line and _CMAKE.match(line):
                        self._add(line)

    def _add(self, line: bytes) -> None:
        path, _, where = (
            line.rstrip().replace(b"\t", b" ").rpartition(b" ")
        )  # Ubuntu has tabs in the place of some spaces
        directory, _, name = path.rstrip().rpartition(b"/")
        packages = self._packages.get(where)
        if packages is None:
            packages = self._packages[where] = _package_names(where)
        if b"/perl5/" in path and (module := _MODULE.fullmatch(path.rstrip())):
            self._add_module(module[1].decode(errors="replace"), packages)
            return
        is_inner = self._is_inner.get(directory)
        if is_inner is None:
            is_inner = bool(_INNER.search(directory)) or directory.count(b"/") >= _DEEPEST
            self._is_inner[directory] = is_inner
        if not packages or is_inner or not name:
            return
        number = self.locations.setdefault((directory, packages), len(self.locations))
        numbers = self.names.get(name, ())
        if number not in numbers:
            self.names[name] = (*numbers, number)

    def _add_module(self, module: str, packages: bytes) -> None:
        words = self._perls.setdefault(packages, packages.decode(errors="replace"))
        if _PERLS.search(words):
            self.modules[module] = words

    def add_perl(self, packages: Collection[str]) -> None:
        """Add the modules whose packages have other names than theirs, as few as tell: all below LWP are libwww-perl's."""
        below: dict[str, str] = {}  # the one owner of all below, or "" where there are several
        for module, owners in self.modules.items():
            for prefix in _prefixes(module):
                below[prefix] = owners if below.get(prefix, owners) == owners else ""
        for module, owners in self.modules.items():
            named = (
                name for prefix in reversed(_prefixes(module)) for name in perl_packages(prefix) if name in packages
            )
            if next(named, None) not in owners.split(","):
                short = next((prefix for prefix in _prefixes(module) if below[prefix] == owners), module)
                location = (b"usr/share/perl5", owners.encode())
                self.names[f"{short}.pm".encode()] = (self.locations.setdefault(location, len(self.locations)),)

    def package_names(self) -> set[str]:
        return {name for _, packages in self.locations for name in packages.decode(errors="replace").split(",")}

    def simplify(self) -> None:
        """Drop what answers nothing more: `libz.so.1.2.13` and `libz.a` where the same package has `libz.so.1`, `libz.so`."""
        for name in list(self.names):
            longer = _LONGER_SONAME.fullmatch(name)
            shorter = longer[1] if longer else name[:-2] + b".so" if name.endswith(b".a") else b""
            if (others := self.names.get(shorter)) is not None:
                numbers = tuple(number for number in self.names[name] if number not in others)
                self.names[name] = numbers
                if not numbers:
                    del self.names[name]


def _prefixes(module: str) -> list[str]:
    """Return LWP and LWP/UserAgent of LWP/UserAgent."""
    parts = module.split("/")
    return ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]


def perl_packages(module: str) -> list[str]:
    """Return the names that Debian's Perl policy gives to the package of a module such as Email/Simple."""
    words = module.lower().replace("/", "-")
    return list(dict.fromkeys(f"lib{stem}-perl" for stem in (words.replace("_", "-"), words.replace("_", ""))))


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return chunks that begin before a line and end after one, with a line feed on either side."""
    rest = b"\n"
    for chunk in chunks:
        lines, feed, last = chunk.rpartition(b"\n")
        if feed:
            yield rest + lines + feed
            rest = feed + last
        else:
            rest += last
    if rest != b"\n":
        yield rest + b"\n"


def _package_names(where: bytes) -> bytes:
    """Return the packages of a line without their sections, sorted, joined by commas."""
    words = [word.rpartition("/") for word in where.decode(errors="replace").split(",")]
    names = {name for section, _, name in words if not section.endswith("debug") and not _FOREIGN.search(name)}
    return ",".join(sorted(names - {""})).encode()


@dataclass(kw_only=True)
class Packages:
    """What all Packages lists say of who depends on whom; of several versions of a package the first counts."""

    dependants: Counter[str] = field(default_factory=Counter)
    defaults: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wrappers: dict[str, str] = field(default_factory=dict)
    essential: set[str] = field(default_factory=set)
    # What python3-usb depends on: the alternatives of each, for the first may be a name without a file.
    pythons: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def read(self, chunks: Iterable[bytes]) -> None:
        """Take in one list."""
        stanza: dict[str, str] = {}
        for chunk in _whole_lines(chunks):
            for name, value in _FIELD.findall(chunk):
                if name == b"Package":
                    self._add(stanza)
                    stanza = {}
                stanza[name.decode()] = value.decode(errors="replace").strip()
        self._add(stanza)

    def _add(self, stanza: Mapping[str, str]) -> None:
        name = stanza.get("Package", "")
        if not name or name in self.sources:
            return
        self.sources[name] = sys.intern(stanza.get("Source", name).partition(" ")[0])
        first = _names(stanza.get("Depends", ""), stanza.get("Pre-Depends", ""))
        self.needs[name] = first
        self.dependants.update({*first, *_names(stanza.get("Recommends", ""))})
        if stanza.get("Essential") == "yes":
            self.essential.add(name)
        if name.startswith("python3-"):
            parts = _VERSION.sub("", stanza.get("Depends", "")).split(",")
            self.pythons[name] = tuple(tuple(map(str.strip, part.split("|"))) for part in parts)
        if _DEFAULT.search(name):
            self.defaults.update(first)
        self.wrappers |= {need: name for need in first if need != name and _NUMBERS.sub("", need) == name}

    def finish(self) -> None:
        """Take what needs every package: a default package's own development files, and the libraries to headers alone."""
        for name in list(self.defaults):
            self.defaults.update(need for need in self.libraries(name) if need.endswith("-dev"))
        for name in sorted(self.needs, key=lambda name: (self.dependants[name], name)):  # the most used one last
            if name.endswith("-dev"):
                siblings = [need for need in self.needs[name] if self.sources.get(need) == self.sources[name]]
                self.wrappers |= {need: name for need in siblings if _HEADERS_ONLY.search(need)}

    def libraries(self, name: str) -> tuple[str, ...]:
        """Return a package's own libraries: what it depends on of the same source, directly or not."""
        same_source: list[str] = []
        waiting = [name]
        while waiting:
            current = waiting.pop()
            for need in self.needs.get(current, ()):
                if self.sources.get(need) == self.sources.get(name) and need not in {name, *same_source}:
                    same_source.append(need)
                    waiting.append(need)
        return tuple(same_source)

    def weight(self, name: str) -> int:
        """Return how many packages depend on this one, and on its own libraries."""
        return self.dependants[name] + sum(self.dependants[library] for library in self.libraries(name))

    def flags(self, name: str) -> str:
        """Return letters, or "-": "d", a default package takes it; "p" and "n", it is Python's or Node's alone; "e", essential."""
        needs = self.needs.get(name, ())
        is_python = "python3" in needs and "libc6" not in needs and not name.startswith("lib")
        is_node = "libc6" not in needs and any(need == "nodejs" or need.startswith("node-") for need in needs)
        marks = {"d": name in self.defaults, "p": is_python, "n": is_node, "e": name in self.essential}
        return "".join(mark for mark, is_set in marks.items() if is_set) or "-"


def _names(*fields: str) -> tuple[str, ...]:
    """Return the first alternative of every dependency, without versions."""
    firsts = (part.partition("|")[0] for text in fields for part in _VERSION.sub("", text).split(","))
    # Interned: 63,000 packages name the same few thousand others.
    return tuple(dict.fromkeys(sys.intern(name) for first in firsts if (name := first.strip())))


def packed(contents: Contents, packages: Packages, facts: Mapping[str, Any]) -> bytes:
    """Return the packed index of what was read."""
    contents.simplify()
    contents.add_perl(packages.needs)
    packages.finish()
    # Sorted locations compress better, and the numbers of neighbours become alike.
    order = sorted(contents.locations)
    numbers = {contents.locations[location]: position for position, location in enumerate(order)}
    names = (
        (name, " ".join(str(numbers[number]) for number in contents.names[name]).encode())
        for name in sorted(contents.names, key=lambda name: name.decode(errors="replace"))
    )
    owners = contents.package_names()
    # Of what Debian's own copy of a Python package rests on counts what has a file that can be looked for, and is no Python.
    brings = {name for name in owners if not name.startswith("python")} - _EVERYWHERE
    rests_on = {
        name: list(dict.fromkeys(need for group in groups if (need := next(filter(brings.__contains__, group), ""))))
        for name, groups in packages.pythons.items()
    }
    lines = (
        f"{name}\t{packages.weight(name)}\t{packages.flags(name)}"
        f"\t{' '.join(packages.libraries(name)[:12])}\t{packages.wrappers.get(name, '')}"
        f"\t{' '.join(rests_on.get(name, ()))}".encode()
        for name in sorted(
            {
                *owners,
                *(name for name, needs in rests_on.items() if needs),
                *filter(_PERLS.fullmatch, packages.needs),
            }
        )
    )
    return pack(facts, names, (b"%s\t%s" % location for location in order), lines)
