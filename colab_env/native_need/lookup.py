"""Where a file of each kind has to lie to be an answer, and which packages own one that lies there."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from colab_env.native_need.contents import perl_packages
from colab_env.native_need.missing import Explanation, Missing
from colab_env.native_need.packed_index import Index, Location, Package
from colab_env.native_need.sentences import MESSAGE_WORDS

_TRIPLET = re.compile(r"[a-z0-9_]+-linux-(?:gnu|musl)[a-z0-9]*$")
_INCLUDE = re.compile(r"(?:^usr/include|^usr/lib/.*?/include|^usr/share/R/include|^usr/lib/.*?/perl/[^/]+/CORE)(?=/|$)")
_BIN = re.compile(r"(?:usr/)?(?:s?bin|games)$")
# What update-alternatives makes has no package of its own: mpicc is mpicc.openmpi, convert is convert-im6.q16, pdftk is
# pdftk.pdftk-java.
_ALTERNATIVE = re.compile(r"\.[a-z]+[a-z0-9-]*|-?[0-9.]+|-[a-z]*([a-z]|[0-9.]+q[0-9]+)")
_DIRECTORY_VERSION = re.compile(r"[-_]?[0-9][0-9.]*(?=/|$)")  # of lua5.4, apr-1.0, vtk-9.1
_SOURCE_TREE = frozenset({"src", "source", "include", "lib", "vendor", "third_party", "deps", "extern", "external"})
IS_DEV = re.compile(r"-dev(?:el)?(?:$|-)")
_IN_OWN_DIRECTORY = 2  # rank of a program that lies in a directory of another's, which is not on PATH
_DEEPEST = 2  # directories below the one where one looks
_MOST_OWNERS = 2  # libraries that have a header below their own directories, and still one of them is meant
# What a message or a CMake module calls by another name than its library has: the library's own documentation.
_ALIASES: dict[str, str] = {
    "bzip2": "bz2",
    "postgresql": "pq",
    "postgres": "pq",
    "mysql": "mysqlclient",
    "mariadb": "libmariadb",
    "ffmpeg": "libavcodec",
    "kerberos": "krb5",
    "rabbitmq-c": "rabbitmq",
    "xz": "lzma",
    "liblzma": "lzma",
    "libjpeg-turbo": "turbojpeg",
    "yacc": "bison",
    "libusb": "usb-1.0",
    "imagemagick": "MagickWand",
    "berkeley": "db",
    "berkeleydb": "db",
    "firebird": "fbclient",
    "swi-prolog": "swipl",
    "chrome": "chromium",  # Debian has the free build of it alone: packages.debian.org/chromium
}


@dataclass(frozen=True, kw_only=True)
class OwnedFile:
    """A package with a file that fits; `extra` counts the directories between where one looks and where the file lies.

    `rank` tells kinds of hits apart, the lower the better: the very file, its name through update-alternatives, words.
    """

    package: Package
    file: str
    extra: int
    rank: int = 0
    dependant: str = ""  # the package that depends on it, where that is why it stands here


def owned_files(missing: Missing, index: Index) -> Iterator[OwnedFile]:
    name = missing.name.strip()
    if (by_file := _BY_FILE.get(missing.kind)) is not None:
        yield from by_file(name, index)
        return
    match missing.kind:
        case "library":
            yield from _libraries(name, index, missing.phase)
        case "shared-object":
            hits = list(_shared_objects(name, index, missing.phase))
            # A message names the product: "the JACK library", "FluidSynth"
            words = _words(name, index, missing.phase) if ".so" not in name and not hits else ()
            yield from hits or (hit for hit in words if "bin/" not in hit.file)  # unrar is no library of unrar-free's
        case "command" | "config-program":
            is_for_run = missing.kind == "config-program" and missing.phase == "run"
            hits = [] if is_for_run else list(_commands(name, index))  # a run needs the library, not how to link it
            hits = hits or list(_commands(_ALIASES.get(name.casefold(), name), index))
            product = index.package(name.casefold())  # "GraphViz's executables": those of the package of that name
            hits = hits or ([OwnedFile(package=product, file="", extra=0, rank=1)] if product else [])
            library = re.fullmatch(r"(.+)[-_]config", name)
            # Some releases drop the program and keep the library: freetype-config, gpgme-config.
            yield from hits or (_words(library[1], index, missing.phase) if library else ())
        case "words" | "mention":
            yield from _words(name, index, missing.phase)
        case "python-package":
            yield from _rested_on(name, index, missing.phase)


def _made(index: Index, name: str, location: Location, extra: int, rank: int = 0) -> Iterator[OwnedFile]:
    for package in location.packages:
        entry = index.package(package) or Package(name=package)
        yield OwnedFile(package=entry, file=f"{location.directory}/{name}", extra=extra, rank=rank)


def _headers(name: str, index: Index) -> Iterator[OwnedFile]:
    name = re.sub(r"^(?:\.{1,2}/)+", "", name)
    sub, _, base = name.rpartition("/")
    hits: list[OwnedFile] = []
    links: list[OwnedFile] = []
    owners: set[str] = set()
    for location in index.locations(base):
        root = _INCLUDE.search(location.directory)
        # Headers of one Python's own are no answer: a source that asks for others was written for another Python. Nor are
        # those for plugins of GCC, and those of another C library.
        if root is None or re.search(r"/(?:python\d|pypy|plugin/)|[-/]musl(?:/|$)", location.directory):
            continue
        inner = location.directory[root.end() :].strip("/")
        parts = [part for part in inner.split("/") if part and not _TRIPLET.match(part)]
        depth = len(parts) - len(sub.split("/")) if sub else len(parts)
        if sub and not f"/{inner}".endswith(f"/{sub}"):
            # Every library has its config.h: without its directory that is another file. But releases differ in the version
            # of a directory, and Debian's usr/include/mysql of mysql/mysql.h is a link, which Contents does not follow.
            is_versioned = f"/{_DIRECTORY_VERSION.sub('', inner)}".endswith(f"/{_DIRECTORY_VERSION.sub('', sub)}")
            if is_versioned or sub == base.rpartition(".")[0]:
                links += _made(index, base, location, len(parts), rank=3)
            continue
        extra = depth + (0 if root[0] == "usr/include" else len(root[0].split("/")) - 3)
        if depth > 0 and sub.partition("/")[0] in _SOURCE_TREE:
            continue
        if depth >= _DEEPEST and not sub:  # who includes it so is not led there by any -I
            continue
        owner = re.sub(r"[-\d.]+$", "", parts[0]) if depth > 0 else ""  # lua5.1 and lua5.4 are one library
        owners.add(owner)
        hits += _made(index, base, location, max(extra, 0))
    # config.h, common/utils.h lie in the own directories of many: who includes it so means a file beside it.
    stem = base.partition(".")[0]
    is_common = stem in MESSAGE_WORDS if not sub else "" not in owners and len(owners) > _MOST_OWNERS
    if is_common and not sub:  # archive.h, where libarchive-dev alone has it right where one looks
        hits = [hit for hit in hits if not hit.extra and stem in hit.package.name]
        is_common = not hits
    if not is_common:
        yield from hits or links


def _is_library_directory(directory: str) -> int | None:
    """Return how many directories below one that linker and loader look into, or None for none of theirs."""
    parts = directory.removeprefix("usr/").split("/")
    if parts[0] != "lib":
        return None
    return len([part for part in parts[1:] if not _TRIPLET.match(part)])


def _libraries(name: str, index: Index, phase: str) -> Iterator[OwnedFile]:
    """Look for a library to link, as -l has it; a run opens its shared object."""
    if phase == "run":
        yield from _shared_objects(name, index, phase)
        return
    stem = re.sub(r"^lib|\.(?:so|a)(?:\.[\d.]+)?$", "", name) if name.startswith("lib") and "." in name else name
    for base in (f"lib{stem}.so", f"lib{stem}.a"):
        for location in index.locations(base):
            if (extra := _is_library_directory(location.directory)) is not None:
                hits = _made(index, base, location, extra)
                # No linker looks below there by itself: hdf5/serial is libhdf5-dev's, wine's libwinmm.a is nobody's library.
                yield from (hit for hit in hits if not extra or stem.casefold() in hit.package.name)


def _shared_objects(name: str, index: Index, phase: str) -> Iterator[OwnedFile]:
    base = name.rpartition("/")[2]
    stem, dot, version = re.sub(r"^lib", "", base).partition(".so")
    if phase == "build" and not version:
        yield from _libraries(stem, index, "build")
        return
    # find_library("gobject-2.0") and dlopen("gobject-2.0-0") mean libgobject-2.0.so.0.
    exact = re.fullmatch(r"(.+)-(\d+)", stem)
    names = [f"lib{stem}.so{version}"] if version else []
    names += [f"lib{exact[1]}.so.{exact[2]}"] if exact and not dot and not version else []
    hits = [hit for soname in names for hit in _exact_objects(soname, index)]
    if not hits and version.count(".") > 1:  # libz.so.1.2.13: the index has libz.so.1
        hits = list(_exact_objects(f"lib{stem}.so.{version.split('.')[1]}", index))
    if not hits and not version:
        for soname, location in index.starting(f"lib{stem}.so."):
            if (extra := _is_library_directory(location.directory)) is not None:
                hits += _made(index, soname, location, extra)
        hits = hits or list(_flavoured_objects(stem, index))
        if (
            dot and phase == "run"
        ):  # whoever tries no other name than libgmt.so, as CDLL does, needs the -dev package's link
            hits += [replace(hit, rank=2) for hit in _exact_objects(f"lib{stem}.so", index) if hit.extra == 0]
        # A plugin in a directory of a program's own may have a library's name, as compiz/libpng.so.
        hits = hits or [hit for hit in _exact_objects(f"lib{stem}.so", index) if hit.extra == 0]
    yield from hits


def _exact_objects(name: str, index: Index) -> Iterator[OwnedFile]:
    for location in index.locations(name):
        if (extra := _is_library_directory(location.directory)) is not None:
            yield from _made(index, name, location, extra)


def _flavoured_objects(stem: str, index: Index) -> Iterator[OwnedFile]:
    """SDL2 is libSDL2-2.0.so.0, ldap is libldap-2.5.so.0, hdf5 is libhdf5_serial.so.103."""
    for name, location in index.starting(f"lib{stem}"):
        is_flavour = re.fullmatch(r"(?:-[\d.]+(?:\.Q16)?|_serial)\.so\.\d+", name[len(stem) + 3 :])
        if is_flavour and (extra := _is_library_directory(location.directory)) is not None:
            yield from _made(index, name, location, extra, rank=1)


def _commands(name: str, index: Index) -> Iterator[OwnedFile]:
    base = name.rpartition("/")[2]
    if not index.locations(base):  # "The Vagrant executable": messages write a program as its product
        base = base.lower()
    for location in index.locations(base):
        if _BIN.match(location.directory):
            yield from _made(index, base, location, 0)
        elif re.search(r"/bin[^/]*$", location.directory):  # usr/lib/jvm/java-17-openjdk-amd64/bin/java
            yield from _made(index, base, location, location.directory.count("/"), rank=_IN_OWN_DIRECTORY)
    for other, location in index.starting(base):
        flavour = _ALTERNATIVE.fullmatch(other[len(base) :])
        if flavour is None or not _BIN.match(location.directory):
            continue
        # convert-im6.q16 is of imagemagick-6.q16, gnuplot-qt of gnuplot-qt; convert-json is another program
        is_own = any(package == other or package.endswith(flavour[1] or "") for package in location.packages)
        if is_own and (len(flavour[1] or "") != 1 or other in location.packages):
            yield from _made(index, other, location, 1, rank=1)


def _modules(name: str, index: Index) -> Iterator[OwnedFile]:
    module = re.split(r"[\s<>=!]", name)[0].removesuffix(".pc")
    hits = list(_pc(module, index))
    if not hits:  # lua is lua5.4, opencv is opencv4: the nearest name with a number
        for base, location in index.starting(f"{module}"):
            if re.fullmatch(rf"{re.escape(module)}[-_]?[\d.]+\.pc", base) and "pkgconfig" in location.directory:
                hits += _made(index, base, location, 1, rank=1)
    yield from hits or _words(module, index, "build")


def _pc(module: str, index: Index) -> Iterator[OwnedFile]:
    base = f"{module}.pc"
    for location in index.locations(base):
        parts = [part for part in location.directory.split("/") if not _TRIPLET.match(part)]
        if parts[-1] == "pkgconfig":
            yield from _made(index, base, location, len(parts) - 3)


def _cmake(name: str, index: Index) -> Iterator[OwnedFile]:
    yield from list(_cmake_files(name, index)) or _words(name, index, "build")


def _cmake_files(name: str, index: Index) -> Iterator[OwnedFile]:
    names = dict.fromkeys([f"{name}Config.cmake", f"{name.lower()}-config.cmake", f"{name}-config.cmake"])
    names |= dict.fromkeys([f"{name.lower()}Config.cmake", f"{name.capitalize()}Config.cmake"])
    hits: list[OwnedFile] = []
    for base in names:
        for location in index.locations(base):
            # Where find_package looks: lib/cmake/NAME*/, share/NAME*/cmake/, and so on (CMake's manual, "Search procedure").
            parts = location.directory.casefold().split("/")[-2:]
            is_searched = any(part.startswith(name.casefold()) for part in parts)
            hits += _made(index, base, location, 0 if is_searched else 1)
    if not hits:  # Eigen is Eigen3
        for base, location in index.starting(name):
            if re.fullmatch(rf"{re.escape(name)}\d+Config\.cmake", base):
                hits += _made(index, base, location, 1, rank=1)
    yield from hits


def _typelibs(name: str, index: Index) -> Iterator[OwnedFile]:
    base = f"{name.removesuffix('.typelib')}.typelib"
    hits = [hit for location in index.locations(base) for hit in _made(index, base, location, 0)]
    if not hits:  # a name without its version
        for other, location in index.starting(f"{name}-"):
            if other.endswith(".typelib"):
                hits += _made(index, other, location, 1)
    yield from hits


_PERLS_LIBRARY = re.compile(r"usr/(?:share|lib/[^/]+)/perl/[\d.]+(?:/(.+))?")


def _perl_modules(name: str, index: Index) -> Iterator[OwnedFile]:
    """Look for a Perl module such as Email/Simple.pm, or Email::Simple, in Perl's own library, then by its name.

    Debian's packages have the name of the module that they are for (Perl policy 4.2), and most bring modules below it.
    """
    parts = name.removesuffix(".pm").replace("::", "/").split("/")
    base = f"{parts[-1]}.pm"
    for location in index.locations(base):
        inner = _PERLS_LIBRARY.fullmatch(location.directory)
        if inner and (inner[1] or "").split("/") == (parts[:-1] or [""]):
            # Its parts, perl-modules-5.36 and libperl5.36, change their names with each version.
            yield OwnedFile(
                package=index.package("perl") or Package(name="perl"), file=f"{location.directory}/{base}", extra=0
            )
            return
    prefixes = ["/".join(parts[:number]) for number in range(len(parts), 0, -1)]
    for depth, prefix in enumerate(prefixes):
        at = (location for location in index.locations(f"{prefix}.pm") if location.directory == "usr/share/perl5")
        called_otherwise = [name for location in at for name in location.packages]
        if packages := list(_known(called_otherwise or perl_packages(prefix), index)):
            yield from (OwnedFile(package=package, file="", extra=0, rank=depth) for package in packages)
            return


def _known(names: Iterable[str], index: Index) -> Iterator[Package]:
    yield from (package for name in names if (package := index.package(name)) is not None)


def _words(text: str, index: Index, phase: str) -> Iterator[OwnedFile]:
    """Words of a message are names too: of a pkg-config module, a library, a header, a command, a package."""
    words = re.findall(r"[A-Za-z][A-Za-z0-9+._-]*[A-Za-z0-9+]", text)
    joined = ["".join(words), "-".join(words)] if len(words) > 1 else []  # Open Babel is openbabel
    names = [word for word in words if word.casefold() not in MESSAGE_WORDS and len(word) > 2]
    # libevent2 is libevent, where nothing is called so
    if not joined and names and re.fullmatch(r"[A-Za-z]+\d", names[0]) and not any(_word(names[0], index, phase)):
        names = [names[0][:-1]]
    for word in dict.fromkeys((*joined, *names)):
        # Of "git checkout", git is no more the name than checkout is: only one word alone may be a program.
        is_whole = not joined or word in joined
        yield from (hit for hit in _word(word, index, phase) if is_whole or (hit.file and "bin/" not in hit.file))


def _word(word: str, index: Index, phase: str) -> Iterator[OwnedFile]:
    plain = word.casefold()
    bare = re.sub(r"[^a-z0-9+]", "", plain)
    stems = dict.fromkeys([word, plain, plain.removeprefix("lib"), f"lib{plain}", bare, _ALIASES.get(plain, plain)])
    for stem in stems:
        if phase == "run":  # whoever runs ImageMagick means its programs, before its library
            is_other = stem != plain and stem == _ALIASES.get(plain) and bool(_called(plain, index))
            yield from (replace(hit, rank=hit.rank + 2 * is_other) for hit in _shared_objects(stem, index, phase))
        else:
            yield from _pc(stem, index)
            yield from _libraries(stem, index, phase)
            yield from (replace(hit, rank=1) for hit in _cmake_files(stem, index))
            yield from (
                replace(hit, rank=1)
                for hit in _headers(f"{stem}.h", index)
                if not hit.extra or (hit.extra < 2 and bare in hit.package.name)
            )
        # Debian's names lose the number of a version: libfontconfig1-dev is libfontconfig-dev
        names = [f"{stem}-dev", stem, re.sub(r"\d+(?=-dev$)", "", stem)] if phase == "build" else [stem]
        packages = [package for name in names for package in _called(name, index)]
        yield from (OwnedFile(package=package, file="", extra=0, rank=1) for package in packages)
    programs = dict.fromkeys([plain, _ALIASES.get(plain, plain)])
    hits = (hit for program in programs for hit in _commands(program, index) if hit.rank < _IN_OWN_DIRECTORY)
    yield from (replace(hit, rank=hit.rank + (2 if phase == "build" else 1)) for hit in hits)


_BY_FILE: dict[str, Callable[[str, Index], Iterator[OwnedFile]]] = {
    "header": _headers,
    "pkg-config": _modules,
    "cmake": _cmake,
    "typelib": _typelibs,
    "perl-module": _perl_modules,
}


# --- what a text calls absent in free words


def needs(explanation: Explanation, index: Index, *, installed: Collection[str] = ()) -> tuple[Missing, ...]:
    """Return what an explanation found missing; where that is nothing, the absent words that the index confirms.

    A word that is only mentioned counts where none is called absent, and what the distribution's own copy of the Python
    package rests on where no word is known: the first of them that is not installed.
    """
    findings, unconfirmed = explanation.findings, explanation.unconfirmed
    if unconfirmed and not any(True for missing in findings for _ in owned_files(missing, index)):
        said = [missing for missing in unconfirmed if missing.kind == "words"]
        if confirmed := tuple(_confirmed(said, index)):
            return confirmed
        loose = (other for missing in unconfirmed if missing.kind != "words" for other in _loosely(missing, index))
        return next(((other,) for other in loose if _is_absent(other, index, installed)), findings)
    return findings


def _loosely(missing: Missing, index: Index) -> Iterator[Missing]:
    if missing.kind == "mention":
        yield from _confirmed((missing,), index)
    elif copy := _own_copy(missing, index):
        yield copy


def _is_absent(missing: Missing, index: Index, installed: Collection[str]) -> bool:
    names = [hit.package.name for hit in owned_files(missing, index)]
    present = [name in installed for name in names]
    return bool(names) and not (all(present) if missing.kind == "python-package" else any(present))


def _own_copy(missing: Missing, index: Index) -> Missing | None:
    """Return the need with the name of the distribution's own copy: python3-usb of usb and of pyusb (Debian Python policy 4.3)."""
    plain = re.sub(r"[-_.]+", "-", missing.name.casefold())
    bare = re.sub(r"^(?:python3?-?|py-?)|-?(?:python3?|py)$", "", plain)
    names = dict.fromkeys(f"python3-{stem}" for stem in (plain, f"py{plain}", bare) if stem)
    name = next((name for name in names if (package := index.package(name)) and package.needs), None)
    return replace(missing, name=name) if name else None


def _rested_on(name: str, index: Index, phase: str) -> Iterator[OwnedFile]:
    package = index.package(name)
    for rank, need in enumerate(package.needs if package else ()):
        owner = index.package(need) or Package(name=need)
        if phase == "run":
            needed = [index.package(library) for library in owner.libraries] if IS_DEV.search(need) else [owner]
        else:
            stem = re.split(r"[\d.]", need)[0]
            needed = [index.package(other) for other in index.package_names(stem) if IS_DEV.search(other)]
            needed = [other for other in needed if other and need in (other.name, *other.libraries)]
        for other in needed:
            if other is not None:
                yield OwnedFile(package=other, file="", extra=0, rank=rank, dependant=name)


def _confirmed(subjects: Sequence[Missing], index: Index) -> Iterator[Missing]:
    """Yield those that the index has as a program, a library or a package of that very name, outside Python's own packages."""
    for missing in subjects:
        joined = missing.name.replace(" ", "")  # Open Babel is openbabel
        for word in dict.fromkeys((joined, joined.lower())):
            library = word if word.startswith("lib") else f"lib{word}"
            is_program = _has_file(word, index, lambda directory: _BIN.match(directory) is not None)
            is_library = _has_file(f"{library}.so", index, lambda directory: _is_library_directory(directory) == 0)
            if is_library and missing.phase == "build":
                yield replace(missing, name=library)
            elif is_program:
                yield replace(missing, kind="command", name=word)
            elif is_library:
                yield replace(missing, kind="shared-object", name=f"{library}.so")
            elif any(not package.is_python for package in _called(word, index)):
                yield replace(missing, name=word)
            else:
                continue
            break


def _called(name: str, index: Index) -> list[Package]:
    """Return the package of that name, or what stands under it where that has no files: imagemagick is imagemagick-6.q16."""
    if (package := index.package(name)) is not None:
        return [package]
    others = (index.package(other) for other in index.package_names(f"{name}-"))
    return [package for package in others if package is not None and package.wrapper == name]


def _has_file(file: str, index: Index, is_fitting: Callable[[str], bool]) -> bool:
    """Say whether a package that is not Python's has a file of this name in a fitting directory."""
    for location in index.locations(file) if file else ():
        packages = (index.package(name) or Package(name=name) for name in location.packages)
        is_python = all(package.is_python or package.name.startswith("python") for package in packages)
        if is_fitting(location.directory) and not is_python:
            return True
    return False
