"""Named environments as files: one exported and imported, and all of a machine in a manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, content, envs
from colab_env.errors import BrokenEnvironmentError, ColabEnvError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, processes, scripts
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.names import check_environment_name
from colab_env.results import StepResult, short

if TYPE_CHECKING:
    from colab_env.named_env.manifest import Entry

Base = str | Path | None


@dataclass(frozen=True, kw_only=True)
class ExportedEnvironment:
    """An exported environment: the `file`, how many packages it names, how many of them it holds, its `size` in bytes."""

    name: str
    file: Path
    packages: int
    kept: int
    size: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what = f"{inventory.pluralize(self.packages)}, {self.kept} of them in it, {self.size / 1e6:.1f} MB"
        return "\n  ".join([f"✓ Environment {self.name!r} exported to {short(self.file)} ({what})", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "file": str(self.file)}


@dataclass(frozen=True, kw_only=True)
class SyncedEnvironment:
    """What `sync` did to one environment, or would do: `action` is "create", "change", "purge" or "leave"."""

    name: str
    action: str
    reason: str | None = None
    error: ColabEnvError | None = None

    def __repr__(self) -> str:
        mark = "✗" if self.error else {"create": "+", "purge": "-", "change": "~"}.get(self.action, "✓")
        return f"{mark} {self.name:<20} {self.error or self.reason or 'as the manifest says'}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = self.error and {"error": type(self.error).__name__, "message": self.error.message}
        return {"name": self.name, "action": self.action, "reason": self.reason, "error": error}


def export(name: str, output: str | Path | None = None, *, base: Base = None) -> ExportedEnvironment:
    """Write an environment as one file, by default NAME.env.zip: its lock with hashes, and the wheels that no index has.

    What somebody has added with pip is in it. The file is a ZIP archive with a pylock.toml (PEP 751) and what that names by a
    path. Raises UsageError for a package that is installed in place; BrokenEnvironmentError.
    """
    from colab_env.named_env import exporting, locking

    machine = Machine.detect()
    place = inventory.find(name, base_dirs.bases(machine, base))
    if reason := place.health_check():
        msg = f"the environment {name!r} in {short(place.path)} does not work: {reason}"
        raise BrokenEnvironmentError(msg, hint=f"make it anew: colab-env env upgrade {name}")
    receipt, target = envs.receipt_of(place), _files.output_path(output or f"{name}{exporting.SUFFIX}")
    with _files.private_directory(machine.data) as scratch, _current_lock(place, scratch, machine=machine) as directory:
        lock = directory / locking.FILE
        packages = locking.read(lock.read_text(encoding="utf-8"), path=lock)
        exporting.require_whole(packages)
        exporting.write(target, exporting.Exported.of(name, receipt, place.directory), directory)
    by_version = [each.name for each in packages if not each.is_hashed and "vcs" not in each.files]
    notes = (
        [f"no index has said the hashes of {', '.join(by_version)}: what has their version is taken"]
        if by_version
        else []
    )
    kept, size = sum(each.is_kept for each in packages), target.stat().st_size
    return ExportedEnvironment(name=name, file=target, packages=len(packages), kept=kept, size=size, notes=tuple(notes))


@contextlib.contextmanager
def _current_lock(place: NamedEnvironment, scratch: Path, *, machine: Machine) -> Iterator[Path]:
    """Give the directory with a lock of what is installed: the build's, or a new one where something has come since."""
    from colab_env.named_env import building, locking

    directory, lock = place.directory, place.directory / locking.FILE
    there = {each.rpartition("-")[::2] for each in inventory.packages(directory)}
    if lock.is_file():
        locked = locking.read((_files.content(lock) or b"").decode(), path=lock)
        if {(each.name.replace("-", "_"), each.version) for each in locked} == {_normalized(*each) for each in there}:
            yield directory
            return
    building.lock_build(directory, into=scratch, recipe=envs.receipt_of(place).recipe, machine=machine)
    yield scratch


def _normalized(name: str, version: str) -> tuple[str, str]:
    return content.name_of(f"{name}-{version}.dist-info").replace("-", "_"), version


def import_environment(file: str | Path, *, name: str | None = None, base: Base = None) -> StepResult:
    """Make an environment of an exported one, under its `name` or another: the same packages, file by file, by their hashes.

    Its Python has the same version, but for the last part. One that was imported from the same file is left alone. Raises
    ProjectFileError for what is no export; HashMismatchError; and as `create` does.
    """
    from colab_env.named_env import exporting

    machine = Machine.detect()
    with _files.private_directory(machine.data) as scratch:
        exported, lock = exporting.unpack(_files.named_path(file), scratch)
        place = _place(name or exported.name, base, machine)
        recipe = exported.recipe(lock)
        return envs.make(
            place, recipe, machine=machine, keep=exported.keep, locked=scratch, added=exported.added, verb="import"
        )


def sync(file: str | Path, *, prune: bool = False, dry_run: bool = False, base: Base = None) -> list[SyncedEnvironment]:
    """Make the environments of a machine what a manifest says, one after the other; one that fails stops no other.

    With `prune`, those go that the manifest does not name, but for the environments of scripts; with `dry_run`, nothing is
    changed, and what would be is said. Raises ProjectFileError for a manifest that cannot be read.
    """
    from colab_env.named_env import manifest

    machine, entries = Machine.detect(), manifest.read(_files.named_path(file).absolute())
    found = [_synced(entry, machine=machine, base=base, dry_run=dry_run) for entry in entries]
    first = base_dirs.bases(machine, base)[0]
    names = {entry.name for entry in entries}
    there = list(inventory.everything([first])) if prune else []
    others = [each for each in there if each.name not in names and not each.name.startswith(scripts.PREFIX)]
    return [*found, *(_pruned(each, dry_run=dry_run) for each in others)]


def _synced(entry: Entry, *, machine: Machine, base: Base, dry_run: bool) -> SyncedEnvironment:
    place, action, reason = _place(entry.name, base, machine), "leave", None
    try:
        with _files.private_directory(machine.data) as scratch:
            recipe, locked, keep, added = entry.wanted(scratch)
            reason = envs.to_do(place, recipe, machine=machine, keep=keep)
            if reason is not None and (names := envs.lost(place, recipe, added=added)):
                reason += f"; what had been added goes: {', '.join(names)}"
            action = "leave" if reason is None else "create" if place.receipt is None else "change"
            if reason is not None and not dry_run:
                envs.make(place, recipe, machine=machine, keep=keep, locked=locked, added=added)
    except ColabEnvError as error:
        return SyncedEnvironment(name=entry.name, action=action, reason=reason, error=error)
    return SyncedEnvironment(name=entry.name, action=action, reason=reason)


def _pruned(place: NamedEnvironment, *, dry_run: bool) -> SyncedEnvironment:
    reason = "the manifest does not name it"
    try:
        if dry_run:
            processes.require_unused(place)
        else:
            envs.purge(place.name, base=place.base)
    except ColabEnvError as error:
        return SyncedEnvironment(name=place.name, action="purge", reason=reason, error=error)
    return SyncedEnvironment(name=place.name, action="purge", reason=reason)


def _place(name: str, base: Base, machine: Machine) -> NamedEnvironment:
    return NamedEnvironment(name=check_environment_name(name), base=base_dirs.bases(machine, base)[0])
