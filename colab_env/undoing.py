"""Take back what colab-env changed on this machine, path by path, as the ledger says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from colab_env import _file_locks, _files, _ledger, _orphans, _process, _report, _transactions, venv
from colab_env._ledger import File, Ledger, Link
from colab_env.errors import ColabEnvError, UsageError
from colab_env.jupyter import diversion, kernelspec
from colab_env.machine import Machine
from colab_env.miniconda import _overlay, _overlay_undo
from colab_env.request import project_directory
from colab_env.results import CardResult, short, suggest
from colab_env.step import RUNNING, is_own, is_used, machine_lock
from colab_env.undo_changes import (
    Change,
    is_done,
    is_same,
    is_selected,
    obstacle,
    obstacles_inside,
    others_inside,
    read_changes,
)

STEPS = (
    *("install_python", "install_miniconda", "install_colab_packages", "install_poetry", "configure_venv"),
    *("register_kernel", "remove_kernel", "switch", "restore", "add", "container_write", "mend"),
)
INCOMPLETE = 27  # the command's exit code when something is left


@dataclass(frozen=True, kw_only=True)
class Undone:
    """One path: `action` is "put back", "removed", "kept" or "left"; `reason` says why it was left.

    Where apt installed something, the path is dpkg's list of the files of the first of the `packages`.
    """

    path: Path
    step: str
    action: str
    reason: str | None = None
    packages: tuple[str, ...] = ()

    def __repr__(self) -> str:
        subject = ", ".join(self.packages) or short(self.path)
        line = f"{'✗' if self.reason else '✓'} {subject}: {self.action}"
        return f"{line}, {self.reason}" if self.reason else line


@dataclass(frozen=True, kw_only=True)
class UndoResult(CardResult):
    """Everything that `undo` did, or with `dry_run` would do, the newest change first."""

    places: tuple[Undone, ...]
    dry_run: bool

    @property
    def complete(self) -> bool:
        """Say whether nothing was left."""
        return all(undone.reason is None for undone in self.places)

    def __repr__(self) -> str:
        if not self.places:
            return "✓ There is nothing to undo"
        first = ["Nothing was changed; undo() would do this:"] if self.dry_run else []
        return "\n".join([*first, *map(repr, self.places)])

    def _repr_html_(self) -> str:
        from colab_env import cards

        rows = [
            cards.Row(
                mark="✗" if undone.reason else "·" if self.dry_run else "✓",
                name=undone.action.partition(",")[0],
                text=short(undone.path),
                notes=(undone.reason,) if undone.reason else (),
                details=(f"changed by {undone.step}", *([undone.action] if "," in undone.action else [])),
            )
            for undone in self.places
        ]
        count = f"{len(rows)} path{'' if len(rows) == 1 else 's'}"
        if not rows:
            return cards.card("There is nothing to undo", [])
        if self.dry_run:
            return cards.card(f"undo() would take back {count}", rows, mark="·", aside="nothing was changed")
        remaining = sum(undone.reason is not None for undone in self.places)
        title = f"{remaining} of {count} left as they are" if remaining else f"{count} taken back"
        return cards.card(title, rows, mark="✗" if remaining else "✓")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        entries = [{**asdict(undone), "path": str(undone.path)} for undone in self.places]
        return {"dry_run": self.dry_run, "complete": self.complete, "places": entries}


@_report.ends_in_card
def undo(
    steps: str | Iterable[str] | None = None, *, project: str | Path | None = None, dry_run: bool = False
) -> UndoResult:
    """Put everything back as it was before colab-env's first step on this machine, or only what some steps changed.

    `steps` are verbs' names, such as "register_kernel" or "switch"; with `project`, only that project's files and
    kernels. Files that colab-env replaced come back with their content, mode and time; what it made goes. What somebody
    changed since is left as it is, and the result says so. Download caches of uv, pip, Poetry and conda, and named
    environments (see `env purge`), are not touched, nor are notebooks (see `restore_notebook`) and what their own undo
    needs. Waits for steps that run, and can be called again after it was interrupted. The data directory goes last, once
    nothing is left. Raises UsageError for a name that no step has.
    """
    machine, chosen = Machine.detect(), _checked(steps)
    only = None if project is None else project_directory(project)
    lock = machine_lock(machine)
    parents = _ledger.missing_parents(lock)
    with _files.translate_os_errors(machine.data), _process.stoppable(), _file_locks.locked(lock):
        if not dry_run:
            _clear_leftovers(machine, lock)
        results = _undo(machine, chosen, only, dry_run=dry_run)
        # The lock lies beside the data directory, so it outlives that and goes last.
        _files.unlink(lock)
        for parent in parents:
            _files.remove_if_empty(parent)
    return UndoResult(places=tuple(results), dry_run=dry_run)


def changed_paths(machine: Machine) -> list[Path]:
    """Return what `undo` would look at, the newest change first. Waits for nobody."""
    return [change.path for change in read_changes(Ledger(machine.data).read(), machine)]


def _checked(steps: str | Iterable[str] | None) -> set[str]:
    names = [steps] if isinstance(steps, str) else list(steps or ())
    chosen = {name.replace("-", "_") for name in names}
    if unknown := sorted(chosen - set(STEPS)):
        msg = f"no step is called {unknown[0]!r}"
        raise UsageError(msg, hint=suggest(unknown[0], STEPS))
    return chosen


def _clear_leftovers(machine: Machine, lock: Path) -> None:
    """End what runs that were killed have left: programs, half-built files, and the last steps of an `undo`."""
    _orphans.end_orphans(machine.data / RUNNING)
    venv.stop_all_compiling(machine.data / RUNNING)
    for parent in machine.data.parents:
        doomed = parent / f".{machine.data.name}.colab-env-doomed"
        entries = Ledger(doomed).read().entries
        # The ledger of another home may stand here; without one, all but the last files are gone already.
        if doomed.is_dir() and (not entries or any(is_same(entry.path, machine.data) for entry in entries)):
            _delete_data(doomed, _made_for(Ledger(doomed), machine), lock)
    for transaction in (machine.data / "saved").glob("*/transaction.json"):
        if (journal := _overlay.Transaction.read(transaction.parent)) is not None:
            _overlay.recover(journal.prefix, saved=transaction.parent)
    _transactions.sweep(machine.data, _ledger.swept(Ledger(machine.data).read()))


def _undo(machine: Machine, chosen: set[str], project: Path | None, *, dry_run: bool) -> list[Undone]:
    ledger = Ledger(machine.data)
    record = ledger.read()
    # Before the kernels go that say whose they are.
    changes = [change for change in read_changes(record, machine) if is_selected(change, chosen, project, machine)]
    results = [undone for change in changes for undone in _undone(change, ledger, dry_run=dry_run)]
    is_lost = os.path.lexists(ledger.data / "chosen.json") and not record.begins  # a set-up has worked there
    if record.damaged or is_lost:
        lost = "its beginning is lost" if ledger.exists() else "it is gone"
        lost = f"{record.damaged} of its lines are damaged" if record.damaged else lost
        reason = f"{lost}, and what it said is unknown"
        results.append(Undone(path=ledger.directory, step="undo", action="left", reason=reason))
    if not dry_run:
        for parent in sorted(record.made, reverse=True):
            _files.remove_if_empty(parent)
    is_whole = not chosen and project is None
    if is_whole and is_used(machine.data) and all(undone.reason is None for undone in results):
        results += _without_data(machine, gone={undone.path for undone in results}, dry_run=dry_run)
    return results


def _made_for(ledger: Ledger, machine: Machine) -> tuple[Path, ...]:
    """Return the parents of the data directory that colab-env has made."""
    entries = ledger.read().entries
    return next((entry.made for entry in entries if is_same(entry.path, machine.data)), ())


def _undone(change: Change, ledger: Ledger, *, dry_run: bool) -> Iterator[Undone]:
    """Take one change back. What goes wrong with one path keeps no other one from being put back."""
    try:
        attempt = _without_packages if change.packages else _attempted
        yield from attempt(change, ledger, dry_run=dry_run)
    except (ColabEnvError, OSError) as error:
        problem = error if isinstance(error, ColabEnvError) else _files.translate_error(error, change.path)
        yield _left(change, change.path, problem.message)


def _attempted(change: Change, ledger: Ledger, *, dry_run: bool) -> Iterator[Undone]:
    if (reason := obstacle(change, ledger)) is not None:
        yield _left(change, change.path, reason)
        return
    if others := others_inside(change):
        yield Undone(path=change.path, step=change.first.step, action=f"kept, it holds {others}")
    elif not is_done(change):
        obstacles = obstacles_inside(change)
        if not dry_run:
            _restore(change, ledger)
        action = "removed" if change.first.before is None and change.moved_to is None else "put back"
        yield Undone(path=change.path, step=change.first.step, action=action)
        yield from (_left(change, path, reason) for path, reason in obstacles.items())
    if not dry_run:
        for parent in change.first.made:
            _files.remove_if_empty(parent)
        if change.overlay is None or not change.overlay.is_dir():
            ledger.undone(change.path, made=[parent for parent in change.first.made if parent.is_dir()])


def _without_packages(change: Change, ledger: Ledger, *, dry_run: bool) -> Iterator[Undone]:
    """Remove the packages that `mend` had apt install, unless one that is not ours needs them by now."""
    from colab_env.native_need.apt import Apt

    apt = Apt(machine=Machine.detect())
    installed = [name for name in change.packages if name in apt.installed()]
    if installed:
        if (reason := apt.removal_obstacle(installed)) is not None:
            yield replace(_left(change, change.path, reason), packages=tuple(installed))
            return
        if not dry_run:
            apt.remove(installed)
        yield Undone(path=change.path, step=change.first.step, action="removed", packages=tuple(installed))
    if not dry_run:
        ledger.undone(change.path)


def _left(change: Change, path: Path, reason: str) -> Undone:
    return Undone(path=path, step=change.first.step, action="left", reason=reason)


def _restore(change: Change, ledger: Ledger) -> None:
    """Put one path back, whole or not at all. May be repeated after an interruption."""
    if change.overlay is not None:
        _overlay_undo.undo(change.path, saved=change.overlay)
        return
    if change.moved_to is not None:
        _files.remove(change.path)
        if change.moved_to.is_dir():
            _files.move(change.moved_to, change.path)
        return
    match change.first.before:
        case None:
            _files.remove(change.path)
        case File(sha256=sha256, mode=mode, mtime_ns=mtime_ns):
            content = ledger.content(sha256).read_bytes()
            _files.put_back(change.path, content, mode=mode, mtime_ns=mtime_ns)
        case Link(target=target):
            _files.put_back_link(change.path, target)


def _without_data(machine: Machine, *, gone: set[Path], dry_run: bool) -> list[Undone]:
    """Delete colab-env's own directory, but for what named environments need, and what is not colab-env's."""
    remaining = {machine.data / name: reason for name, reason in _needed(machine, gone)}
    ledger = Ledger(machine.data)
    children = [path for path in machine.data.iterdir() if path not in remaining]
    strange = [path for path in children if not is_own(path)]
    if strange:
        others = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        remaining[strange[0]] = f"colab-env did not make it{others}"
    if not dry_run:
        # The counterpart of install_poetry, whose purpose is the notebook's own PATH.
        parts = os.environ.get("PATH", "").split(os.pathsep)
        if str(machine.bin) in parts:
            os.environ["PATH"] = os.pathsep.join(part for part in parts if part != str(machine.bin))
        diversion.forget_failures(None, others=True)
        for child in children:
            if child not in strange and child != ledger.directory:
                _files.remove(child)
        _remove_data(machine, ledger, is_empty=not remaining)
    removed = [] if remaining else [Undone(path=machine.data, step="setup", action="removed")]
    return [*removed, *(Undone(path=path, step="env", action=f"kept, {reason}") for path, reason in remaining.items())]


def _remove_data(machine: Machine, ledger: Ledger, *, is_empty: bool) -> None:
    """Delete the ledger, which is left alone; it says until its end which parents were made."""
    created = _made_for(ledger, machine)
    if not is_empty:
        return  # the next `undo` needs it
    # Outside of every directory that is to go, so that an undo that is killed here can be ended.
    outside = next(parent for parent in machine.data.parents if parent not in created)
    doomed = outside / f".{machine.data.name}.colab-env-doomed"
    try:
        _files.rename(machine.data, doomed)
    except OSError:  # a mount point, or it comes from below on an overlay
        _files.remove(ledger.directory)
        _files.remove_if_empty(machine.data)
        _files.unlink(machine_lock(machine))
    else:
        _delete_data(doomed, created, machine_lock(machine))


def _delete_data(doomed: Path, created: Iterable[Path], lock: Path) -> None:
    """Do the last steps."""
    _files.unlink(lock)
    for parent in created:
        _files.remove_if_empty(parent)
    _files.discard(doomed)


def _needed(machine: Machine, gone: set[Path]) -> Iterator[tuple[str, str]]:
    environments = machine.data / "envs"
    if environments.is_dir() and any(not path.name.startswith(".") for path in environments.iterdir()):
        yield "envs", "its environments go by `colab-env env purge`"
    if any((machine.data / "notebooks").glob("*/*.ipynb")):
        yield "notebooks", "`colab-env add FILE --undo` needs it"
    kernels = [kernel.name for kernel in kernelspec.registered(machine) if kernel.ours and kernel.directory not in gone]
    for name in ("layers", "guard") if kernels else ():
        if (machine.data / name).is_dir():
            yield name, f"the kernel of the named environment {kernels[0]!r} uses it"
