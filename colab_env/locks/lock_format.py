"""A lock file, and what colab-env has to know about its format."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colab_env import _files, toml_text
from colab_env.errors import MissingStepError, ProjectFileError, UsageError
from colab_env.locks import installing, requirements_text
from colab_env.locks.requirements_text import normalized
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection, Target
    from colab_env.machine import Machine


# A package in TOML, in JSON, in a requirements file.
_NAMED = (
    re.compile(r"""(?m)^name = "([^"\n]+)"\nversion = "([^"\n]+)\""""),
    re.compile(r'"([\w.-]+)": \{[^{}]*"version": "==([^"\n]+)"'),
    re.compile(r"(?m)^([\w.-]+)(?:\[[\w., -]*\])?[ \t]*==[ \t]*([^\s;#\\,]+)"),
)
_SMALL = 50_000  # characters; Python's parser takes a second for a megabyte
_CONFLICT = re.compile(rb"(?m)^(?:<<<<<<< |>>>>>>> )")


@dataclass(frozen=True, kw_only=True)
class LockFile:
    """A lock file, read once: its absolute `path`, its `format`, and the `pyproject` beside it.

    Where a project has none yet, it is the one that the format's tool will make.
    """

    path: Path
    format: LockFormat
    pyproject: Pyproject

    @property
    def directory(self) -> Path:
        """Return the directory that relative paths in the file start from."""
        return self.path.parent

    @cached_property
    def is_there(self) -> bool:
        """Say whether anything is at the path; what is no file is refused when it is read."""
        return os.path.lexists(self.path)

    @cached_property
    def content(self) -> bytes:
        """Return the file's bytes, as UTF-8; nothing where it is not there. Raises ProjectFileError for what is no file."""
        return requirements_text.as_utf8(_files.content(self.path) or b"")

    @property
    def text(self) -> str:
        """Return what the file says. Raises ProjectFileError where that is no text."""
        with reading(self):
            return self.content.decode("utf-8")

    @property
    def requires_python(self) -> str | None:
        """Return the Python that the lock file asks for by itself, or through the pyproject.toml beside it, or None."""
        return self.format.requires_python(self) if self.is_there else self.pyproject.requires_python

    @property
    def asks_for_python(self) -> Path:
        """Return the file that `requires_python` stands in."""
        return self.path if self.format.names_python and self.is_there else self.pyproject.path

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions that the file seems to name, by normalized name, where it is one for each.

        Good enough for what may begin before the environment is there, whatever the format.
        """
        text = self.content.decode("utf-8", "replace") if self.is_there else ""
        by_name: dict[str, set[str]] = {}
        for name, version in (match for pattern in _NAMED for match in pattern.findall(text)):
            by_name.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
        return {name: versions.pop() for name, versions in by_name.items() if len(versions) == 1}

    def named_at(self, name: str) -> str | None:
        """Return the file and line that name a distribution, such as "requirements.txt, line 3", or None."""
        pattern = re.compile(rb"(?i)(?<![\w.-])" + re.escape(name).replace("\\-", "[-_.]+").encode() + rb"(?![\w-])")
        for file, content in self.format.inputs(self):
            if match := pattern.search(content):
                line = content.count(b"\n", 0, match.start()) + 1
                return f"{file}, line {line}"
        return None

    @cached_property
    def digest(self) -> str:
        """Return a checksum of everything that the lock file says: when it changes, so does the environment."""
        return self.format.digest(self)


@contextlib.contextmanager
def reading(lock: LockFile) -> Iterator[None]:
    """Raise ProjectFileError for a file that is damaged: what is not as its tool writes it fails in many ways."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        # A parser's words say where; those of Python would name this package's own variables.
        reason = str(error).partition("\n")[0] if isinstance(error, ValueError) else "it is not as its tool writes it"
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else reason
        msg = f"{short(lock.path)} cannot be read as {lock.format.name}: {reason}"
        raise ProjectFileError(
            msg, hint="mend the file, or make it anew with its own tool; nothing was changed"
        ) from error


class LockFormat:
    """One format: a subclass in a module of its own in `colab_env.formats`, where it is found.

    What is here holds for a file that says, in pip's words, exactly which versions are wanted.
    """

    name: ClassVar[str]
    """What people call it, such as "uv.lock"."""
    rank: ClassVar[int]
    """The lower, the sooner it is looked for in a project: the most exact first."""
    file_names: ClassVar[tuple[str, ...]]
    """The names that it is found by in a project."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """How the name of another file ends that somebody may mean with `lock=`."""
    options: ClassVar[frozenset[str]] = frozenset({"extras", "groups", "keep", "isolated"})
    """Which options it has; "isolated" is system_site_packages=False, "poetry" installer="poetry"."""
    installed_by: ClassVar[str] = "uv"
    """The tool that installs it."""
    adding: ClassVar[str] = ""
    """The command with which its tool adds a package to a project, in front of the package's name; empty: one writes a line."""
    is_loose: ClassVar[bool] = False
    """It may name no exact versions, so dependencies in the project's pyproject.toml come first."""
    names_python: ClassVar[bool] = False
    """The Python that it asks for stands in the file itself, not in the pyproject.toml beside it."""
    is_python_advice: ClassVar[bool] = False
    """Its tool looks for the Python that it asks for, and only warns where a person names another one."""
    brings_python: ClassVar[bool] = False
    """Its packages belong to the interpreter, which is made from the file."""
    is_lock: ClassVar[bool] = True
    """It says which versions; else it is what a project is described by, and counts where nothing else does."""
    is_made_by_tool: ClassVar[bool] = False
    """Its tool makes it where a project has no lock file. There is one such format."""
    project_files: ClassVar[tuple[str, ...]] = ()
    """The files of the project that its tool reads and may write: put back when an installation fails."""

    @property
    def tool(self) -> str:
        """The tool whose own file it is, such as "poetry"; empty for a file of everybody's."""
        return self.adding.partition(" ")[0]

    def paths(self, project: Path, pyproject: Pyproject) -> Iterator[Path]:
        """Yield where a project's file of this format may be: in its directory, by each of the names."""
        return (project / name for name in self.file_names)

    @property
    def is_toml(self) -> bool:
        """Say whether its files are TOML."""
        return self.name.endswith(".toml") or self.name in ("poetry.lock", "uv.lock", "pdm.lock")

    def matches(self, name: str) -> bool:
        """Say whether a file of this name is of this format."""
        return name in self.file_names or Path(name).suffix in self.suffixes

    def described(self, lock: LockFile) -> str:
        """Return what a note calls the file."""
        return lock.path.name

    def requires_python(self, lock: LockFile) -> str | None:
        """Return the specifier that the file, or the pyproject.toml beside it, has for Python, or None."""
        return lock.pyproject.requires_python

    def pinned_python(self, lock: LockFile) -> str | None:
        """Return the X.Y of Python that its tool takes where nobody names one, or None."""
        return None

    def pinned_text(self, lock: LockFile) -> str:
        """Return what pins the Python for its tool, as it is written, whether it is an X.Y or not."""
        return ""

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        """Return name and content of every file that it says something by."""
        return [(lock.path.name, lock.content)]

    def digest(self, lock: LockFile) -> str:
        """Return a checksum of the inputs."""
        total = hashlib.sha256()
        for name, content in self.inputs(lock):
            total.update(f"{name}\0".encode() + content + b"\0")
        return total.hexdigest()

    def check(
        self, lock: LockFile, selection: Selection, *, keep: Sequence[str] = (), system_site_packages: bool = True
    ) -> None:
        """Raise UsageError for options that this format does not have, ProjectFileError for a file that cannot be read."""
        selected = (("extras", selection.extras), ("groups", selection.groups))
        missing = [name for name, value in selected if value and name not in self.options]
        if missing:
            msg = f"{short(lock.path)} has no {' and no '.join(missing)}"
            raise UsageError(msg, hint="leave them out, or name another lock file with lock=...")
        if selection.installer == "poetry" and "poetry" not in self.options:
            msg = f"Poetry does not install {short(lock.path)}"
            raise UsageError(msg, hint=f"leave installer='poetry' out: {self.installed_by} installs it")
        unfit = [("keep", bool(keep), "keep"), ("isolated", not system_site_packages, "system_site_packages=False")]
        for option, is_selected, word in unfit:
            if is_selected and option not in self.options:
                msg = f"{word} does not go with {short(lock.path)}"
                raise UsageError(
                    msg, hint=f"leave it out: the environment sees exactly what {self.installed_by} installs"
                )
        # Before any list of names is read out of it: a damaged file gets its own sentence.
        self.check_content(lock)
        selections = [("extra", selection.extras, self.extras), ("group", selection.groups or (), self.groups)]
        for word, names, list_names in selections:
            available = list_names(lock) if names else None
            if available is None:
                continue
            absent = [name for name in names if normalized(name) not in map(normalized, available)]
            if absent:
                msg = f"{short(lock.path if lock.is_there else lock.pyproject.path)} has no {word} {absent[0]!r}"
                listed = ", ".join(sorted(available)) or f"no {word} at all"
                raise UsageError(msg, hint=f"it has {listed}; nothing was changed")

    def is_one(self, lock: LockFile) -> bool:
        """Say whether a file by one of the format's names is of the format: not every setup.cfg describes a package."""
        return True

    def extras(self, lock: LockFile) -> Collection[str] | None:
        """Return the extras that can be chosen, or None where only its tool knows them."""
        return None

    def groups(self, lock: LockFile) -> Collection[str] | None:
        """Return the groups that can be chosen besides the main dependencies, or None where only its tool knows them."""
        return None

    def check_content(self, lock: LockFile) -> None:
        """Raise ProjectFileError for a file that nobody can read, before anything is done: as far as that is quickly seen."""
        for name, content in self.inputs(lock):
            if match := _CONFLICT.search(content):
                path = lock.path if name == lock.path.name else lock.directory / name
                line = content.count(b"\n", 0, match.start()) + 1
                msg = f"{short(path)}, line {line}: it has the marks of a git conflict"
                raise ProjectFileError(
                    msg, hint="resolve the conflict, or make the file anew with its own tool; nothing was changed"
                )

    def require_whole(self, lock: LockFile) -> None:
        """Raise ProjectFileError for a TOML file that is damaged: a large one is read at its end only, where it may be cut."""
        if lock.is_there and self.is_toml and (sys.version_info >= (3, 11) or len(lock.content) < _SMALL):
            text = lock.text
            end = text.rfind("\n[[") + 1
            with reading(lock):
                toml_text.parsed(text if len(text) < _SMALL else text[end:])

    def missing_tool(self, machine: Machine) -> str | None:
        """Return why the tool that reads it has to be installed by a step of its own, or None."""
        return None

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        """Return in pip's format what can be read without a tool; None where its tool can be asked, and should be."""
        return None

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        """Return in pip's format what the file says for `python`: exact versions, with its hashes and markers.

        Relative paths start from the file's directory. Raises UsageError for what cannot be read so, MissingStepError
        without the tool that reads it, LockMismatchError for a file that its project has moved on from.
        """
        raise NotImplementedError

    def export_universal(self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine) -> str:
        """Return the same for every platform that the file was made for; `python` only helps to read it.

        Nothing is editable. Raises as `export` does, and UsageError for a file that names no exact versions.
        """
        return self.export(lock, selection, python=python, machine=machine, editable=False)

    def sources(self, lock: LockFile) -> Sequence[PoetrySource]:
        """Return which packages come from an index of the project's own."""
        return ()

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        """Make an environment hold what the file says, and pip; packages that it does not name are removed.

        Returns the hashes, such as "sha256:9f86...", that the file locks (normalized) names by. Raises as `export` does,
        and HashMismatchError, BuildError, NetworkError, DiskFullError, CommandError.
        """
        self.require_uv(lock, target)
        text = self.export(lock, selection, python=target.python, machine=target.machine, editable=target.editable)
        return installing.install_text(
            target.installer(lock.pyproject),
            text,
            selection,
            target=target,
            directory=lock.directory,
            sources=self.sources(lock),
        )

    def require_uv(self, lock: LockFile, target: Target) -> None:
        """Raise MissingStepError on a machine without uv."""
        if target.uv is None:
            msg = f"{short(lock.path)} is installed by uv, which is not there and cannot be installed"
            raise MissingStepError(msg, hint="install uv, then run the same call again")
