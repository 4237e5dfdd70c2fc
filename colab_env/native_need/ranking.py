"""From a missing thing to the packages that bring it, best first: by where its file lies and what Debian builds on it.

No table: a file has to lie where its kind is looked for, for a build in a `-dev` package and for a run in none; then
come the packages that a `*default*` package depends on, then those on which most of the distribution rests, then the
fewest directories in between and the shortest name.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from colab_env.machine import Machine
from colab_env.native_need.lookup import IS_DEV, OwnedFile, owned_files
from colab_env.native_need.missing import Answer, Candidate, Missing
from colab_env.native_need.packed_index import Index, Package
from colab_env.native_need.rules import DRIVERS

_HAS_HEADERS = re.compile(r"-headers$|-sdk$|-jdk|^r-base-core$")  # without that ending, and for builds all the same


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
    "mvn": ("maven",),  # update-alternatives of Debian's maven, postinst: its program lies in /usr/share
    "yarn": ("yarnpkg",),  # Debian's name for it; cmdtest has another program of that name
    "mpi": ("libopenmpi-dev", "mpich"),  # mpi-default-dev depends on the first, debian/README of mpi-defaults
    # pkgconf has provided pkg-config's program since Debian 12 and Ubuntu 23.04: release notes, "pkg-config".
    "pkg-config": ("pkgconf", "pkg-config"),
}
_SPECIAL_AT_RUN: dict[str, tuple[str, ...]] = {
    "java": ("default-jre-headless",),  # Debian Java policy 2.2
    "libjvm.so": ("default-jre-headless",),
    "_tkinter": (
        "python3-tk",
    ),  # Debian's python3-stdlib-extensions: the one part of the library that few servers need
    "fortran": ("libgfortran5",),  # gcc's manual, "Fortran ABI": libgfortran.so.5 since gcc 8
}
# What Debian splits off Python's library: the packages of its sources python3-stdlib-extensions, python3-defaults and
# python-pip (pip lies in ensurepip elsewhere).
_PARTS_OF_PYTHON: dict[str, tuple[str, ...]] = {
    "distutils": ("python3-distutils",),
    "ensurepip": ("python3-venv",),
    "lib2to3": ("python3-lib2to3",),
    "idlelib": ("idle",),
    "_gdbm": ("python3-gdbm",),
    "pip": ("python3-pip", "python3-venv"),
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


_NOT_ALWAYS_SEARCHED = frozenset({"/usr/games", "/usr/sbin", "/sbin"})  # directories of programs that a PATH may lack
_NODE_TOOLS = frozenset({"npm", "yarnpkg"})  # they bring the others


def packages_for(
    missing: Missing, index: Index, *, installed: Collection[str] = (), own: Mapping[str, str] | None = None
) -> Answer:
    """Return the packages that bring a missing thing, best first.

    `installed` are the packages of this machine: none of them is the answer. `own` is what the project says itself,
    from a thing's name to a package.
    """
    if (package := (own or {}).get(missing.name)) is not None:
        chosen = Candidate(package=package, file="", reason="the project names it in [tool.colab-env.native]")
        return Answer(missing=missing, candidates=(chosen,))
    if DRIVERS.fullmatch(missing.name):
        return Answer(missing=missing, note="it belongs to a driver, and comes with that alone")
    if (special := _special(missing)) is not None:
        return _special_answer(missing, special, installed)
    found = list(owned_files(missing, index))
    everywhere = [hit for hit in found if hit.package.is_essential]
    hits = [hit for hit in found if not hit.package.is_essential]
    is_there = missing.kind in {"command", "words"} and any(not hit.extra for hit in everywhere)  # not ld.so for ld
    if everywhere and (is_there or not hits):
        return Answer(missing=missing, note=f"every Debian has {everywhere[0].package.name}: the cause is another one")
    fitting = [hit for hit in hits if _fits(hit, missing)]
    best = _ranked(fitting or [hit for hit in hits if missing.phase == "build"], missing, installed)
    # At a run a -dev package comes after the library itself, and counts where that is there: libgmt.so is a link to libgmt.so.6.
    links = [hit for hit in hits if missing.kind == "shared-object" and hit.file.endswith(f"/{missing.name}")]
    best += [hit for hit in links if fitting and hit.package.name not in (other.package.name for other in best)]
    new = [hit for hit in best if hit.package.name not in installed]
    is_link_left = bool(new) and new[0] in links and missing.phase == "run"
    if (
        best
        and not is_link_left
        and (answer := _none_to_install(best[0], missing, installed, has_others=bool(new))) is not None
    ):
        return answer
    candidates = tuple(_candidates(new, installed))
    is_choice = len(new) > 1 and new[0].file == new[1].file
    note = _choice_note(new, installed) if is_choice else None
    if not hits and missing.kind == "header" and index.locations(missing.name.rpartition("/")[2]):
        note = "several libraries have a file of that name in directories of their own: it is the project's own, most likely"
    if not hits and missing.kind == "command" and missing.phase == "run":
        note = (
            "no package of this release has it: if a Python package brings it, put that into the project's dependencies, and"
            " its environment's bin on PATH"
        )
    return Answer(missing=missing, candidates=candidates, is_choice=is_choice, note=note)


def _none_to_install(
    best: OwnedFile, missing: Missing, installed: Collection[str], *, has_others: bool
) -> Answer | None:
    """Return the answer where the best package is not to be installed: it is there, or the project's Python needs its own."""
    name = best.package.name
    if missing.kind == "command" and _is_python_program(missing, best.package):
        note = (
            "a program of a Python package: put that into the project's dependencies, and its environment's bin on PATH"
        )
        return Answer(missing=missing, note=f"{note} ({name} is for the system's own Python)")
    is_of_node = best.package.is_node or name != missing.name  # ng is Angular's there, and no tool of nuclear physics
    if missing.kind == "command" and missing.distribution == "npm" and is_of_node and name not in _NODE_TOOLS:
        note = f"a program of a Node.js package: put that into the project's package.json ({name} is for the system's own Node.js)"
        return Answer(missing=missing, note=note)
    # Of a header with its directory, libxml/parser.h, the best is the one that is meant, below usr/include/libxml2 too.
    is_whole_path = missing.kind == "header" and "/" in missing.name
    is_certain = best.rank == 0 and (best.extra == 0 or is_whole_path)
    if name not in installed or (has_others and not is_certain):
        return None
    # A tool that asks for a module says the same where it could not start pkg-config at all.
    if missing.kind == "pkg-config" and set(installed).isdisjoint(_SPECIAL_AT_BUILD["pkg-config"]):
        return _special_answer(missing, _SPECIAL_AT_BUILD["pkg-config"], installed)
    directory, _, program = f"/{best.file}".rpartition("/")
    if missing.kind == "command" and program == missing.name and directory in _NOT_ALWAYS_SEARCHED:
        note = f"{name} has it, and is installed: {directory} is missing from PATH"
        return Answer(missing=missing, note=note)
    return Answer(missing=missing, note=f"{name} has it, and is installed: the cause is another one")


def _is_python_program(missing: Missing, package: Package) -> bool:
    """Say whether a program is a Python distribution's, as uvicorn: the distribution's copy sees no package of a project.

    add-apt-repository of software-properties-common runs on Python too, and is in no index of Python packages: where the
    package is not named as a Python module, the program's name has to begin it. A build may use one that is a tool by
    itself, as meson is.
    """
    if package.name == "python3-pip":
        return False  # it brings the others
    is_front = any(library.startswith("python3-") for library in package.libraries)
    if package.name.startswith("python3-") or (is_front and missing.phase == "build"):
        return True
    if missing.name.startswith("python"):
        return False  # the interpreter itself, by another name
    is_own = re.match(rf"{re.escape(missing.name)}(?:-|$)", package.name) is not None
    return missing.phase == "run" and is_own and (package.is_python or is_front)


def _candidates(hits: list[OwnedFile], installed: Collection[str]) -> Iterator[Candidate]:
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
    if missing.kind == "python-library":
        return _PARTS_OF_PYTHON.get(missing.name)
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


def answer_on(
    machine: Machine, missing: Missing, index: Index, *, installed: Collection[str], own: Mapping[str, str]
) -> Answer:
    """Return the packages on a machine: as `packages_for`, but what belongs to a Python depends on which one it is."""
    is_header = missing.kind == "header" and re.search(r"(?:^|/)Python\.h$", missing.name) is not None
    is_part = missing.name == "_tkinter" or missing.kind == "python-library"
    if not (is_header or is_part) or missing.name in own:
        return packages_for(missing, index, installed=installed, own=own)
    python = os.path.realpath(shutil.which("python3", path=machine.environ.get("PATH")) or "python3")
    if not is_header and not python.startswith("/usr/bin/"):
        return Answer(missing=missing, note=f"{python} was built without it: a Python of uv's or conda's has it")
    answer = python_header(missing, python) if is_header else packages_for(missing, index, installed=installed, own=own)
    if answer.package in installed:
        return Answer(missing=missing, note=f"{answer.package} has it, and is installed: the cause is another one")
    return answer


def is_own_header(answer: Answer) -> bool:
    """Say whether no package has a header, and its name begins as that of the distribution that includes it."""
    missing = answer.missing
    stem = re.sub(r"[^a-z]", "", (missing.distribution or "").lower())
    is_own = len(stem) > 2 and re.sub(r"[^a-z]", "", missing.name.lower()).startswith(stem)
    return missing.kind == "header" and not answer.candidates and is_own


def python_header(missing: Missing, python: str) -> Answer:
    """Return the package with `Python.h` for an interpreter, named by its real path, such as /usr/bin/python3.11.

    Only the distribution's own Python has its headers in a package; those of uv, conda and pyenv bring them.
    """
    version = re.fullmatch(r"/usr/bin/python(3(?:\.\d+)?)", python)
    if version is None:
        return Answer(missing=missing, note=f"{python} brings its own headers: the cause is another one")
    reason = f"the headers of {python}, for what is built with that"
    chosen = Candidate(
        package=f"python{version[1]}-dev", file=f"usr/include/python{version[1]}/Python.h", reason=reason
    )
    return Answer(missing=missing, candidates=(chosen,))


# --- which of them first


def _fits(hit: OwnedFile, missing: Missing) -> bool:
    is_dev = bool(IS_DEV.search(hit.package.name))
    if missing.phase == "run":
        return not is_dev
    return (
        is_dev
        or bool(_HAS_HEADERS.search(hit.package.name))
        or missing.kind in {"command", "config-program", "cmake", "typelib", "perl-module"}
        or (missing.kind == "words" and "bin/" in hit.file)  # "could not find GNU libtool"
    )


def _ranked(hits: Iterable[OwnedFile], missing: Missing, installed: Collection[str]) -> list[OwnedFile]:
    """Return one hit for each package, best first."""

    def key(hit: OwnedFile) -> tuple[Any, ...]:
        package = hit.package
        is_program = package.name == missing.name.casefold() and "bin/" in hit.file  # find_package(BISON)
        is_built_with = IS_DEV.search(package.name) or is_program
        return (
            package.name.endswith("-compat"),
            missing.kind in {"config-program", "cmake", "words"} and missing.phase == "build" and not is_built_with,
            hit.rank,
            hit.extra > 0,
            not package.is_default,
            package.wrapper is None,
            -package.weight,
            hit.extra,
            len(package.name),
            package.name,
        )

    best: dict[str, OwnedFile] = {}
    for hit in sorted(hits, key=key):
        best.setdefault(hit.package.name, hit)
    ranked = list(best.values())
    is_on_second = len(ranked) > 1 and ranked[1].package.name in ranked[0].package.libraries
    if is_on_second and (ranked[1].rank, ranked[1].extra) <= (ranked[0].rank, ranked[0].extra):
        ranked[:2] = ranked[1::-1]  # the first one needs the second, which has the file itself
    return _chosen(ranked, installed)


def _chosen(ranked: list[OwnedFile], installed: Collection[str]) -> list[OwnedFile]:
    """Put first, of packages with the very same file, the one whose library is there, or whose OpenSSL Python links."""

    def preference(hit: OwnedFile) -> int:
        name = hit.package.name
        return 0 if any(library in installed for library in hit.package.libraries) else 1 if "openssl" in name else 2

    same = [hit for hit in ranked if hit.file and hit.file == ranked[0].file]
    return [*sorted(same, key=preference), *(hit for hit in ranked if hit not in same)]


def _reason(hit: OwnedFile) -> str:
    if hit.dependant:
        return f"{hit.dependant} depends on it"
    if hit.package.is_default:
        return "the one that Debian's default package takes"
    if hit.package.weight:
        return f"{hit.package.weight} packages rest on it"
    return f"it has /{hit.file}" if hit.file else "it has that name"


def _choice_note(hits: list[OwnedFile], installed: Collection[str]) -> str:
    names = [hit.package.name for hit in hits if hit.file == hits[0].file]
    present = next((library for library in hits[0].package.libraries if library in installed), None)
    why = f"{present} is installed" if present else _reason(hits[0])
    return f"a choice between {', '.join(names)}: {names[0]}, as {why}"
