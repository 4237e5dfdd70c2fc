"""Say, before anything is installed, what the machine has already, what will hide it, and what does not fit together.

The answer is a value whose repr is a table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import interpreter_sources, system, venv
from colab_env._report import bar, ends_in_card, megabytes
from colab_env.environment import require_python
from colab_env.errors import ColabEnvError
from colab_env.interpreter import Interpreter, parse_specifier, unsupported_python_message
from colab_env.locks import requirements_text
from colab_env.locks.lock_format import reading
from colab_env.locks.requirements_text import RequiredVersion
from colab_env.machine import Machine
from colab_env.plans import distributions, keeping
from colab_env.plans.distributions import Conflict, Row, Sides
from colab_env.request import PREFIX, InstallOptions, Request
from colab_env.results import CardResult, short

if TYPE_CHECKING:
    from colab_env.interpreter_sources import ResolvedPython
    from colab_env.locks.installing import Selection
    from colab_env.plans.keeping import SystemPackages

_TITLES = ("package", "wanted", "on this machine", "what happens")
_SAYS = {
    distributions.KEPT: "kept as the machine has it",
    distributions.SAME: "the same, installed again",
    distributions.REPLACED: "replaced: the environment's own hides it",
    distributions.NEW: "new",
}


@dataclass(frozen=True, kw_only=True)
class Plan(CardResult):
    """What a set-up will bring, beside what the machine has.

    `python` is what it will use, `there` whether that is installed already, `machine` the machine's own Python or None,
    and `visible` whether the environment sees the machine's packages. `lock` is the lock file or None. Each row's
    `happens` is "kept", "same", "replaced" or "new". `only_on_machine` counts what is visible and not asked for.
    `outgrown` is the sentence for a project that the machine's Python does not suit, or None. `saved` is the size on
    disk, in bytes, of what is kept.
    """

    python: Interpreter
    there: bool
    machine: Interpreter | None
    visible: bool
    lock: Path | None
    rows: tuple[Row, ...]
    only_on_machine: int
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...] = ()
    outgrown: str | None = None
    saved: int = 0

    def __repr__(self) -> str:
        table = [_TITLES, *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        lines = ["  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(3)), row[3]]) for row in table]
        return "\n".join([*self._head(), *(lines if self.rows else []), *self._foot()])

    def _repr_html_(self) -> str:
        from colab_env import cards

        groups = [
            cards.Row(mark="·", name=verb, text=text, share=share, details=_by_size(rows))
            for verb, text, share, rows in self._groups()
        ]
        conflicts = [
            cards.Row(mark="✗", name=conflict.package, text=f"needs {conflict.needs}, and gets {conflict.brings}")
            for conflict in self.conflicts
        ]
        first, *rest = reversed(self._head())
        more = cards.folded(f"All packages ({len(self.rows)})", cards.table(_TITLES, map(_cells, self.rows)))
        return cards.card(
            f"Python {self.python.version}",
            [*groups, *conflicts],
            mark="✗" if self.conflicts else "·",  # nothing was tried yet that a check mark could promise
            aside="what a set-up would bring; nothing was changed",
            notes=[*rest, first, *self._notes()],
            more=more if self.rows else "",
        )

    def _groups(self) -> list[tuple[str, str, float, list[Row]]]:
        """Return what is brought, hidden and shared: the verb, the words for it, its part of the largest, and the packages.

        The bars go by bytes where each of them has a size, else by the number of packages.
        """
        brought = [row for row in self.rows if row.happens != distributions.KEPT]
        hidden = [row for row in self.rows if row.happens == distributions.REPLACED]
        shared = [row for row in self.rows if row.happens == distributions.KEPT]
        groups = [
            ("brings", brought, sum(row.download or 0 for row in brought), "to download"),
            ("hides", hidden, sum(row.on_disk or 0 for row in hidden), "on the machine's disk"),
            ("shares", shared, self.saved, "on the machine's disk"),
        ]
        groups = [group for group in groups if group[1]]
        is_by_size = all(size for _, _, size, _ in groups)
        amounts = [size if is_by_size else len(rows) for _, rows, size, _ in groups]
        return [
            (
                verb,
                f"{len(rows)} package{'s' if rows[1:] else ''}" + (f", {megabytes(size)} {where}" if size else ""),
                amount / max(amounts),
                rows,
            )
            for (verb, rows, size, where), amount in zip(groups, amounts, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "outgrown": self.outgrown,
            "python": {**_plain(self.python), "there": self.there, "sees_machine": self.visible},
            "machine": _plain(self.machine) if self.machine else None,
            "lock": str(self.lock) if self.lock else None,
            "packages": [asdict(row) for row in self.rows],
            "only_on_machine": self.only_on_machine,
            "conflicts": [asdict(conflict) for conflict in self.conflicts],
            "notes": list(self.notes),
            "saved": self.saved,
        }

    def _head(self) -> list[str]:
        where = short(self.python.path) if self.there else f"{self.python.source}, not installed yet"
        sees = "sees this machine's packages" if self.visible else "sees none of this machine's packages"
        if not self.visible and self.only_on_machine:
            sees = f"sees {self.python.source}'s packages, and none of this machine's"
        rests_on = f"locked by {self.lock.name}" if self.lock else "nothing is locked: what pyproject.toml asks for"
        first = [self.outgrown] if self.outgrown else []
        return [*first, f"Python {self.python.version} ({where}) {sees}; {rests_on}"]

    def _foot(self) -> list[str]:
        none = [] if self.rows else ["no package is asked for"]
        picture = [f"{verb:<7} {bar(share, 20)} {text}" for verb, text, share, _ in self._groups()]
        return [*none, *picture, *self._notes(), *(f"✗ {conflict}" for conflict in self.conflicts)]

    def _notes(self) -> list[str]:
        more = [f"{self.only_on_machine} more are seen as they are"] if self.only_on_machine else []
        saved = [f"{megabytes(self.saved)} on disk are shared with the machine"] if self.saved else []
        return [*more, *self.notes, *saved]


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, row.wanted or "-", row.machine or "-", _SAYS[row.happens]


def _by_size(rows: list[Row]) -> tuple[str, ...]:
    """Return the packages of a group, the largest first."""
    sized = [(row, row.on_disk if row.happens == distributions.KEPT else row.download or row.on_disk) for row in rows]
    ordered = sorted(sized, key=lambda pair: (-(pair[1] or 0), pair[0].name))
    return tuple(
        f"{row.name} {row.wanted or row.machine}" + (f"  {megabytes(size)}" if size else "") for row, size in ordered
    )


def _plain(python: Interpreter) -> dict[str, Any]:
    return {**asdict(python), "path": str(python.path)}


@ends_in_card
def plan(
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    prefix: str | Path = PREFIX,
    system_site_packages: bool | None = None,
    defaults: bool = False,
) -> Plan:
    """Say what `setup` with these arguments would bring, and what of the machine it hides or clashes with.

    Arguments as in `setup`. Nothing of the project or the machine is changed; uv, which reads most lock files, is put
    into this package's own directory where there is none. Of a Python that is not there yet only the version is known.
    What a package needs is known where its metadata is on this machine already; the rest shows when `setup` runs.
    Raises NoSuchPythonError, UsageError, ProjectFileError, or what reading the lock file raises.
    """
    machine = Machine.detect()
    source, prefix = interpreter_sources.named(
        interpreter, machine, project=project, python=python, prefix=prefix, defaults=defaults
    )
    request = Request.read(
        project,
        machine,
        options=InstallOptions.from_arguments(lock=lock, extras=extras, groups=groups, keep=keep),
        python=python,
        source=source,
        prefix=prefix,
        system_site_packages=system_site_packages,
        defaults=defaults,
    )
    _ = request.specifier  # whatever is wrong in it is said before a Python is looked for
    resolved = interpreter_sources.source_for(request).resolve(request)
    # The same refusal as `setup` gives, and nothing has been installed for it.
    require_python(request, resolved.python)
    return _plan(request, resolved, keeping.system_packages(machine, chosen=resolved.python))


def _plan(request: Request, resolved: ResolvedPython, present: SystemPackages) -> Plan:
    lock, python = request.lock, resolved.python
    site_paths = system.query_interpreter(python, machine=request.machine) if resolved.is_installed else None
    markers = site_paths.markers if site_paths else _markers_of(python.version)
    directories = site_paths.directories if site_paths and request.system_site_packages else ()
    needs = distributions.project_needs(lock.pyproject, markers, extras=request.options.extras)
    selection = replace(request.selection, accepts_stale=True)
    required = _locked_versions(request, selection, resolved, present, markers)
    # Without a lock file only the ranges are known that pyproject.toml asks for.
    ranges = {need.name: RequiredVersion(name=need.name, version=need.text, exact=False) for need in needs}
    brought = keeping.Lock(required=required or ranges, needs=needs)
    chosen = keeping.choose(request.options.keep, brought, present=present, python=python)
    sides = Sides(
        required=brought.required,
        machine=present.packages,
        visible=distributions.read(directories),
        markers=markers,
        keep=chosen.packages,
        described=distributions.read((request.project / venv.NAME).glob("lib/python3*/site-packages")),
        downloads=_download_sizes(request, python.version),
    )
    return Plan(
        python=python,
        there=resolved.is_installed,
        machine=present.python,
        visible=not present.directories.isdisjoint(directories),
        lock=lock.path if lock.is_there and lock.format.is_lock else None,
        rows=tuple(distributions.version_rows(sides)),
        only_on_machine=distributions.only_on_machine(sides),
        conflicts=tuple(distributions.conflicts(sides)),
        notes=(
            *_absent(request.project),
            *resolved.notes,
            *request.notes(resolved.python.short_version),
            *chosen.notes,
            *dict.fromkeys(selection.notes),
            *_going(request, brought.required),
        ),
        outgrown=_unsupported_python(request, resolved.python.short_version),
        saved=sum(package.size() for package in chosen.packages.values()),
    )


def _absent(project: Path) -> tuple[str, ...]:
    return () if project.is_dir() else (f"there is no directory {short(project)} yet; a set-up would make it",)


def _locked_versions(
    request: Request,
    selection: Selection,
    resolved: ResolvedPython,
    present: SystemPackages,
    markers: Mapping[str, str],
) -> dict[str, RequiredVersion]:
    lock, machine = request.lock, request.machine
    if not lock.is_there:
        return {}
    # uv would have to start a Python that is not there: the machine's own stands in for it.
    with reading(lock):
        text = lock.format.peek(lock, selection, machine=machine, has_python=resolved.is_installed)
        if text is None:
            reader = resolved.python if resolved.is_installed else present.python or resolved.python
            text = lock.format.export(lock, selection, python=reader.path, machine=machine)
        return requirements_text.read(text, markers)


def _download_sizes(request: Request, version: str) -> dict[str, int]:
    """Return the bytes of the wheels that a lock file names for this machine, by the package's name; few name sizes."""
    from colab_env.locks.wheel_support import is_quickly_read, locked_packages
    from colab_env.native_need import locked_files

    sizes: dict[str, int] = {}
    if request.lock.is_there and is_quickly_read(request.lock):
        with contextlib.suppress(ColabEnvError):  # of a file that names no files, or a machine that no wheel is for
            target = locked_files.parse_target(None, version)
            packages = locked_packages(request.lock, target)
            sizes = {package.name: size for package in packages if (size := package.download(target)) is not None}
    return sizes


def _going(request: Request, required: Mapping[str, RequiredVersion]) -> list[str]:
    """Return a note about what is in the environment that is there and will not be in it any more."""
    receipt = request.receipt
    if receipt is None or receipt.inputs == request.inputs or not required:
        return []
    installed = venv.versions(request.project / venv.NAME)
    gone = [f"{name} {version}" for name, version in sorted(installed.items()) if name not in {*required, "pip"}]
    return [f"will be removed: {', '.join(gone)}"] if gone else []


def _unsupported_python(request: Request, found: str) -> str | None:
    machine_python = system.machine_python(request.machine)
    if request.requires_python is None or machine_python is None:
        return None
    asking, colab = request.lock.asks_for_python.name, request.machine.is_colab
    return unsupported_python_message(
        machine_python.version, parse_specifier(request.requires_python), asking=asking, is_colab=colab, found=found
    )


def _markers_of(version: str) -> dict[str, str]:
    from packaging.markers import default_environment

    # Of a Python that is not installed yet, the platform is known all the same: it is this one's.
    full = version if version.count(".") > 1 else f"{version}.0"
    of_python = {
        "python_version": ".".join(full.split(".")[:2]),
        "python_full_version": full,
        "implementation_version": full,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return {**{name: str(value) for name, value in default_environment().items()}, **of_python}
