"""Give an environment another name or place, or remove it: the only module that deletes one, and only one that is ours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _file_locks, _files, _orphans, _process, _state, _transactions, content
from colab_env.errors import (
    BrokenEnvironmentError,
    EnvironmentExistsError,
    NoSuchEnvironmentError,
    NotAnEnvironmentError,
)
from colab_env.named_env import builds, inventory, kernels, programs
from colab_env.named_env.base_dirs import check_environment_name
from colab_env.named_env.inventory import NamedEnvironment, Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.results import StepResult, short, suggest
from colab_env.step import RUNNING

if TYPE_CHECKING:
    from colab_env.machine import Machine

# What a build has that no environment of somebody else's has.
_OWN = {_files.RECEIPT, content.FILE, content.BUILD, content.PURGED}


def require_free(env: NamedEnvironment) -> None:
    """Raise EnvironmentExistsError when anything has that place."""
    if env.path.is_symlink() or env.path.exists() or env.is_lost:
        msg = f"there is a {env.name!r} already: {short(env.path)}"
        raise EnvironmentExistsError(msg, hint=f"take another name, or first: colab-env env purge {env.name}")


def require_environment(path: Path) -> None:
    """Raise NotAnEnvironmentError unless `path` is the directory of a virtual environment."""
    if path.is_symlink() or not (path / "pyvenv.cfg").is_file() or not (path / "bin/python").is_file():
        msg = f"{short(path)} is not the directory of a virtual environment that works"
        raise NotAnEnvironmentError(msg, hint="give the directory that holds pyvenv.cfg, not a link to it")


def adopt(source: Path, env: NamedEnvironment, *, machine: Machine) -> None:
    """Move somebody else's environment to its place, and write the receipt that makes it ours."""
    from colab_env import system
    from colab_env.named_env import building

    python = system.at_path(source / "bin/python", machine=machine)
    building.verify(source, machine=machine, alone=False)
    pinned = tuple(package.replace("-", "==", 1) for package in map(_pinned, inventory.packages(source)))
    recipe = Recipe(python=python.short_version, packages=pinned)
    number = builds.next_number(env)
    builds.copy_in(source, env, number, prompt=(source.name, env.name))
    try:
        building.write_receipt(env.build(number), recipe, python=python, number=number, machine=machine)
        if source == env.path:
            builds.exchange(env, number)
        else:
            _arrive(source, env, number)
    except BaseException:
        builds.drop(env, [number])
        raise


def rename(env: NamedEnvironment, new: NamedEnvironment, *, machine: Machine) -> None:
    """Give an environment of ours another name, and its kernel with it. What runs goes on where it was started from."""
    builds.take_in(env)
    current = env.current
    if current is None:
        return
    names, present = (env.name, new.name), builds.numbers(env)
    shift = max(builds.numbers(new), default=0)  # of one that had the name before, while something runs from it

    def then() -> None:
        kernels.register(new, machine=machine)
        kernels.remove(env, machine=machine)
        for link in programs.every_link(env, machine):
            _files.put_back_link(link, str(new.path / "bin" / link.name))
        programs.forget_links(env, heir=new)
        builds.doom(env, present)

    moved = [number for number in [*reversed(builds.earlier(env)), current] if number in present]
    try:
        for number in moved:
            builds.copy_in(env.build(number), new, number + shift, prompt=names, also={env.path: new.path})
            _mark(new.build(number + shift), None, shift=shift)
        _arrive(env.path, new, current + shift, then=then)
    except BaseException:
        builds.drop(new, (number + shift for number in moved))
        raise
    builds.spare(new, (number + shift for number in moved))
    builds.collect(env, keep=0)


def _arrive(old: Path, new: NamedEnvironment, number: int, *, then: Callable[[], object] = lambda: None) -> None:
    """Let the new name stand for a copy that is whole, and then delete what was copied.

    If `then` raises, `before` is what it was. A run that is killed leaves the one or the other, or both: then
    `clear_leftovers` takes the new name away.
    """
    _mark(new.build(number), old)
    with builds.pointed(new, number):
        then()
    _files.remove(old)
    _mark(new.build(number), None)


def _mark(path: Path, old: Path | None, *, shift: int = 0) -> None:
    """Let the receipt say what the environment is being moved from, or that it has arrived; numbers `shift` on the way."""
    receipt = _state.receipt(path, Receipt)
    if receipt is None:
        msg = f"the environment in {short(path)} does not work: its receipt cannot be read"
        raise BrokenEnvironmentError(msg, hint="create it again, or clear it away with colab-env env purge")
    moved_id = None if old is None else _identity(old)
    follows = None if receipt.follows is None else receipt.follows + shift
    _state.complete(path, replace(receipt, moved_from=old, moved_id=moved_id, follows=follows))


def _identity(directory: Path) -> str | None:
    """Return what tells this directory, or link, from another one at the same path, or None when there is none."""
    try:
        status = directory.lstat()
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}"


def _files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.suffix != ".pyc"}


def has_moved(source: Path, env: NamedEnvironment) -> bool:
    """Say whether a move that is asked for was killed after it had come to its end."""
    receipt = env.receipt
    return receipt is not None and receipt.moved_from == source and _identity(source) is None


def clear_leftovers(base: Path, *, machine: Machine) -> None:
    """Clear away what runs that were killed have left in a directory of environments, and builds that are not to stay.

    Work that goes on is left alone.
    """
    built = base / inventory.BUILDS
    names = [path.name for path in built.iterdir()] if built.is_dir() else []
    for directory in (base, *(built / name for name in names)):
        for path in list(directory.iterdir()) if directory.is_dir() else ():
            if (original := _transactions.beside_of(path)) is not None:
                _transactions.recover(original, wait=False)
    for env in list(inventory.everything([base])):
        if env.is_lost:
            with _file_locks.locked(env.lock, wait=False) as is_free:
                if is_free:
                    _drop_copies(env)
            continue
        _transactions.recover(env.path / _files.RECEIPT, wait=False)
        if env.receipt is not None and env.receipt.moved_from is not None:
            with _file_locks.locked(env.lock, wait=False) as is_free:
                if is_free:
                    _end_move(env)
    for name in names:
        _clear_builds(inventory.NamedEnvironment(name=name, base=base), machine=machine)


def _clear_builds(env: NamedEnvironment, *, machine: Machine) -> None:
    keep = builds.keep_count(env, machine=machine)
    is_cut_short = env.current is not None and any(map(env.is_purged, builds.numbers(env)))
    if is_cut_short or builds.superfluous(env, keep=keep):
        with _file_locks.locked(env.lock, wait=False) as is_free:
            if is_free:
                builds.collect(env, keep=keep)
    builds.remove_if_empty(env)


def _end_move(env: NamedEnvironment) -> None:
    """Delete the copy that a move made while what it copied is still there; else the move has come to its end."""
    receipt = env.receipt
    if receipt is None or receipt.moved_from is None:
        return
    if receipt.moved_id is not None and _identity(receipt.moved_from) == receipt.moved_id:
        if _files_in(env.directory) <= _files_in(receipt.moved_from) | _OWN:
            builds.doom(env, [number for number in (env.current, *builds.earlier(env)) if number])
            _files.remove(env.path)
            builds.collect(env, keep=0)
        else:
            _mark(env.directory, None)  # somebody works in it already
    elif _identity(receipt.moved_from) is not None:
        _mark(env.directory, None)  # another one has its place by now


def _drop_copies(env: NamedEnvironment) -> None:
    """Delete what a move has copied and nothing is called by, while what it copied is still there.

    On a full disk the name goes again, and the mark of builds that are to go cannot be written.
    """
    copies = env.whole_builds()
    receipts = [receipt for number in copies if (receipt := _state.receipt(env.build(number), Receipt))]
    if any(each.moved_from and each.moved_id and _identity(each.moved_from) == each.moved_id for each in receipts):
        for number in copies:
            _files.remove(env.build(number))


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"


def find_removable(name: str, bases: Sequence[Path], *, if_exists: bool) -> NamedEnvironment | None:
    """Return what is to be removed. Raises NotAnEnvironmentError for anything that is not an environment of ours.

    What an interrupted `create` has left counts as one: its mark lies beside.
    """
    check_environment_name(name)
    candidates = [NamedEnvironment(name=name, base=base) for base in bases]
    present = [env for env in candidates if os.path.lexists(env.path) or env.is_unfinished() or env.is_lost]
    if present:
        _require_ours(present[0])
        return present[0]
    if if_exists:
        return None
    msg = f"there is no environment {name!r} in {', '.join(short(base) for base in bases)}"
    raise NoSuchEnvironmentError(msg, hint=suggest(name, (env.name for env in inventory.everything(bases))))


def purge(
    env: NamedEnvironment, *, machine: Machine, force: bool = False, if_exists: bool = False
) -> StepResult | None:
    """Remove it, its kernel, and the links on PATH to its programs; return None where another run has done so meanwhile.

    It loses its name first, so that nothing can start from what is half gone. A build that somebody
    else runs a program from stays until that ends, unless `force`.
    """
    began = time.monotonic()
    with _process.stoppable(), _file_locks.locked(env.lock, meanwhile=_process.stop_if_asked):
        _orphans.end_orphans(machine.data / RUNNING)
        if find_removable(env.name, [env.base], if_exists=if_exists) is None:
            return None
        kernels.remove(env, machine=machine)
        for link in programs.every_link(env, machine):
            _files.unlink(link)
        programs.forget_links(env)
        _transactions.recover(env.path)
        builds.doom(env, builds.numbers(env))
        _files.remove(env.path)
        if force:
            _files.remove(env.builds)
        builds.collect(env, keep=0)
        remaining = builds.numbers(env)
    notes = [f"{short(env.build(number))} goes when the programs that run from it have ended" for number in remaining]
    what, seconds = f"Environment {env.name!r} removed", time.monotonic() - began
    return StepResult(step="purge", what=what, where=env.base, action="done", seconds=seconds, notes=tuple(notes))


def _require_ours(env: NamedEnvironment) -> None:
    if env.is_foreign_link:
        msg = f"{short(env.path)} is a link to {short(env.path.readlink())}"
        raise NotAnEnvironmentError(msg, hint="nothing was removed; remove the link yourself")
    if env.is_lost:
        return
    if env.is_unfinished() and (not env.path.exists() or _transactions.is_unfinished(env.path)):
        return
    if not env.is_ours():
        msg = f"{short(env.path)} is not an environment that colab-env made"
        raise NotAnEnvironmentError(msg, hint="nothing was removed; it has no receipt or no pyvenv.cfg")
