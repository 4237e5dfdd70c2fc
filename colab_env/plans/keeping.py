"""Use packages as the machine has them: choose what can be kept, and check that it fits what is installed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, is_normalized_name

from colab_env import _report, system
from colab_env.errors import KeepError, UsageError
from colab_env.locks import requirements_text
from colab_env.plans import comparison, distributions, linking, project_needs
from colab_env.plans.distributions import Distribution, accepts, is_same

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from colab_env.interpreter import Interpreter
    from colab_env.locks.requirements_text import Wanted
    from colab_env.machine import Machine
    from colab_env.plans.project_needs import Need
    from colab_env.pyproject import Pyproject


@dataclass(frozen=True, kw_only=True)
class SystemPackages:
    """The machine's own Python (None: none that can be used), its `directories` of packages, what is in them, its markers."""

    python: Interpreter | None = None
    directories: frozenset[Path] = frozenset()
    packages: Mapping[str, Distribution] = field(default_factory=dict)
    markers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is used as the machine has it: `packages`, asked for or needed by these; `notes` say it to a person."""

    packages: Mapping[str, Distribution] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What is chosen from: what the lock brings, and what the project itself accepts."""

    wanted: Mapping[str, Wanted]
    needs: Collection[Need]


def system_packages(machine: Machine, *, chosen: Interpreter) -> SystemPackages:
    """Read what the machine has for its own Python; outside Colab every Python that is on the machine is one of its own.

    Starts it once or twice, for a moment.
    """
    own = chosen.source == "system" and not machine.is_colab
    python = chosen if own else system.machine_python(machine)
    if python is None:
        return SystemPackages()
    inside = system.query_interpreter(python, machine=machine)
    return SystemPackages(
        python=python,
        directories=frozenset(inside.directories),
        packages=distributions.read(inside.directories),
        markers=inside.markers,
    )


def names(keep: Iterable[str]) -> tuple[str, ...]:
    """Return the normalized names. Raises UsageError for what is no name, a single text among them."""
    if isinstance(keep, str):
        msg = f"keep takes a list of names, not the text {keep!r}"
        raise UsageError(msg, hint=f"write keep=[{keep!r}]")
    for each in keep:
        if not is_normalized_name(canonicalize_name(each)):
            msg = f"{each!r} is not the name of a package"
            raise UsageError(msg, hint="give names alone, such as keep=['torch']: the version is the machine's")
    return tuple(dict.fromkeys(canonicalize_name(each) for each in keep))


class Keeper:
    """The keeping of one environment: it decides when it sees what the lock says, then links and checks."""

    def __init__(
        self,
        asked: tuple[str, ...],
        *,
        python: Interpreter,
        project: Pyproject,
        extras: tuple[str, ...],
        machine: Machine,
    ) -> None:
        """Read what the machine has, and what the project accepts."""
        self.asked = asked
        self.python = python
        self.machine = machine
        self.present = system_packages(machine, chosen=python)
        markers = self.present.markers
        self.needs = project_needs.read(project, markers, extras=extras) if markers else []
        self.kept = Kept()

    def left_out(self, text: str) -> Collection[str]:
        """Choose what to keep of what these requirements say, and return its names."""
        lock = Lock(wanted=requirements_text.read(text, self.present.markers), needs=self.needs)
        self.kept = choose(self.asked, lock, present=self.present, python=self.python)
        return tuple(self.kept.packages)

    def finish(self, site: Path, *, visible: bool) -> None:
        """Link what the environment does not see by itself, and check that all fits. Raises KeepError."""
        if not self.kept.packages:
            return
        check(self.kept, site, self.present.markers)
        seen = system.query_interpreter(self.python, machine=self.machine).directories if visible else ()
        linking.link((each for each in self.kept.packages.values() if each.site not in seen), site)

    def origins(self) -> list[str]:
        """Return where the metadata of everything kept is: when one of these is gone, so is the package."""
        return [str(each.info) for each in self.kept.packages.values()]


def choose(asked: Iterable[str], lock: Lock, *, present: SystemPackages, python: Interpreter) -> Kept:
    """Choose what to keep: the packages asked for that the project accepts, and what they need of the machine's.

    What they need comes from the lock where they accept its version, and from the machine where it is the same or the
    lock's does not do. Nothing is kept for a Python of another X.Y.
    """
    packages: dict[str, Distribution] = {}
    notes = []
    for name in asked:
        found = _with_needs(name, lock, present)
        if reason := _refusal(name, found, lock, present=present, python=python):
            notes.append(f"{name} is not kept: {reason}")
            continue
        packages |= found
        notes.append(_kept(found[name], lock.wanted.get(name), needed=len(found) - 1))
    return Kept(packages=packages, notes=tuple(notes))


def check(kept: Kept, site: Path, markers: Mapping[str, str]) -> None:
    """Raise KeepError when what is kept and what is installed in `site` do not accept each other."""
    installed = {name: each for name, each in distributions.read([site]).items() if name not in kept.packages}
    versions = {name: each.version for name, each in kept.packages.items()}
    beside = {name: each.version for name, each in installed.items()}
    found = [
        *comparison.broken(installed.values(), versions, markers),
        *comparison.broken(kept.packages.values(), beside, markers),
    ]
    if found:
        msg = "what is kept of this machine does not fit: " + "; ".join(map(str, found))
        raise KeepError(msg, hint="leave it out of keep=, or change what the project locks; nothing was changed")


def _with_needs(name: str, lock: Lock, present: SystemPackages) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    waiting = [(name, frozenset[str]())]
    while waiting:
        current, extras = waiting.pop()
        there = present.packages.get(current)
        if there is None:  # the machine lives without it, too
            continue
        found[current] = there
        needs = [(canonicalize_name(need.name), need) for need in there.needs(present.markers, extras)]
        waiting += [
            (other, frozenset(need.extras))
            for other, need in needs
            if other not in found and not _lock_does(lock.wanted.get(other), need, present.packages.get(other))
        ]
    return found


def _lock_does(wanted: Wanted | None, need: Requirement, there: Distribution | None) -> bool:
    if wanted is None or (there is not None and wanted.exact and is_same(there.version, wanted.version)):
        return False
    return not wanted.exact or accepts(need.specifier, wanted.version)


def _refusal(
    name: str, found: Mapping[str, Distribution], lock: Lock, *, present: SystemPackages, python: Interpreter
) -> str | None:
    if name not in found or present.python is None:
        return "the machine does not have it"
    has = present.python.short_version
    if has != python.short_version:
        return f"the machine has it for Python {has}, the environment's is {python.short_version}"
    for each in found.values():
        if said := project_needs.refusal(lock.needs, each.name, each.version):
            why = "" if each.name == name else f" and {name} needs that"
            return f"the project asks for {each.name} {_report.address(said)}, the machine has {each.version}{why}"
    return None


def _kept(there: Distribution, wanted: Wanted | None, *, needed: int) -> str:
    instead = f" instead of {_report.address(wanted.version)}" if wanted else ""
    more = f", with {needed} other package{'' if needed == 1 else 's'} that it needs" if needed else ""
    return f"kept {there.name} {there.version} of this machine{instead}{more}"
