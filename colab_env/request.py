"""What is wanted of a project: what a person asked for and what the project's files say, read once and handed down."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, venv
from colab_env.errors import NotWritableError, UsageError
from colab_env.formats import script
from colab_env.interpreter import fits_short_version, parse_specifier
from colab_env.jupyter import kernelspec
from colab_env.locks import nearby, registry, script_block
from colab_env.locks.installing import Selection
from colab_env.locks.lock_format import LockFile
from colab_env.pyproject import Pyproject, pinned_python
from colab_env.results import short

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.interpreter import Interpreter
    from colab_env.locks.wheel_support import Better
    from colab_env.machine import Machine

INSTALLERS = ("uv", "poetry")
_OPTIONS = ("lock", "installer", "extras", "groups", "keep")
PREFIX = "/usr/local"


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """What a person wants in an environment: the options of `configure_venv`; `given` are the names of those that were said."""

    lock: str | None = None
    installer: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        if self.keep and self.installer == "poetry":
            msg = "Poetry installs everything that it locks: it keeps nothing of the machine's"
            raise UsageError(msg, hint="leave installer='poetry' out: uv installs it")
        if self.installer not in (None, *INSTALLERS):
            msg = f"there is no installer {self.installer!r}"
            raise UsageError(msg, hint=f"choose one of {', '.join(INSTALLERS)}")

    @classmethod
    def from_arguments(
        cls,
        *,
        lock: str | Path | None = None,
        installer: str | None = None,
        extras: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        keep: Sequence[str] | None = None,
    ) -> InstallOptions:
        """Take what a person wrote: one name may stand for a list of one, and None is what was not said."""
        arguments = {"lock": lock, "installer": installer, "extras": extras, "groups": groups, "keep": keep}
        return cls(
            lock=None if lock is None else str(lock),
            installer=installer,
            extras=_names(extras or ()),
            groups=None if groups is None else _names(groups),
            keep=_keep_names(keep or ()),
            given=frozenset(name for name, value in arguments.items() if value is not None),
        )

    @classmethod
    def from_recorded(cls, recorded: venv.Recorded | None) -> InstallOptions:
        """Read what `recorded` gave; what is not known is what nobody wishes otherwise."""
        return cls(**{name: getattr(recorded, name) for name in _OPTIONS}) if recorded else cls()

    @property
    def requested(self) -> frozenset[str]:
        """Return the names of the options that somebody asked for."""
        usual = InstallOptions()
        return self.given | {name for name in _OPTIONS if getattr(self, name) != getattr(usual, name)}

    def with_earlier(self, earlier: InstallOptions, *, project: Path) -> InstallOptions:
        """Return them with those of an `earlier` call that are not said now; another lock file starts from the defaults."""
        lock = project / (earlier.lock or "")
        if self.lock is not None and os.path.normpath(project / self.lock) != os.path.normpath(lock):
            return self
        return replace(self, **{name: getattr(earlier, name) for name in _OPTIONS if name not in self.requested})

    def recorded(self) -> venv.Recorded:
        """Return it as the receipt has it."""
        return venv.Recorded(**{name: getattr(self, name) for name in _OPTIONS})

    def spelled(self) -> str:
        """Return those that are not the defaults as a person reads them, such as "lock=env/a.txt, extras=fast"."""
        values = self.as_dict().items()
        arguments = [(name, ",".join(value) if isinstance(value, list) else value) for name, value in values]
        return ", ".join(
            f"{name}={value or 'none'}"
            for name, value in arguments
            if value is not None and (value or name == "groups")
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which the checksums are made of."""
        groups = None if self.groups is None else list(self.groups)
        keep = {"keep": list(self.keep)} if self.keep else {}
        return {"lock": self.lock, "installer": self.installer, "extras": list(self.extras), "groups": groups, **keep}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One project and what is wanted of it.

    `python` is a version, a specifier or a path, as the caller wrote it, or None; `source` the name of an interpreter
    source, None where any will do; `prefix` is where conda goes, from the pinned installer or from `conda_installer`, an
    address, with its SHA-256. `receipt` says what the environment that is there was
    made from; `inherited` names the options that are its own since an earlier call, as a person reads them.
    `exact` says that what somebody has installed by hand goes. `around` is the directory that was named where the project
    is around it, else None.
    """

    machine: Machine
    project: Path
    options: InstallOptions
    pyproject: Pyproject
    lock: LockFile
    receipt: venv.Receipt | None
    python: str | None = None
    source: str | None = None
    prefix: Path = field(default=Path(PREFIX))
    conda_installer: str | None = None
    conda_sha256: str | None = None
    system_site_packages: bool = True
    inherited: str = ""
    exact: bool = False
    around: Path | None = None

    @classmethod
    def read(
        cls,
        project: str | Path,
        machine: Machine,
        *,
        options: InstallOptions | None = None,
        python: str | None = None,
        source: str | None = None,
        prefix: str | Path = PREFIX,
        conda_installer: str | None = None,
        conda_sha256: str | None = None,
        system_site_packages: bool | None = None,
        defaults: bool = False,
        exact: bool = False,
    ) -> Request:
        """Read every file of the project that counts. Raises UsageError for options that do not go together.

        What is not said is as it was when the environment was made; with `defaults`, nothing of that counts.
        """
        if (conda_installer or conda_sha256) and source not in ("miniconda", "miniforge"):
            msg = f"conda_installer and conda_sha256 do not go with interpreter={source!r}"
            raise UsageError(msg, hint="give interpreter='miniconda', or leave them out")
        requested = options or InstallOptions()
        named = named_directory(project)
        # A lock file that is named is relative to the directory that is.
        directory = named if requested.lock is not None else nearby.project_of(named)
        kernelspec.check_project_path(directory)
        pyproject = Pyproject.read(directory)
        receipt = venv.read_receipt(directory)
        earlier = InstallOptions.from_recorded(receipt.wanted if receipt and not defaults else None)
        if earlier.lock is not None and machine.data in Path(earlier.lock).parents:  # the block of a notebook's cell
            earlier = replace(earlier, lock=None)
        options = requested.with_earlier(earlier, project=directory)
        is_same = receipt is not None and not defaults and options.lock == earlier.lock
        if system_site_packages is None:
            system_site_packages = venv.sees_system(directory) if is_same else True
        if requested.lock is None and options.lock is not None and not os.path.lexists(directory / options.lock):
            msg = (
                f"there is no lock file {short(directory / options.lock)} any more, which the environment was made from"
            )
            raise UsageError(
                msg, hint="name another one, or forget it with --defaults, defaults=True; nothing was changed"
            )
        lock = find_lock(directory, options, machine, pyproject=pyproject)
        request = cls(
            machine=machine,
            project=directory,
            options=options,
            pyproject=pyproject,
            lock=lock,
            exact=exact,
            receipt=receipt,
            python=python,
            source=source,
            prefix=_files.named_path(prefix).absolute(),
            conda_installer=conda_installer,
            conda_sha256=conda_sha256,
            system_site_packages=system_site_packages,
            inherited=replace(
                options, **{name: getattr(InstallOptions(), name) for name in requested.requested}
            ).spelled(),
            around=named if named != directory else None,
        )
        _ = pyproject.values  # what is wrong there is said before anything is done
        request.lock.format.check(
            request.lock, request.selection, keep=options.keep, system_site_packages=system_site_packages
        )
        return request

    @classmethod
    def as_recorded(cls, project: Path, machine: Machine) -> Request:
        """Read the project with the options that its environment was made with last."""
        receipt = venv.read_receipt(project)
        options = InstallOptions.from_recorded(receipt.wanted if receipt else None)
        visible = venv.sees_system(project)
        return cls.read(project, machine, options=options, system_site_packages=visible, defaults=True)

    def reread(self) -> Request:
        """Read the files again, where a step or another run may have changed them."""
        names = (
            "options",
            "python",
            "source",
            "prefix",
            "conda_installer",
            "conda_sha256",
            "system_site_packages",
            "exact",
        )
        values = {name: getattr(self, name) for name in names}
        read = self.read(self.project, self.machine, **values, defaults=True)
        return replace(read, inherited=self.inherited, around=self.around)

    @property
    def selection(self) -> Selection:
        """Return what of the lock file is wanted, and who installs it."""
        options = self.options
        return Selection(extras=options.extras, groups=options.groups, installer=options.installer or "uv")

    @property
    def python_path(self) -> Path | None:
        """Return the interpreter that the caller named by its path, or None."""
        return _files.named_path(self.python) if self.python is not None and "/" in self.python else None

    @property
    def requires_python(self) -> str | None:
        """Return the Python that the lock file asks for, else pyproject.toml, or None."""
        return self.lock.requires_python or self.pyproject.requires_python

    @property
    def requested_python(self) -> str | None:
        """Return the Python that is asked for, by the caller or by the project, or None."""
        return self.python or self._pinned_python or self.requires_python

    @cached_property
    def _pinned_python(self) -> str | None:
        """Return the X.Y that the project's own tool would take: pinned in a file, or that of its environment."""
        pinned, required = self.lock.format.pinned_python(self.lock), self._required_python
        if self.lock.format.is_python_advice and self.receipt is not None:
            return self.receipt.python.short_version
        fits = pinned is not None and fits_short_version(required, pinned)
        return (f"=={pinned}.*,{required}" if self.requires_python else pinned) if fits else None

    @cached_property
    def specifier(self) -> SpecifierSet:
        """Return which versions of Python fit. Raises UsageError, ProjectFileError."""
        if self.python_path:
            return parse_specifier("*")
        if self.python is None:
            _ = self._required_python  # which names the file, and is the reason of what is wrong in the next line
        return parse_specifier(self.requested_python or "*")

    @property
    def near_specifier(self) -> SpecifierSet | None:
        """Return the X.Y of a Python whose very patch level a file advises, or None: its tool warns of another one."""
        match = re.fullmatch(r"(3\.\d+)\.\d+", self.requires_python or "", re.ASCII)
        is_advice = self.python is None and self.lock.format.is_python_advice
        return parse_specifier(f"=={match[1]}.*") if match and is_advice else None

    def better_pythons(self, than: str) -> Better | None:
        """Return which Pythons the lock file has more wheels for than for this X.Y, where nothing else decides, or None."""
        # What is kept was built for the machine's own Python.
        if self.python is not None or self._pinned_python is not None or self.receipt is not None or self.options.keep:
            return None
        from colab_env.locks.wheel_support import better_pythons

        return better_pythons(self.lock, self.specifier, than=than)

    @cached_property
    def _required_python(self) -> SpecifierSet:
        """Return which versions the project's files ask for. Raises ProjectFileError."""
        text, path = self.requires_python or "*", self.lock.asks_for_python
        lines = self._content(path).decode("utf-8", "replace").splitlines()
        line = next((number for number, line in enumerate(lines, 1) if text in line and "python" in line.lower()), None)
        return parse_specifier(text, source=f"{short(path)}{f', line {line}' if line else ''}: ")

    @property
    def recorded_python(self) -> Interpreter | None:
        """Return the Python that our environment was made from, or None when there is no environment of ours."""
        return self.receipt.python if self.receipt else None

    @property
    def kept(self) -> tuple[str, ...]:
        """Return where the metadata is of what the environment keeps of the machine."""
        return self.receipt.wanted.kept if self.receipt else ()

    @cached_property
    def inputs(self) -> str:
        """Return a checksum of all that the environment is to be filled from."""
        lock = self.lock
        content = lock.digest if lock.is_there else "none"
        where = os.path.relpath(lock.path, self.project) if lock.is_there else "none"
        # What was asked for counts like a file: another group or extra is another environment.
        stated = [{**self.options.as_dict(), "lock": where, "installer": self.selection.installer}, content]
        digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
        for path in (self.project / name for name in lock.format.project_files):
            digest.update(f"{path.name}\0".encode() + self._content(path) + b"\0")
        return digest.hexdigest()

    @property
    def options_digest(self) -> str:
        """Return a checksum of the options, and of a lock file that colab-env never writes: what a snapshot is found by."""
        content = self.lock.digest if self.lock.is_there and not self.lock.format.is_made_by_tool else None
        stated = json.dumps([{**self.options.as_dict(), "lock": None}, content], sort_keys=True)
        return hashlib.sha256(stated.encode()).hexdigest()

    @property
    def is_notebooks_block(self) -> bool:
        """Say whether the lock file is the block of a cell that has run."""
        return self.machine.data in self.lock.path.parents

    def notes(self, chosen: str | None = None) -> list[str]:
        """Return what a person should know of the options before anything is done; `chosen` is the X.Y that is taken."""
        notes = [f"as before: {self.inherited} (--defaults, or defaults=True, forgets it)"] if self.inherited else []
        if self.around is not None:
            notes.insert(0, f"{short(self.around)} says nothing of its own: the project is {short(self.project)}")
        pin = "" if self.python else self.lock.format.pinned_text(self.lock)
        if pin and self._pinned_python is None:
            pinned = self.lock.format.pinned_python(self.lock)
            why = f"{self.requires_python} leaves it out" if pinned else "it is no X.Y of CPython"
            notes.append(f".python-version says {pin!r}, which does not count: {why}")
        elif not pin and not self.python:
            notes += self._unread_pin(chosen)
        return notes

    def _unread_pin(self, chosen: str | None) -> list[str]:
        """Return a note on a `.python-version` that the lock's own tool does not read, but pyenv, which people have it for."""
        pinned = pinned_python(self.project)
        if pinned is None or pinned == (chosen or (self.recorded_python and self.recorded_python.short_version)):
            return []
        name = self.lock.path.name
        return [
            f".python-version says {pinned}, which {name} does not go by (--python {pinned}, or python='{pinned}', does)"
        ]

    def described_lock(self) -> str:
        """Return what a note calls the lock file."""
        if self.is_notebooks_block:
            return "the notebook's `# /// script` block"
        return self.lock.format.described(self.lock)

    def _content(self, path: Path) -> bytes:
        if path == self.pyproject.path:
            return self.pyproject.content or b""
        if path == self.lock.path:
            return self.lock.content
        return _files.content(path) or b""


def project_directory(project: str | Path) -> Path:
    """Return the directory of the project that is meant by a directory: itself, or one above it in its git repository."""
    return nearby.project_of(named_directory(project))


def named_directory(project: str | Path) -> Path:
    """Return a directory that somebody names, absolute and without links. Where it is missing, the first file in it makes it."""
    path = _files.named_path(project).absolute()
    if path.exists() and not path.is_dir():
        msg = f"{short(path)} is a file, not a directory"
        raise UsageError(msg, hint="give the directory that holds pyproject.toml, or that shall hold it")
    # It may not exist yet, but what it is to be made in must be a directory.
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    if not nearest.is_dir():
        msg = f"{short(nearest)} is a file, not a directory"
        raise NotWritableError(msg, hint="choose another directory")
    with _files.translate_os_errors(path):
        return path.resolve()


def find_lock(
    project: Path, options: InstallOptions, machine: Machine, *, pyproject: Pyproject | None = None
) -> LockFile:
    """Return what says what the environment consists of: the file named, one of the project's, or the notebook's block.

    The `# /// script` block of a cell that has run, or on Colab of any cell, counts where the project has no dependencies of
    its own. With none of them, it is the file that its tool will make.
    """
    pyproject = pyproject or Pyproject.read(project)
    lock = registry.find(project, options.lock, pyproject=pyproject, by_poetry=options.installer == "poetry")
    is_locked = lock.format.is_lock and not lock.format.is_made_by_tool
    if options.lock is not None or is_locked or pyproject.has_dependencies:
        return lock
    of_notebook = script_block.of_notebook()
    if of_notebook is None:
        says_nothing = pyproject.content is None or (pyproject.has_only_settings and not pyproject.is_standard)
        if says_nothing and not pyproject.names_poetry and options.installer != "poetry":
            nearby.require_nothing_elsewhere(project)
        return lock
    # A cell has no file, and the block's reader wants one: it lies in the data directory.
    path = script.write_block(of_notebook[0], machine, lock=of_notebook[1])
    return replace(lock, path=path, format=registry.of_name("script"))


def _keep_names(keep: Sequence[str]) -> tuple[str, ...]:
    if not keep:
        return ()
    from colab_env.plans import keeping

    return keeping.names(keep)


def _names(values: Sequence[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)
