"""Use packages as the machine has them: choose what can be kept, check that it fits what is installed, and link it.

A symbolic link instead of a copy, and nothing of the machine is touched. Commands in `bin` are not linked. Whole
directories are linked where they belong to one package alone. The metadata is a directory of the environment's own whose
RECORD lists the links, so that a tool that uninstalls such a package takes away the links and not what they name: a tool
that found the machine's RECORD here would follow it through a link and delete the machine's files.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, is_normalized_name

from colab_env import _files, _report, system
from colab_env.errors import KeepError, UsageError
from colab_env.locks import requirements_text
from colab_env.plans import distributions
from colab_env.plans.distributions import Distribution, accepts, is_same
from colab_env.results import short

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from colab_env.interpreter import Interpreter
    from colab_env.locks.requirements_text import RequiredVersion
    from colab_env.machine import Machine
    from colab_env.plans.distributions import Need
    from colab_env.pyproject import Pyproject

_RECORD, _INSTALLER = "RECORD", "INSTALLER"
_OWN = (_RECORD, _INSTALLER, "REQUESTED", "RECORD.jws", "direct_url.json")


def link_packages(packages: Iterable[Distribution], site: Path) -> None:
    """Link packages into the directory `site`. Raises KeepError when something of another package is in the way."""
    for package, paths in _link_paths(list(packages), site):
        links = [path for path in paths if _link(package.site / path, site / path)]
        info = {Path(_info_name(package), name): target for name, target in _metadata(package).items()}
        links += [path for path, target in info.items() if _link(target, site / path)]
        _write_record(site / _info_name(package), links)


def _link_paths(packages: list[Distribution], site: Path) -> Iterator[tuple[Distribution, list[Path]]]:
    files = {package.name: package.files() for package in packages}
    owners = Counter(parent for paths in files.values() for parent in {p for parts in paths for p in _parents(parts)})
    for package in packages:
        modules = (parts for parts in files[package.name] if parts[0] != package.info.name)
        yield package, sorted({_link_path(parts, package, owners, site) for parts in modules})


def _parents(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (parts[:depth] for depth in range(1, len(parts)))


def _link_path(parts: tuple[str, ...], package: Distribution, owners: Counter[tuple[str, ...]], site: Path) -> Path:
    for parent in _parents(parts):
        alone = owners[parent] == 1 and not (site / Path(*parent)).is_dir()
        if alone and not _is_namespace(package.site / Path(*parent)):
            return Path(*parent)
    return Path(*parts)


def _is_namespace(directory: Path) -> bool:
    # Packages that nobody has thought of may have a part of it. A name such as numpy.libs is no module's.
    return directory.name.isidentifier() and not (directory / "__init__.py").exists()


def _link(target: Path, path: Path) -> bool:
    if not os.path.lexists(path):
        _files.link(path, target)
        return True
    if path.is_file() and target.is_file() and path.read_bytes() == target.read_bytes():
        return False  # such as the __init__.py that packages of one family share
    msg = f"{short(target)} cannot be kept: the environment has another {short(path)}"
    raise KeepError(msg, hint="leave the package out of keep=; nothing was changed")


def _info_name(package: Distribution) -> str:
    modern = package.info.suffix == ".dist-info"
    return package.info.name if modern else f"{package.name.replace('-', '_')}-{package.version}.dist-info"


def _metadata(package: Distribution) -> dict[str, Path]:
    if package.info.is_file():  # Debian has some of the oldest form
        return {"METADATA": package.info}
    files = {path.name: path for path in sorted(package.info.iterdir()) if path.name not in _OWN}
    return {"METADATA" if name == "PKG-INFO" else name: path for name, path in files.items()}


def _write_record(info: Path, paths: Iterable[Path]) -> None:
    metadata_files = [Path(info.name, name) for name in (_INSTALLER, _RECORD)]
    _files.write_text(info / _INSTALLER, "colab-env\n")
    _files.write_text(info / _RECORD, "".join(f"{_quoted(path)},,\n" for path in (*paths, *metadata_files)))


def _quoted(path: Path) -> str:
    text = str(path).replace('"', '""')
    return f'"{text}"' if "," in text or '"' in text else text


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

    required: Mapping[str, RequiredVersion]
    needs: Collection[Need]


def system_packages(machine: Machine, *, chosen: Interpreter) -> SystemPackages:
    """Read what the machine has for its own Python; outside Colab every Python that is on the machine is one of its own.

    Starts it once or twice, for a moment.
    """
    # On Colab the machine's packages are those of its own Python, whichever one was chosen.
    is_plain_system = chosen.source == "system" and not machine.is_colab
    python = chosen if is_plain_system else system.machine_python(machine)
    if python is None:
        return SystemPackages()
    site_paths = system.query_interpreter(python, machine=machine)
    return SystemPackages(
        python=python,
        directories=frozenset(site_paths.directories),
        packages=distributions.read(site_paths.directories),
        markers=site_paths.markers,
    )


def names(keep: Iterable[str]) -> tuple[str, ...]:
    """Return the normalized names. Raises UsageError for what is no name, a single text among them."""
    # A text would be read as a list of its letters.
    if isinstance(keep, str):
        msg = f"keep takes a list of names, not the text {keep!r}"
        listed = re.split(r"[\s,]+", keep.strip())
        raise UsageError(msg, hint=f"write keep={listed!r}")
    for name in keep:
        if not is_normalized_name(canonicalize_name(name)):
            msg = f"{name!r} is not the name of a package"
            raise UsageError(msg, hint="give names alone, such as keep=['torch']: the version is the machine's")
    return tuple(dict.fromkeys(canonicalize_name(name) for name in keep))


class Keeper:
    """The keeping of one environment: it decides when it sees what the lock says, then links and checks."""

    def __init__(
        self,
        keep: tuple[str, ...],
        *,
        python: Interpreter,
        project: Pyproject,
        extras: tuple[str, ...],
        machine: Machine,
    ) -> None:
        """Read what the machine has, and what the project accepts."""
        self.keep = keep
        self.python = python
        self.machine = machine
        self.present = system_packages(machine, chosen=python)
        markers = self.present.markers
        self.needs = distributions.project_needs(project, markers, extras=extras) if markers else []
        self.kept = Kept()

    def left_out(self, text: str) -> Collection[str]:
        """Choose what to keep of what these requirements say, and return its names."""
        lock = Lock(required=requirements_text.read(text, self.present.markers), needs=self.needs)
        self.kept = choose(self.keep, lock, present=self.present, python=self.python)
        return tuple(self.kept.packages)

    def finish(self, site: Path, *, visible: bool) -> None:
        """Link what the environment does not see by itself, and check that all fits. Raises KeepError."""
        if not self.kept.packages:
            return
        check(self.kept, site, self.present.markers)
        directories = system.query_interpreter(self.python, machine=self.machine).directories if visible else ()
        link_packages((package for package in self.kept.packages.values() if package.site not in directories), site)

    def origins(self) -> list[str]:
        """Return where the metadata of everything kept is: when one of these is gone, so is the package."""
        return [str(package.info) for package in self.kept.packages.values()]


def choose(keep: Iterable[str], lock: Lock, *, present: SystemPackages, python: Interpreter) -> Kept:
    """Choose what to keep: the packages asked for that the project accepts, and what they need of the machine's.

    What they need comes from the lock where they accept its version, and from the machine where it is the same or the
    lock's does not do. Nothing is kept for a Python of another X.Y.
    """
    packages: dict[str, Distribution] = {}
    notes = []
    for name in keep:
        closure = _with_needs(name, lock, present)
        if reason := _refusal(name, closure, lock, present=present, python=python):
            notes.append(f"{name} is not kept: {reason}")
            continue
        packages |= closure
        notes.append(_note(closure[name], lock.required.get(name), needed=len(closure) - 1))
    return Kept(packages=packages, notes=tuple(notes))


def check(chosen: Kept, site: Path, markers: Mapping[str, str]) -> None:
    """Raise KeepError when what is kept and what is installed in `site` do not accept each other."""
    installed = {name: package for name, package in distributions.read([site]).items() if name not in chosen.packages}
    versions = {name: package.version for name, package in chosen.packages.items()}
    installed_versions = {name: package.version for name, package in installed.items()}
    conflicts = [
        *distributions.broken(installed.values(), versions, markers),
        *distributions.broken(chosen.packages.values(), installed_versions, markers),
    ]
    if conflicts:
        msg = "what is kept of this machine does not fit: " + "; ".join(map(str, conflicts))
        raise KeepError(msg, hint="leave it out of keep=, or change what the project locks; nothing was changed")


def _with_needs(name: str, lock: Lock, present: SystemPackages) -> dict[str, Distribution]:
    closure: dict[str, Distribution] = {}
    waiting = [(name, frozenset[str]())]
    while waiting:
        current, extras = waiting.pop()
        package = present.packages.get(current)
        if package is None:  # the machine lives without it, too
            continue
        closure[current] = package
        needs = [(canonicalize_name(need.name), need) for need in package.needs(present.markers, extras)]
        waiting += [
            (other, frozenset(need.extras))
            for other, need in needs
            if other not in closure and not _lock_suffices(lock.required.get(other), need, present.packages.get(other))
        ]
    return closure


def _lock_suffices(required: RequiredVersion | None, need: Requirement, present: Distribution | None) -> bool:
    if required is None or (present is not None and required.exact and is_same(present.version, required.version)):
        return False
    return not required.exact or accepts(need.specifier, required.version)


def _refusal(
    name: str, closure: Mapping[str, Distribution], lock: Lock, *, present: SystemPackages, python: Interpreter
) -> str | None:
    if name not in closure or present.python is None:
        return "the machine does not have it"
    # What was compiled for one Python X.Y does not load in another.
    has = present.python.short_version
    if has != python.short_version:
        return f"the machine has it for Python {has}, the environment's is {python.short_version}"
    for package in closure.values():
        if need := distributions.needs_refusal(lock.needs, package.name, package.version):
            why = "" if package.name == name else f" and {name} needs that"
            requested = f"{package.name} {_report.address(need)}"
            return f"the project asks for {requested}, the machine has {package.version}{why}"
    return None


def _note(package: Distribution, required: RequiredVersion | None, *, needed: int) -> str:
    instead = f" instead of {_report.address(required.version)}" if required else ""
    more = f", with {needed} other package{'' if needed == 1 else 's'} that it needs" if needed else ""
    return f"kept {package.name} {package.version} of this machine{instead}{more}"
