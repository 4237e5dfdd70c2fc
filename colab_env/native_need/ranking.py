"""From a missing thing to the packages that bring it, best first: by where its file lies and what Debian builds on it.

No table: a file has to lie where its kind is looked for, for a build in a `-dev` package and for a run in none; then
come the packages that a `*default*` package depends on, then those on which most of the distribution rests, then the
fewest directories in between and the shortest name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from colab_env.native_need.missing import Answer, Candidate, Missing
from colab_env.native_need.packed_index import Index, Location, Package
from colab_env.native_need.rules import DRIVERS

_TRIPLET = re.compile(r"[a-z0-9_]+-linux-(?:gnu|musl)[a-z0-9]*$")
_INCLUDE = re.compile(r"(?:^usr/include|^usr/lib/.*?/include|^usr/share/R/include)(?=/|$)")
_BIN = re.compile(r"(?:usr/)?(?:s?bin|games)$")
_IS_DEV = re.compile(r"-dev(?:el)?(?:$|-)")
_HAS_HEADERS = re.compile(r"-headers$|-sdk$|-jdk|^r-base-core$")  # without that ending, and for builds all the same
# What update-alternatives makes has no package of its own: mpicc is mpicc.openmpi, convert is convert-im6.q16.
_ALTERNATIVE = re.compile(r"\.[a-z]+[0-9]*|-?[0-9.]+|-[a-z]*([a-z]|[0-9.]+q[0-9]+)")
# Words that messages are made of; what is left is the name of a library.
_NOT_WORDS_TEXT = """
a an and any are available backend be been build c can cannot check client compile compiler could dev devel
development error file files find for found from have header headers if in install installed is it least libraries
library libs make missing must need needed needs no not of on or package packages please program properly python
required requires server support sure system that the then this to try unable version via with you your either
"""
_DIRECTORY_VERSION = re.compile(r"[-_]?[0-9][0-9.]*(?=/|$)")  # of lua5.4, apr-1.0, vtk-9.1
_SOURCE_TREE = frozenset({"src", "source", "include", "lib", "vendor", "third_party", "deps", "extern", "external"})
_MOST_OWNERS = 2  # libraries that have a header below their own directories, and still one of them is meant
_NOT_WORDS = frozenset(_NOT_WORDS_TEXT.split())


# The few needs that no file name answers, reviewed by hand, with a source each: the name of a language (kind "compiler") or
# of a command. What lies in a package under its own name is found in the distribution's index, and has no place here.
# Debian's build-essential is what building from source takes for granted: Debian policy 4.2, "Package relationships".
_BUILD_ESSENTIAL = "build-essential"
_SPECIAL_AT_BUILD: dict[str, tuple[str, ...]] = {
    "c": (_BUILD_ESSENTIAL,),
    "c++": (_BUILD_ESSENTIAL,),
    # update-alternatives names of gcc-defaults: gcc(1) and g++(1) of Debian's packages gcc and g++, postinst.
    "cc": (_BUILD_ESSENTIAL,),
    "c99": (_BUILD_ESSENTIAL,),
    "c89": (_BUILD_ESSENTIAL,),
    "gcc": (_BUILD_ESSENTIAL,),
    "g++": (_BUILD_ESSENTIAL,),
    "cpp": (_BUILD_ESSENTIAL,),
    "make": (_BUILD_ESSENTIAL,),
    "fortran": ("gfortran",),  # packages.debian.org/gfortran; f77 and f95 are its update-alternatives names
    "f77": ("gfortran",),
    "f95": ("gfortran",),
    # rustc and cargo are of one version in a release; PyO3 and setuptools-rust need both. cargo depends on rustc.
    "rust": ("cargo",),
    "rustc": ("rustc",),
    "cargo": ("cargo",),
    # Debian Java policy 2.2: programs and builds depend on the default-* packages.
    "java": ("default-jdk-headless",),
    "javac": ("default-jdk-headless",),
    "jni": ("default-jdk-headless",),
    "jni.h": ("default-jdk-headless",),
    "mpi": ("libopenmpi-dev", "mpich"),  # mpi-default-dev depends on the first, debian/README of mpi-defaults
    # pkgconf has provided pkg-config's program since Debian 12 and Ubuntu 23.04: release notes, "pkg-config".
    "pkg-config": ("pkgconf", "pkg-config"),
}
_SPECIAL_AT_RUN: dict[str, tuple[str, ...]] = {
    "java": ("default-jre-headless",),  # Debian Java policy 2.2
    "libjvm.so": ("default-jre-headless",),
    "fortran": ("libgfortran5",),  # gcc's manual, "Fortran ABI": libgfortran.so.5 since gcc 8
}
# CMake's Find modules whose name is neither a pkg-config module nor a library's: cmake-modules(7).
_CMAKE_MODULES: dict[str, str] = {
    "pkgconfig": "pkg-config",
    "pythonlibs": "python",
    "java": "java",
    "jni": "jni",
    "mpi": "mpi",
    "threads": "c",
    "openmp": "c",
    "fortran": "fortran",
    "rust": "rust",
}
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
    "libusb": "usb-1.0",
    "imagemagick": "MagickWand",
    "berkeley": "db",
    "berkeleydb": "db",
    "firebird": "fbclient",
    "swi-prolog": "swipl",
}


@dataclass(frozen=True, kw_only=True)
class _Hit:
    """A package with a file that fits; `extra` counts the directories between where one looks and where the file lies.

    `rank` tells kinds of hits apart, the lower the better: the very file, its name through update-alternatives, words.
    """

    package: Package
    file: str
    extra: int
    rank: int = 0


def packages_for(
    missing: Missing, index: Index, *, installed: Collection[str] = (), own: Mapping[str, str] | None = None
) -> Answer:
    """Return the packages that bring a missing thing, best first.

    `installed` are the packages of this machine: none of them is the answer. `own` is what the project says itself,
    from a thing's name to a package.
    """
    if (named := (own or {}).get(missing.name)) is not None:
        chosen = Candidate(package=named, file="", reason="the project names it in [tool.colab-env.native]")
        return Answer(missing=missing, candidates=(chosen,))
    if DRIVERS.fullmatch(missing.name):
        return Answer(missing=missing, note="it belongs to a driver, and comes with that alone")
    if (special := _special(missing)) is not None:
        return _special_answer(missing, special, installed)
    hits = list(_hits(missing, index))
    fitting = [hit for hit in hits if _fits(hit, missing)]
    best = _ranked(fitting or [hit for hit in hits if missing.phase == "build"], missing, installed)
    new = [hit for hit in best if hit.package.name not in installed]
    if best and (answer := _none_to_install(best[0], missing, installed, has_others=bool(new))) is not None:
        return answer
    candidates = tuple(_candidates(new, installed))
    is_choice = len(new) > 1 and new[0].file == new[1].file
    note = f"{_choice_note(new, installed)}" if is_choice else None
    return Answer(missing=missing, candidates=candidates, is_choice=is_choice, note=note)


def _none_to_install(best: _Hit, missing: Missing, installed: Collection[str], *, has_others: bool) -> Answer | None:
    """Return the answer where the best package is not to be installed: it is there, or the project's Python needs its own."""
    name = best.package.name
    if missing.kind == "command" and missing.phase == "run" and _is_python_program(missing.name, best.package):
        note = (
            "a program of a Python package: put that into the project's dependencies, and its environment's bin on PATH"
        )
        return Answer(missing=missing, note=f"{note} ({name} is for the system's own Python)")
    # Of a header with its directory, libxml/parser.h, the best is the one that is meant, below usr/include/libxml2 too.
    is_whole_path = missing.kind == "header" and "/" in missing.name
    is_certain = best.rank == 0 and (best.extra == 0 or is_whole_path)
    if name not in installed or (has_others and not is_certain):
        return None
    # A tool that asks for a module says the same where it could not start pkg-config at all.
    if missing.kind == "pkg-config" and set(installed).isdisjoint(_SPECIAL_AT_BUILD["pkg-config"]):
        return _special_answer(missing, _SPECIAL_AT_BUILD["pkg-config"], installed)
    return Answer(missing=missing, note=f"{name} has it, and is installed: the cause is another one")


def _is_python_program(name: str, package: Package) -> bool:
    """Say whether a program is a Python distribution's, as uvicorn: the distribution's copy sees no package of a project.

    add-apt-repository of software-properties-common runs on Python too, and is in no index of Python packages: where the
    package is not named as a Python module, the program's name has to begin it.
    """
    if package.name.startswith("python3-"):
        return True
    is_python = package.is_python or any(library.startswith("python3-") for library in package.libraries)
    return is_python and re.match(rf"{re.escape(name)}(?:-|$)", package.name) is not None


def _candidates(hits: list[_Hit], installed: Collection[str]) -> Iterator[Candidate]:
    """Name a package by the one that stands for it, where there is one: that name holds for the next release too."""
    names: set[str] = set()
    for hit in hits:
        wrapper = hit.package.wrapper
        for name in (wrapper, hit.package.name):
            if name is not None and name not in names and name not in installed:
                names.add(name)
                yield Candidate(package=name, file=hit.file, reason=_reason(hit))


def _special(missing: Missing) -> tuple[str, ...] | None:
    name = missing.name.casefold()
    if missing.kind == "header" and re.search(r"(?:^|/)Python\.h$", missing.name):
        return ()  # which one depends on the interpreter: `python_header`
    if missing.kind == "cmake":
        return _SPECIAL_AT_BUILD.get(_CMAKE_MODULES.get(name, ""))
    if missing.kind not in {"compiler", "command", "config-program", "shared-object"} and name != "jni.h":
        return None
    run = _SPECIAL_AT_RUN.get(name) if missing.phase == "run" else None
    return run or (_SPECIAL_AT_BUILD.get(name) if missing.kind != "shared-object" else None)


def _special_answer(missing: Missing, special: tuple[str, ...], installed: Collection[str]) -> Answer:
    if not special:
        return Answer(missing=missing, note="it belongs to the interpreter: install the headers of that very Python")
    new = [name for name in special if name not in installed]
    candidates = tuple(Candidate(package=name, file="", reason="Debian's own choice for it") for name in new)
    return Answer(missing=missing, candidates=candidates, note=None if new else f"{special[0]} is installed")


def python_header(missing: Missing, python: str, *, version: str) -> Answer:
    """Return the package with `Python.h` for an interpreter, named by its real path, such as /usr/bin/python3.11.

    Only the distribution's own Python has its headers in a package; those of uv, conda and pyenv bring them.
    """
    if not re.fullmatch(r"/usr/bin/python3(?:\.\d+)?", python):
        return Answer(missing=missing, note=f"{python} brings its own headers: the cause is another one")
    minor = ".".join(version.split(".")[:2])
    chosen = Candidate(package=f"python{minor}-dev", file=f"usr/include/python{minor}/Python.h", reason="its headers")
    return Answer(missing=missing, candidates=(chosen,))


# --- where a file of each kind lies


def _hits(missing: Missing, index: Index) -> Iterator[_Hit]:
    name = missing.name.strip()
    match missing.kind:
        case "header":
            yield from _headers(name, index)
        case "library":
            yield from _libraries(name, index, missing.phase)
        case "shared-object":
            hits = list(_shared_objects(name, index, missing.phase))
            # A message names the product: "the JACK library", "FluidSynth"
            yield from hits or (_words(name, index, missing.phase) if ".so" not in name else ())
        case "command" | "config-program":
            is_for_run = missing.kind == "config-program" and missing.phase == "run"
            hits = [] if is_for_run else list(_commands(name, index))  # a run needs the library, not how to link it
            library = re.fullmatch(r"(.+)[-_]config", name)
            # Some releases drop the program and keep the library: freetype-config, gpgme-config.
            yield from hits or (_words(library[1], index, missing.phase) if library else ())
        case "pkg-config":
            yield from _modules(name, index)
        case "cmake":
            yield from _cmake(name, index)
        case "typelib":
            yield from _typelibs(name, index)
        case "words":
            yield from _words(name, index, missing.phase)


def _made(index: Index, name: str, location: Location, extra: int, rank: int = 0) -> Iterator[_Hit]:
    for package in location.packages:
        entry = index.package(package) or Package(name=package)
        yield _Hit(package=entry, file=f"{location.directory}/{name}", extra=extra, rank=rank)


def _headers(name: str, index: Index) -> Iterator[_Hit]:
    name = re.sub(r"^(?:\.{1,2}/)+", "", name)
    sub, _, base = name.rpartition("/")
    hits: list[_Hit] = []
    links: list[_Hit] = []
    owners: set[str] = set()
    for location in index.locations(base):
        root = _INCLUDE.search(location.directory)
        # Headers of one Python's own are no answer: a source that asks for others was written for another Python.
        if root is None or re.search(r"/(?:python\d|pypy)", location.directory):
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
        owners.add(re.sub(r"[-\d.]+$", "", parts[0]) if depth > 0 else "")  # lua5.1 and lua5.4 are one library
        hits += _made(index, base, location, max(extra, 0))
    # common/utils.h lies in the own directories of dolfin, pcl and stxxl: who includes it so means a file beside it.
    if not sub or "" in owners or len(owners) <= _MOST_OWNERS:
        yield from hits or links


def _is_library_directory(directory: str) -> int | None:
    """Return how many directories below one that linker and loader look into, or None for none of theirs."""
    parts = directory.removeprefix("usr/").split("/")
    if parts[0] != "lib":
        return None
    return len([part for part in parts[1:] if not _TRIPLET.match(part)])


def _libraries(name: str, index: Index, phase: str) -> Iterator[_Hit]:
    """Look for a library to link, as -l has it; a run opens its shared object."""
    if phase == "run":
        yield from _shared_objects(name, index, phase)
        return
    stem = re.sub(r"^lib|\.(?:so|a)(?:\.[\d.]+)?$", "", name) if name.startswith("lib") and "." in name else name
    for base in (f"lib{stem}.so", f"lib{stem}.a"):
        for location in index.locations(base):
            if (extra := _is_library_directory(location.directory)) is not None:
                yield from _made(index, base, location, extra)


def _shared_objects(name: str, index: Index, phase: str) -> Iterator[_Hit]:
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
        hits = hits or list(_flavoured_objects(stem, index)) or list(_exact_objects(f"lib{stem}.so", index))
    yield from hits


def _exact_objects(name: str, index: Index) -> Iterator[_Hit]:
    for location in index.locations(name):
        if (extra := _is_library_directory(location.directory)) is not None:
            yield from _made(index, name, location, extra)


def _flavoured_objects(stem: str, index: Index) -> Iterator[_Hit]:
    """SDL2 is libSDL2-2.0.so.0, ldap is libldap-2.5.so.0, hdf5 is libhdf5_serial.so.103."""
    for name, location in index.starting(f"lib{stem}"):
        is_flavour = re.fullmatch(r"(?:-[\d.]+(?:\.Q16)?|_serial)\.so\.\d+", name[len(stem) + 3 :])
        if is_flavour and (extra := _is_library_directory(location.directory)) is not None:
            yield from _made(index, name, location, extra, rank=1)


def _commands(name: str, index: Index) -> Iterator[_Hit]:
    base = name.rpartition("/")[2]
    if not index.locations(base):  # "The Vagrant executable": messages write a program as its product
        base = base.lower()
    for location in index.locations(base):
        if _BIN.match(location.directory):
            yield from _made(index, base, location, 0)
        elif re.search(r"/bin[^/]*$", location.directory):  # usr/lib/jvm/java-17-openjdk-amd64/bin/java
            yield from _made(index, base, location, location.directory.count("/"), rank=2)
    for other, location in index.starting(base):
        flavour = _ALTERNATIVE.fullmatch(other[len(base) :])
        if flavour is None or not _BIN.match(location.directory):
            continue
        # convert-im6.q16 is of imagemagick-6.q16, gnuplot-qt of gnuplot-qt; convert-json is another program
        is_own = any(package == other or package.endswith(flavour[1] or "") for package in location.packages)
        if is_own and (len(flavour[1] or "") != 1 or other in location.packages):
            yield from _made(index, other, location, 1, rank=1)


def _modules(name: str, index: Index) -> Iterator[_Hit]:
    module = re.split(r"[\s<>=!]", name)[0].removesuffix(".pc")
    hits = list(_pc(module, index))
    if not hits:  # lua is lua5.4, opencv is opencv4: the nearest name with a number
        for base, location in index.starting(f"{module}"):
            if re.fullmatch(rf"{re.escape(module)}[-_]?[\d.]+\.pc", base) and "pkgconfig" in location.directory:
                hits += _made(index, base, location, 1, rank=1)
    yield from hits or _words(module, index, "build")


def _pc(module: str, index: Index) -> Iterator[_Hit]:
    base = f"{module}.pc"
    for location in index.locations(base):
        parts = [part for part in location.directory.split("/") if not _TRIPLET.match(part)]
        if parts[-1] == "pkgconfig":
            yield from _made(index, base, location, len(parts) - 3)


def _cmake(name: str, index: Index) -> Iterator[_Hit]:
    names = dict.fromkeys([f"{name}Config.cmake", f"{name.lower()}-config.cmake", f"{name}-config.cmake"])
    names |= dict.fromkeys([f"{name.lower()}Config.cmake", f"{name.capitalize()}Config.cmake"])
    hits: list[_Hit] = []
    for base in names:
        for location in index.locations(base):
            # Where find_package looks: lib/cmake/NAME*/, share/NAME*/cmake/, and so on (CMake's manual, "Search procedure").
            parts = location.directory.casefold().split("/")[-2:]
            is_searched = any(part.startswith(name.casefold()) for part in parts)
            hits += _made(index, base, location, 0 if is_searched else 1)
    yield from hits or _words(name, index, "build")


def _typelibs(name: str, index: Index) -> Iterator[_Hit]:
    base = f"{name.removesuffix('.typelib')}.typelib"
    hits = [hit for location in index.locations(base) for hit in _made(index, base, location, 0)]
    if not hits:  # a name without its version
        for other, location in index.starting(f"{name}-"):
            if other.endswith(".typelib"):
                hits += _made(index, other, location, 1)
    yield from hits


def _words(text: str, index: Index, phase: str) -> Iterator[_Hit]:
    """Words of a message are names too: of a pkg-config module, a library, a header, a command, a package."""
    words = re.findall(r"[A-Za-z][A-Za-z0-9+._-]*[A-Za-z0-9+]", text)
    for word in dict.fromkeys(word for word in words if word.casefold() not in _NOT_WORDS and len(word) > 2):
        yield from _word(word, index, phase)


def _word(word: str, index: Index, phase: str) -> Iterator[_Hit]:
    plain = word.casefold()
    bare = re.sub(r"[^a-z0-9+]", "", plain)
    stems = dict.fromkeys([word, plain, plain.removeprefix("lib"), f"lib{plain}", bare, _ALIASES.get(plain, plain)])
    for stem in stems:
        if phase == "run":
            yield from _shared_objects(stem, index, phase)
        else:
            yield from _pc(stem, index)
            yield from _libraries(stem, index, phase)
            yield from (
                replace(hit, rank=1)
                for hit in _headers(f"{stem}.h", index)
                if not hit.extra or (hit.extra < 2 and bare in hit.package.name)
            )
        names = [f"{stem}-dev", stem] if phase == "build" else [stem]
        packages = [package for name in names if (package := index.package(name)) is not None]
        yield from (_Hit(package=package, file="", extra=0, rank=1) for package in packages)
    yield from (replace(hit, rank=hit.rank + 1) for hit in _commands(plain, index))


# --- which of them first


def _fits(hit: _Hit, missing: Missing) -> bool:
    is_dev = bool(_IS_DEV.search(hit.package.name))
    if missing.phase == "run":
        return not is_dev
    return (
        is_dev
        or bool(_HAS_HEADERS.search(hit.package.name))
        or missing.kind in {"command", "config-program", "cmake", "typelib"}
    )


def _ranked(hits: Iterable[_Hit], missing: Missing, installed: Collection[str]) -> list[_Hit]:
    """Return one hit for each package, best first."""

    def key(hit: _Hit) -> tuple[Any, ...]:
        package = hit.package
        is_program = package.name == missing.name.casefold() and "bin/" in hit.file  # find_package(BISON)
        is_built_with = _IS_DEV.search(package.name) or is_program
        return (
            package.name.endswith("-compat"),
            missing.kind in {"config-program", "cmake"} and not is_built_with,
            hit.rank,
            hit.extra > 0,
            not package.is_default,
            package.wrapper is None,
            -package.weight,
            hit.extra,
            len(package.name),
            package.name,
        )

    best: dict[str, _Hit] = {}
    for hit in sorted(hits, key=key):
        best.setdefault(hit.package.name, hit)
    ranked = list(best.values())
    if len(ranked) > 1 and ranked[1].package.name in ranked[0].package.libraries and ranked[1].extra <= ranked[0].extra:
        ranked[:2] = ranked[1::-1]  # the first one needs the second, which has the file itself
    return _chosen(ranked, installed)


def _chosen(ranked: list[_Hit], installed: Collection[str]) -> list[_Hit]:
    """Put first, of packages with the very same file, the one whose library is there, or whose OpenSSL Python links."""

    def preference(hit: _Hit) -> int:
        name = hit.package.name
        return 0 if any(library in installed for library in hit.package.libraries) else 1 if "openssl" in name else 2

    same = [hit for hit in ranked if hit.file and hit.file == ranked[0].file]
    return [*sorted(same, key=preference), *(hit for hit in ranked if hit not in same)]


def _reason(hit: _Hit) -> str:
    if hit.package.is_default:
        return "the one that Debian's default package takes"
    if hit.package.weight:
        return f"{hit.package.weight} packages rest on it"
    return f"it has /{hit.file}" if hit.file else "it has that name"


def _choice_note(hits: list[_Hit], installed: Collection[str]) -> str:
    names = [hit.package.name for hit in hits if hit.file == hits[0].file]
    present = next((library for library in hits[0].package.libraries if library in installed), None)
    why = f"{present} is installed" if present else _reason(hits[0])
    return f"a choice between {', '.join(names)}: {names[0]}, as {why}"
