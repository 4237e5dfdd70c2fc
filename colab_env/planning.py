"""Say, before anything is installed, what the machine has already, what will hide it, and what does not fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import choice, poetry, pyproject, system, venv
from colab_env.environment import find_lock
from colab_env.interpreter import outgrown, parse_specifier
from colab_env.locks import locked, lockfiles, poetry_lock, pylock, requirements_text
from colab_env.locks.requirements_text import Wanted
from colab_env.machine import Machine
from colab_env.plans import comparison, distributions, foreseen, keeping, project_needs
from colab_env.plans.comparison import Sides
from colab_env.plans.keeping import SystemPackages
from colab_env.plans.planned import Plan

if TYPE_CHECKING:
    from colab_env.locks.lockfiles import LockFile
    from colab_env.plans.foreseen import Foreseen

_PLAIN = ("requirements.txt", "pylock.toml")


def plan(
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    lock: str | Path | None = None,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    prefix: str | Path = "/usr/local",
    system_site_packages: bool = True,
) -> Plan:
    """Say what `setup` with these arguments would bring, and what of the machine it hides or clashes with.

    Arguments as in `setup`. Nothing of the project or the machine is changed; uv, which reads most lock files, is put
    into this package's own directory where there is none. Of a Python that is not there yet only the version is known.
    What a package needs is known where its metadata is on this machine already; the rest shows when `setup` runs.
    Raises NoSuchPythonError, UsageError, ProjectFileError, or what reading the lock file raises.
    """
    machine, directory = Machine.detect(), Path(project).expanduser().resolve()
    found = find_lock(directory, None if lock is None else str(lock), machine)
    wish = (lockfiles.requires_python(found) if found else None) or pyproject.requires_python(directory)
    chosen = foreseen.python(
        python or wish,
        given=python is not None,
        source=choice.source(interpreter, machine),
        project=directory,
        prefix=Path(prefix).expanduser().absolute(),
        machine=machine,
    )
    question = _Question(
        machine=machine,
        project=directory,
        lock=found,
        requires_python=wish,
        extras=tuple(extras),
        groups=None if groups is None else tuple(groups),
        keep=keeping.names(keep),
    )
    present = keeping.present(machine, chosen=chosen.python)
    return question.answered(chosen, present, system_site_packages=system_site_packages)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What is asked about one project."""

    machine: Machine
    project: Path
    lock: LockFile | None
    requires_python: str | None
    extras: tuple[str, ...]
    groups: tuple[str, ...] | None
    keep: tuple[str, ...]

    def answered(self, chosen: Foreseen, present: SystemPackages, *, system_site_packages: bool) -> Plan:
        inside = system.look_inside(chosen.python, machine=self.machine) if chosen.there else None
        markers = inside.markers if inside else _markers_of(chosen.python.version)
        directories = inside.directories if inside and system_site_packages else ()
        needs = project_needs.read(self.lock.directory if self.lock else self.project, markers, extras=self.extras)
        wanted = self._wanted(chosen, present, markers)
        lock = keeping.Lock(wanted=wanted or _unlocked(needs), needs=needs)
        kept = keeping.choose(self.keep, lock, present=present, python=chosen.python)
        sides = Sides(
            wanted=lock.wanted,
            machine=present.packages,
            seen=distributions.read(directories),
            markers=markers,
            kept=kept.packages,
            known=distributions.read((self.project / venv.NAME).glob("lib/python3*/site-packages")),
        )
        return Plan(
            python=chosen.python,
            there=chosen.there,
            machine=present.python,
            visible=not present.directories.isdisjoint(directories),
            lock=self.lock.path if self.lock else None,
            rows=tuple(comparison.rows(sides)),
            only_on_machine=comparison.only_on_machine(sides),
            conflicts=tuple(comparison.conflicts(sides)),
            notes=kept.notes,
            outgrown=self._outgrown(),
            saved=sum(each.size() for each in kept.packages.values()),
        )

    def _wanted(self, chosen: Foreseen, present: SystemPackages, markers: Mapping[str, str]) -> dict[str, Wanted]:
        if self.lock is None:
            return {}
        if self.lock.kind == "poetry.lock" and poetry.missing(self.machine):
            groups = pyproject.default_groups(self.lock.directory) if self.groups is None else self.groups
            text = poetry_lock.read(self.lock.path.read_text(encoding="utf-8"), groups)
            return requirements_text.read(text, markers)
        if not chosen.there and self.lock.kind in _PLAIN:  # uv would read them for a Python that it has to start
            text = self.lock.path.read_text(encoding="utf-8")
            return requirements_text.read(pylock.read(text) if self.lock.kind == "pylock.toml" else text, markers)
        reader = chosen.python if chosen.there else present.python or chosen.python
        text = locked.requirements(
            self.lock, python=reader, machine=self.machine, extras=self.extras, groups=self.groups
        )
        return requirements_text.read(text, markers)

    def _outgrown(self) -> str | None:
        own = system.of_machine(self.machine)
        if self.requires_python is None or own is None:
            return None
        asking = self.lock.path.name if self.lock and self.lock.kind in ("pylock.toml", "script") else "pyproject.toml"
        return outgrown(
            own.version, parse_specifier(self.requires_python), asking=asking, is_colab=self.machine.is_colab
        )


def _markers_of(version: str) -> dict[str, str]:
    from packaging.markers import default_environment

    full = version if version.count(".") > 1 else f"{version}.0"
    of_python = {
        "python_version": ".".join(full.split(".")[:2]),
        "python_full_version": full,
        "implementation_version": full,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return {**{name: str(value) for name, value in default_environment().items()}, **of_python}


def _unlocked(needs: Sequence[project_needs.Need]) -> dict[str, Wanted]:
    return {each.name: Wanted(name=each.name, version=each.text, exact=False) for each in needs}
