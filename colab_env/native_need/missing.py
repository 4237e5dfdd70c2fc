"""What a failed build or import turned out to miss, or to have failed for instead: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal[
    "config-program",  # gdal-config, pg_config: a program that prints compiler options
    "command",  # any other program: pkg-config, cmake, swig, tesseract
    "header",  # "graphviz/cgraph.h", as #include has it
    "library",  # "hdf5", as -l has it
    "pkg-config",  # "cairo": a module that pkg-config is asked for
    "cmake",  # "OpenCV": a package that find_package looks for
    "typelib",  # "Gtk-3.0"
    "perl-module",  # "Email/Simple.pm", as perl looks for it
    "python-library",  # "distutils", "pip": a part of Python's own library that Debian has in a package of its own
    "shared-object",  # "libGL.so.1", or a name for dlopen or find_library such as "sndfile"
    "compiler",  # a language: "c", "c++", "fortran", "rust", "java" (at a build its compiler, at run time its virtual machine)
    "words",  # a name in free words of a message: "libcap" of "You must install libcap development headers"
    "mention",  # a word of an error that speaks of something absent, without saying that it is this
    "python-package",  # a Python package, such as "usb": what the distribution's own copy of it, python3-usb, rests on
]
Phase = Literal["build", "run"]
OtherKind = Literal[
    "no-wheel",  # no file for this Python or machine
    "build-requirement",  # a Python package that the build backend needs
    "scm-version",  # a version that is in git's tags alone
    "source-mismatch",  # C, Cython or Python code that does not fit this compiler, Cython, NumPy or Python
    "library-version",  # the library is there, and too old or too new
    "hash",
    "damaged",  # an archive
    "incomplete-source",  # a submodule, a file that a Makefile names
    "apt",  # a package that apt's lists do not have
    "conflict",
    "network",
    "memory",
    "disk",
    "driver",  # of NVIDIA, AMD, ...: never apt's
    "display",
    "credentials",
    "permission",
    "tests",
    "python-module",  # a Python package that is not installed
    "own-code",
]


@dataclass(frozen=True)
class _Json:
    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One thing that was looked for and is not there.

    `evidence` is the line that says so, `line` its number in the text (from 1; 0 where a watched run saw it);
    `distribution` is the package that needed it, such as "fiona", or None; `phase` is "build" or "run".
    """

    kind: Kind
    name: str
    evidence: str = ""
    line: int = 0
    distribution: str | None = None
    phase: Phase = "build"

    def __repr__(self) -> str:
        needs = f"{self.distribution} needs " if self.distribution else "missing: "
        return f"{needs}{_WORDS[self.kind].format(self.name)}"


@dataclass(frozen=True, kw_only=True)
class OtherCause:
    """Why it failed, where that is no missing package of the system: the line that says so, and what to do about it."""

    kind: OtherKind
    evidence: str
    line: int
    advice: str

    def __repr__(self) -> str:
        return f"this is not a missing system package: {self.kind}\n  line {self.line}: {self.evidence[:_SHOWN]}\n→ {self.advice}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A package that brings the missing thing: the file that it brings, without the leading slash, and why it stands here."""

    package: str
    file: str
    reason: str

    def __repr__(self) -> str:
        return f"{self.package} ({self.reason})"


@dataclass(frozen=True, kw_only=True)
class Answer(_Json):
    """The packages for one missing thing, best first; `note` says what a reader should know, such as why there is none.

    `is_choice` says that several bring the very same file and that nothing but preference decides.
    """

    missing: Missing
    candidates: tuple[Candidate, ...] = ()
    is_choice: bool = False
    note: str | None = None

    @property
    def package(self) -> str | None:
        """Return the package to install, or None."""
        return self.candidates[0].package if self.candidates else None

    @property
    def summary(self) -> str:
        """Return the package, why it, and which others there are."""
        if not self.candidates:
            return self.note or "no package of this release has it"
        first, *others = self.candidates
        also = f"; also {', '.join(other.package for other in others[:3])}" if others else ""
        return f"{first.package}, {first.reason}{also}"

    def __repr__(self) -> str:
        return f"{self.missing!r}: {self.summary}"


def _place(line: int) -> str:
    """Return what a finding rests on: a line of the text, or what a command was seen to do, which has none."""
    return f"line {line}" if line else "watched"


@dataclass(frozen=True, kw_only=True)
class Explanation(_Json):
    """What a text says: the missing things in the order they will be met, or another cause, and what stays open.

    `not_concluded` are sentences about lines that look like a cause and were passed over; `returncode` is how a command
    that was run for it ended, or None; `answers` are the packages for the findings, one
    for each, where the distribution's index could be asked. `unconfirmed` are words that the text says to be absent, and
    that become a finding where the index has a program or a library of that name. `requirement` is the distribution whose
    build failed, with its version where the text has it ("fiona==1.9.5"), `python` the version it was built for, if the text
    names one, and `advice` what the package index has that needs no build.
    """

    findings: tuple[Missing, ...] = ()
    other: OtherCause | None = None
    not_concluded: tuple[str, ...] = ()
    returncode: int | None = None
    answers: tuple[Any, ...] = ()
    unconfirmed: tuple[Missing, ...] = ()
    requirement: str | None = None
    python: str | None = None
    advice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if self.returncode == 0:
            return "✓ it did not fail"
        lines = [f"{need}\n  {_place(need.line)}: {need.evidence[:_SHOWN]}" for need in self.findings]
        lines = [f"{line}\n  → {answer.summary}" for line, answer in zip(lines, self.answers, strict=False)] or lines
        if install := list(dict.fromkeys(answer.package for answer in self.answers if answer.package)):
            lines.append(f"→ apt-get install {' '.join(install)}")
        lines += [repr(self.other)] if self.other else []
        lines += [f"→ or: {sentence}" for sentence in self.advice]
        lines += [f"  {self.level}: see “Which level?” in docs/system-packages.md"] if self.level else []
        notes = (f"  not concluded: {note}" for note in self.not_concluded)
        return "\n".join([*(lines or ["nothing in it names what is missing"]), *notes])

    @property
    def level(self) -> str | None:
        """Return on which level the cause lies, in the words of docs/system-packages.md; None where none is known."""
        if self.findings:
            is_known = not self.answers or any(answer.package for answer in self.answers)
            return "on the level of the libraries" if is_known else None
        return _LEVELS.get(self.other.kind, "on the level of the application") if self.other else None


@dataclass(frozen=True, kw_only=True)
class BuiltPackage:
    """One locked package that has no wheel for a target, so that it is built there.

    `elsewhere` are the Pythons that this version has a wheel for, such as "3.12"; `needs` is what its source archive asks
    the system for, where that was read; `note` says why it was not; `advice` is what the package index has that needs no build.
    """

    name: str
    version: str
    elsewhere: tuple[str, ...] = ()
    needs: tuple[Missing, ...] = ()
    note: str | None = None
    advice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        wheels = f"; there is a wheel for Python {', '.join(self.elsewhere)}" if self.elsewhere else ""
        lines = [f"{self.name} {self.version} is built{wheels}"]
        lines += [f"  needs {_WORDS[need.kind].format(need.name)} ({need.evidence[:_SHOWN]})" for need in self.needs]
        lines += [f"  {sentence}" for sentence in (self.note, *self.advice) if sentence]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Check(_Json):
    """What a lock file will have built on a `target`, such as "linux/arm64, Python 3.12", of `count` packages there.

    `install` are the packages of this machine's distribution that the builds need and that are not installed; `unknown` are
    packages none of whose files the lock file names.
    """

    lock: str
    target: str
    count: int
    built: tuple[BuiltPackage, ...] = ()
    install: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if self.unknown:
            files = f"{self.lock} names no file of {len(self.unknown)} of {self.count} packages: {_few(self.unknown)}"
            known = replace(self, count=self.count - len(self.unknown), unknown=())
            return f"{files}\n→ lock anew with the newest version of its tool" + (f"\n{known}" if known.count else "")
        if not self.built:
            return f"✓ {self.lock}: all {self.count} packages have a wheel for {self.target}"
        head = f"{self.lock}: {len(self.built)} of {self.count} packages have no wheel for {self.target}"
        line = [f"→ apt-get install --no-install-recommends {' '.join(self.install)}"] if self.install else []
        return "\n".join([head, *map(repr, self.built), *line])


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


_LEVELS: dict[str, str] = {
    "library-version": "on the level of the libraries",
    "permission": "on the level of the operating system",
    "memory": "on the level of the hardware",
    "disk": "on the level of the hardware",
    "driver": "on the level of the hardware",
    "display": "on the level of the hardware",
}
_SHOWN = 200  # characters of a line
_WORDS: dict[str, str] = {
    "config-program": "the program {}",
    "command": "the command {}",
    "header": "the header {}",
    "library": "the library {}",
    "pkg-config": "{}, as pkg-config knows it",
    "cmake": "{}, as CMake finds it",
    "typelib": "the GObject typelib {}",
    "perl-module": "the Perl module {}",
    "python-library": "{}, a part of Python's own library",
    "shared-object": "the shared library {}",
    "compiler": "what compiles or runs {}",
    "words": "what it calls “{}”",
    "mention": "“{}”, which its error mentions",
    "python-package": "what the distribution's own {} rests on",
}
