"""A project's environment: its `.venv`, made or mended, filled with what its lock file says, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, index, pyproject, system, uv, venv
from colab_env.errors import ColabEnvError, NoSuchPythonError, UsageError
from colab_env.interpreter import Interpreter, outgrown, parse_specifier
from colab_env.jupyter import kernelspec
from colab_env.locks import locked, lockfiles, script_block
from colab_env.locks.lockfiles import LockFile
from colab_env.results import short
from colab_env.step import Found

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.plans import keeping

_POETRYS = ("pyproject.toml", "poetry.toml", "poetry.lock")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person wants in an environment: as the options of `configure_venv`."""

    lock: str | None = None
    installer: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keep and self.installer == "poetry":
            msg = "Poetry installs everything that it locks: it keeps nothing of the machine's"
            raise UsageError(msg, hint="leave installer='poetry' out: uv installs it")
        if self.installer not in (None, *locked.INSTALLERS):
            msg = f"there is no installer {self.installer!r}"
            raise UsageError(msg, hint=f"choose one of {', '.join(locked.INSTALLERS)}")

    @classmethod
    def of(
        cls,
        *,
        lock: str | Path | None,
        installer: str | None,
        extras: Sequence[str],
        groups: Sequence[str] | None,
        keep: Sequence[str],
    ) -> Wish:
        """Take what a person wrote: one name may stand for a list of one."""
        return cls(
            lock=None if lock is None else str(lock),
            installer=installer,
            extras=_names(extras),
            groups=None if groups is None else _names(groups),
            keep=_kept_names(keep),
        )

    @property
    def choice(self) -> locked.Choice:
        """Return what of a lock file is wanted, and who installs it."""
        return locked.Choice(extras=self.extras, groups=self.groups, installer=self.installer or "uv")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which the checksums are made of."""
        groups = None if self.groups is None else list(self.groups)
        kept = {"keep": list(self.keep)} if self.keep else {}
        return {"lock": self.lock, "installer": self.installer, "extras": list(self.extras), "groups": groups, **kept}

    def recorded(self) -> venv.Recorded:
        """Return it as the receipt has it."""
        return venv.Recorded(**{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_recorded(cls, recorded: venv.Recorded | None) -> Wish:
        """Read what `recorded` gave; what is not known is what nobody wishes otherwise."""
        return cls(**{each.name: getattr(recorded, each.name) for each in fields(cls)}) if recorded else cls()


class Environment:
    """One project's virtual environment while it is checked and built."""

    def __init__(
        self,
        project: Path,
        python: Interpreter,
        machine: Machine,
        *,
        system_site_packages: bool,
        wish: Wish,
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        self.project = project
        self.python = python
        self.machine = machine
        self.visible = system_site_packages
        self.wish = wish
        self.ready = ready
        self.lock: LockFile | None = None
        self.notes: list[str] = []
        self.choice = replace(wish.choice, notes=self.notes)
        self._know_files: Callable[[], object] = lambda: None
        self._look()

    @property
    def is_poetrys(self) -> bool:
        """Say whether Poetry reads, or makes, its lock file."""
        return self.lock is None or self.lock.kind == "poetry.lock"

    @property
    def is_condas(self) -> bool:
        """Say whether its packages are those of the interpreter, which conda made from an environment.yml."""
        return self.lock is not None and self.lock.kind == lockfiles.CONDA

    def check(self) -> str | None:
        """Return why there is something to do, or None. Reads files, starts nothing."""
        self._look()  # another run may have made the lock file meanwhile
        inputs = self._inputs()
        found = venv.health_check(self.project, python=self.python, system_site_packages=self.visible, inputs=inputs)
        return found or self._kept_gone()

    def build(self) -> None:
        """Make or mend it, whole or not at all."""
        self._require_python()
        _files.recover(self.project / venv.NAME)
        with _files.restoring(*(self.project / name for name in _POETRYS if self.is_poetrys)) as self._know_files:
            if self.is_poetrys:
                written = pyproject.complete(self.project, python=self.python, system_site_packages=self.visible)
                self.notes.extend(f"{name} was written" for name in written)
            place = self._place()
            self._fill(place) if self._fits(place) else self._rebuild(place)
        self._say_choice()

    def describe(self) -> Found:
        """Return what is there."""
        count = venv.packages(self.project)
        what = f"Virtual environment with Python {self.python.version} and {count} package{'' if count == 1 else 's'}"
        return Found(what=what, where=self.project / venv.NAME, python=self.python)

    def _look(self) -> None:
        self.lock = fitting_lock(self.project, self.wish, self.machine, system_site_packages=self.visible)

    def _require_python(self) -> None:
        asked = lockfiles.requires_python(self.lock) if self.lock else pyproject.requires_python(self.project)
        if asked and not parse_specifier(asked).contains(self.python.version):
            beside = (self.lock.directory if self.lock else self.project) / "pyproject.toml"
            asking = self.lock.path if self.lock and self.lock.kind in ("pylock.toml", "script") else beside
            msg = f"{short(asking)} asks for Python {asked!r}, but {self.python.version} was chosen"
            raise NoSuchPythonError(msg, hint=self._other_python(asked, asking.name))

    def _other_python(self, asked: str, asking: str) -> str:
        own = system.of_machine(self.machine)
        colab = self.machine.is_colab
        said = outgrown(own.version, parse_specifier(asked), asking=asking, is_colab=colab) if own else None
        return said or f"choose another Python: setup(python={asked!r})"

    def _kept_gone(self) -> str | None:
        gone = [Path(each).name for each in self._recorded_kept() if not Path(each).exists()]
        return f"the machine no longer has what was kept of it: {', '.join(gone)}" if gone else None

    def _recorded_kept(self) -> tuple[str, ...]:
        recorded = venv.recorded_wish(self.project)
        return recorded.kept if recorded else ()

    def _keeper(self, place: locked.Place) -> keeping.Keeper | None:
        if not self.wish.keep:
            return None
        if place.uv is None:
            msg = "only uv leaves out what is kept of the machine, and it cannot be had here"
            raise UsageError(msg, hint="leave keep= out, or install uv; nothing was changed")
        project, extras = self.lock.directory if self.lock else self.project, self.wish.extras
        from colab_env.plans import keeping

        return keeping.Keeper(self.wish.keep, python=self.python, project=project, extras=extras, machine=self.machine)

    def _place(self) -> locked.Place:
        environment = self.project / venv.NAME
        return locked.Place(project=self.project, environment=environment, uv=self._uv(), ready=self.ready)

    def _uv(self) -> Path | None:
        if self.wish.installer is not None:
            return uv.ensure(self.machine) if self.wish.installer == "uv" else None
        found = uv.obtain(self.machine)
        if found is None:
            self.notes.append(f"uv cannot be had here: {'Poetry' if self.is_poetrys else 'pip'} installs, more slowly")
        return found

    def _fits(self, place: locked.Place) -> bool:
        # pip removes nothing, so what it fills is made anew; so are links, which no tool shall install over.
        if self.wish.keep or self._recorded_kept() or self.is_condas:
            return False
        if venv.recorded_python(self.project) is None or (place.uv is None and not self.is_poetrys):
            return False
        return venv.misfit(self.project, python=self.python, system_site_packages=self.visible) is None

    def _fill(self, place: locked.Place) -> None:
        with _files.updating(place.environment):
            self._install(place)

    def _rebuild(self, place: locked.Place) -> None:
        kept = venv.set_aside_foreign(self.project)
        try:
            with _files.replacing(place.environment):
                self._create(place)
                self._install(place)
        except BaseException:
            if kept is not None:
                _files.move_back(kept, place.environment)
            raise
        if kept is not None:
            self.notes.append(f"the virtual environment that was there is now {kept.name}")

    def _create(self, place: locked.Place) -> None:
        installer = uv.installer(self.machine, index.settings(self.machine))
        # Where uv fills it, pip comes with the packages.
        installer.make_venv(
            place.environment, self.python.path, system_site_packages=self.visible, pip=place.uv is None
        )

    def _install(self, place: locked.Place) -> None:
        keeper = self._keeper(place)
        choice = replace(self.choice, left_out=keeper.left_out) if keeper else self.choice
        locked.install(self.lock, choice, place=place, machine=self.machine)
        self._look()  # Poetry may have made one
        kernelspec.write_ipython_config(place.environment)
        wanted = self.wish.recorded()
        if keeper is not None:
            keeper.finish(next(place.environment.glob("lib/python3*/site-packages")), visible=self.visible)
            self.notes.extend(keeper.kept.notes)
            wanted = replace(wanted, kept=tuple(keeper.origins()))
        if self.lock is not None and self.lock.kind == "script":
            wanted = replace(wanted, lock=str(self.lock.path))  # a later command does not see the notebook's cells
        self._know_files()
        venv.write_receipt(self.project, python=self.python, inputs=self._inputs(), wanted=wanted)

    def _inputs(self) -> str:
        content = lockfiles.digest(self.lock) if self.lock else "none"
        place = os.path.relpath(self.lock.path, self.project) if self.lock else "none"
        said = [{**self.wish.as_dict(), "lock": place, "installer": self.choice.installer}, content]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for path in (self.project / name for name in _POETRYS if self.is_poetrys):
            digest.update(f"{path.name}\0".encode() + (path.read_bytes() if path.is_file() else b"") + b"\0")
        return digest.hexdigest()

    def _say_choice(self) -> None:
        if self.lock is None:
            return
        others = [each.path.name for each in lockfiles.candidates(self.project) if each.path != self.lock.path]
        if others or not self.is_poetrys:
            beside = f"; not from {' or '.join(others)}, which lock=... chooses" if others else ""
            self.notes.append(f"Packages from {_named(self.lock, self.machine)}{beside}")


def _kept_names(keep: Sequence[str]) -> tuple[str, ...]:
    if not keep:
        return ()
    from colab_env.plans import keeping

    return keeping.names(keep)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def health_check(project: Path, python: Interpreter, machine: Machine) -> str | None:
    """Return why a project's environment is not what was wanted of it last, or None. Reads files, starts nothing."""
    try:
        wish = Wish.from_recorded(venv.recorded_wish(project))
        visible = venv.sees_system(project)
        return Environment(project, python, machine, system_site_packages=visible, wish=wish).check()
    except ColabEnvError as error:
        return error.message


def wanted_of(project: Path, wish: Wish, machine: Machine) -> str:
    """Return a checksum of a wish, and of a lock file that colab-env never writes: what a snapshot is found by."""
    lock = find_lock(project, wish.lock, machine)
    content = None if lock is None or lock.kind == "poetry.lock" else lockfiles.digest(lock)
    said = json.dumps([{**wish.as_dict(), "lock": None}, content], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def fitting_lock(project: Path, wish: Wish, machine: Machine, *, system_site_packages: bool) -> LockFile | None:
    """Return what says what the environment consists of. Raises UsageError for a wish that does not go with it."""
    lock = find_lock(project, wish.lock, machine)
    if lock is not None:
        locked.check(lock, wish.choice)
    if lock is not None and lock.kind == lockfiles.CONDA and (wish.keep or not system_site_packages):
        other = "keep" if wish.keep else "system_site_packages=False"
        msg = f"{other} does not go with {short(lock.path)}"
        raise UsageError(msg, hint="leave it out: the environment sees exactly what conda installs from the file")
    return lock


def find_lock(project: Path, lock: str | None, machine: Machine) -> LockFile | None:
    """Return what says what the environment consists of: the file named, one of the project's, or the notebook's block.

    The `# /// script` block of a cell that has run counts where the project has no dependencies of its own.
    """
    found = lockfiles.find(project, lock)
    block = script_block.of_notebook() if lock is None and (found is None or found.kind == "poetry.lock") else None
    if block is None or pyproject.has_dependencies(project):
        return found
    return LockFile(path=locked.write_block(block, machine), kind="script")


def _named(lock: LockFile, machine: Machine) -> str:
    if machine.data in lock.path.parents:
        return "the notebook's `# /// script` block"
    return lock.path.name if lock.kind != "script" else f"the block in {lock.path.name}"
