"""Named environments as files: one exported and imported, and all of a machine in a manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _file_locks, _files, content, envs
from colab_env.errors import BrokenEnvironmentError, ColabEnvError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, making, programs, scripts
from colab_env.named_env.base_dirs import check_environment_name
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.reports import ExportedEnvironment, SyncedEnvironment
from colab_env.results import StepResult, short

if TYPE_CHECKING:
    from colab_env.named_env.exporting import Entry

Base = str | Path | None


def export(name: str, output: str | Path | None = None, *, base: Base = None) -> ExportedEnvironment:
    """Write an environment as one file, by default NAME.env.zip: its lock with hashes, and the wheels that no index has.

    Among these are wheels of what came from an address of its own, which may be gone when the file is imported.

    What somebody has added with pip is in it. The file is a ZIP archive with a pylock.toml (PEP 751) and what that names by a
    path. Raises UsageError for a package that is installed in place; BrokenEnvironmentError.
    """
    from colab_env.named_env import exporting, locking

    machine = Machine.detect()
    env = inventory.find(name, base_dirs.bases(machine, base))
    if reason := env.health_check():
        msg = f"the environment {name!r} in {short(env.path)} does not work: {reason}"
        raise BrokenEnvironmentError(msg, hint=f"make it anew: colab-env env upgrade {name}")
    receipt, target = making.require_receipt(env), _files.output_path(output or f"{name}{exporting.SUFFIX}")
    with (
        _file_locks.private_directory(machine.data) as scratch,
        _current_lock(env, scratch, machine=machine) as current,
    ):
        directory, lock = current, current / locking.FILE
        packages = locking.read(lock.read_text(encoding="utf-8"), path=lock)
        exporting.require_whole(packages)
        if any("archive" in package.files for package in packages):
            packages = locking.bundle_archives(env.directory, directory, into=scratch)
            directory = scratch
        exporting.write(target, exporting.Exported.of(name, receipt, env.directory), directory)
    by_version = [package.name for package in packages if not package.is_hashed and "vcs" not in package.files]
    notes = (
        [f"no index has said the hashes of {', '.join(by_version)}: what has their version is taken"]
        if by_version
        else []
    )
    bundled, size = sum(package.is_bundled for package in packages), target.stat().st_size
    return ExportedEnvironment(
        name=name, file=target, packages=len(packages), kept=bundled, size=size, notes=tuple(notes)
    )


@contextlib.contextmanager
def _current_lock(env: NamedEnvironment, scratch: Path, *, machine: Machine) -> Iterator[Path]:
    """Give the directory with a lock of what is installed: the build's, or a new one where something has come since."""
    from colab_env.named_env import building, locking

    directory, lock = env.directory, env.directory / locking.FILE
    installed = {_normalized(*package.rpartition("-")[::2]) for package in inventory.packages(directory)}
    if lock.is_file():
        locked = locking.read((_files.content(lock) or b"").decode(), path=lock)
        if {(package.name.replace("-", "_"), package.version) for package in locked} == installed:
            yield directory
            return
    building.lock_build(directory, into=scratch, recipe=making.require_receipt(env).recipe, machine=machine)
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
    exporting.require_export(_files.named_path(file))
    with _file_locks.private_directory(machine.data) as scratch:
        exported, lock = exporting.unpack(_files.named_path(file), scratch)
        env = _environment(name or exported.name, base, machine)
        recipe = exported.recipe(lock)
        return making.make(
            env, recipe, machine=machine, keep=exported.keep, locked=scratch, added=exported.added, verb="import"
        )


def sync(file: str | Path, *, prune: bool = False, dry_run: bool = False, base: Base = None) -> list[SyncedEnvironment]:
    """Make the environments of a machine what a manifest says, one after the other; one that fails stops no other.

    With `prune`, those go that the manifest does not name, but for the environments of scripts; with `dry_run`, nothing is
    changed, and what would be is said. Raises ProjectFileError for a manifest that cannot be read.
    """
    from colab_env.named_env import exporting

    machine, entries = Machine.detect(), exporting.read_manifest(_files.named_path(file).absolute())
    results = [_synced(entry, machine=machine, base=base, dry_run=dry_run) for entry in entries]
    names = {entry.name for entry in entries}
    present = list(inventory.everything([base_dirs.bases(machine, base)[0]])) if prune else []
    others = [env for env in present if env.name not in names and not env.name.startswith(scripts.PREFIX)]
    return [*results, *(_pruned(env, dry_run=dry_run) for env in others)]


def _synced(entry: Entry, *, machine: Machine, base: Base, dry_run: bool) -> SyncedEnvironment:
    env, action, reason = _environment(entry.name, base, machine), "leave", None
    try:
        with _file_locks.private_directory(machine.data) as scratch:
            recipe, locked, keep, added = entry.contents(scratch)
            reason = making.to_do(env, recipe, machine=machine, keep=keep)
            if reason is not None and (names := making.lost(env, recipe, added=added)):
                reason += f"; what had been added goes: {', '.join(names)}"
            action = "leave" if reason is None else "create" if env.receipt is None else "change"
            if reason is not None and not dry_run:
                making.make(env, recipe, machine=machine, keep=keep, locked=locked, added=added)
    except ColabEnvError as error:
        return SyncedEnvironment(name=entry.name, action=action, reason=reason, error=error)
    return SyncedEnvironment(name=entry.name, action=action, reason=reason)


def _pruned(env: NamedEnvironment, *, dry_run: bool) -> SyncedEnvironment:
    reason = "the manifest does not name it"
    try:
        if dry_run:
            programs.require_unused(env)
        else:
            envs.purge(env.name, base=env.base)
    except ColabEnvError as error:
        return SyncedEnvironment(name=env.name, action="purge", reason=reason, error=error)
    return SyncedEnvironment(name=env.name, action="purge", reason=reason)


def _environment(name: str, base: Base, machine: Machine) -> NamedEnvironment:
    return NamedEnvironment(name=check_environment_name(name), base=base_dirs.bases(machine, base)[0])
