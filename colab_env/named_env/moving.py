"""Give an environment another place: its directory is renamed, and what it says of itself with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _state, system
from colab_env.errors import BrokenEnvironmentError, EnvironmentExistsError, NotAnEnvironmentError
from colab_env.named_env import _relocate, building, inventory, kernels
from colab_env.named_env.inventory import Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment


def require_free(place: NamedEnvironment) -> None:
    """Raise EnvironmentExistsError when anything has that place."""
    if place.path.is_symlink() or place.path.exists():
        msg = f"there is a {place.name!r} already: {short(place.path)}"
        raise EnvironmentExistsError(msg, hint=f"take another name, or first: colab-env env purge {place.name}")


def require_environment(path: Path) -> None:
    """Raise NotAnEnvironmentError unless `path` is the directory of a virtual environment."""
    if path.is_symlink() or not (path / "pyvenv.cfg").is_file() or not (path / "bin/python").is_file():
        msg = f"{short(path)} is not the directory of a virtual environment that works"
        raise NotAnEnvironmentError(msg, hint="give the directory that holds pyvenv.cfg, not a link to it")


def adopt(source: Path, place: NamedEnvironment, *, machine: Machine) -> None:
    """Move somebody else's environment to its place, and write the receipt that makes it ours."""
    python = system.at_path(source / "bin/python", machine=machine)
    building.verify(source, machine=machine, alone=False)
    pinned = tuple(each.replace("-", "==", 1) for each in map(_pinned, inventory.packages(source)))
    recipe = Recipe(python=python.short_version, packages=pinned)
    if source == place.path:
        building.write_receipt(source, recipe, python=python)
        return

    def complete(copied: Path) -> None:
        building.write_receipt(copied, recipe, python=python)

    move(source, place, complete=complete)


def rename(place: NamedEnvironment, new: NamedEnvironment, *, machine: Machine) -> None:
    """Give an environment of ours another name, and its kernel with it."""

    def then() -> None:
        kernels.register(new, machine=machine)
        kernels.remove(place, machine=machine)

    move(place.path, new, then=then)


def move(
    before: Path,
    new: NamedEnvironment,
    *,
    complete: Callable[[Path], object] = lambda _: None,
    then: Callable[[], object] = lambda: None,
) -> None:
    """Move an environment, which then says its new path where it said `before`; `complete` writes a receipt into the copy.

    The copy is of hard links and takes no space. If `then` raises, `before` is what it was. A run that is killed leaves
    the one or the other, or both: then `clear_leftovers` deletes the copy.
    """
    with _files.staging(new.path) as (copied,):
        _files.copy_links(before, copied)
        _relocate.rewrite(copied, before=before, after=new.path)
        complete(copied)
        _mark(copied, before)
        _files.move(copied, new.path)
    try:
        then()
    except BaseException:
        _files.remove(new.path)
        raise
    _files.remove(before)
    _mark(new.path, None)


def _mark(path: Path, before: Path | None) -> None:
    """Let the receipt say what the environment is being moved from, or that it has arrived."""
    receipt = _state.receipt(path, Receipt)
    if receipt is None:
        msg = f"the environment in {short(path)} does not work: its receipt cannot be read"
        raise BrokenEnvironmentError(msg, hint="create it again, or clear it away with colab-env env purge")
    moved_id = None if before is None else _identity(before)
    _state.complete(path, replace(receipt, moved_from=before, moved_id=moved_id))


def _identity(directory: Path) -> str | None:
    """Return what tells this directory from another one at the same path, or None when there is none."""
    try:
        found = directory.lstat()
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}:{found.st_mtime_ns}"


def _files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.suffix != ".pyc"}


def has_moved(source: Path, place: NamedEnvironment) -> bool:
    """Say whether a move that is asked for was killed after it had come to its end."""
    receipt = place.receipt
    return receipt is not None and receipt.moved_from == source and _identity(source) is None


def clear_leftovers(base: Path) -> None:
    """Clear away what runs that were killed have left in a directory of environments; those that go on are left alone."""
    for path in list(base.iterdir()) if base.is_dir() else ():
        if (named := _files.beside_of(path)) is not None:
            _files.recover(named, wait=False)
    for place in list(inventory.everything([base])):
        _files.recover(place.path / _files.RECEIPT, wait=False)
        if place.receipt is not None and place.receipt.moved_from is not None:
            with _files.locked(place.lock, wait=False) as is_free:
                if is_free:
                    _end_move(place)


def _end_move(place: NamedEnvironment) -> None:
    """Delete the copy that a move made while what it copied is still there; else the move has come to its end."""
    receipt = place.receipt
    if receipt is None or receipt.moved_from is None:
        return
    if receipt.moved_id is not None and _identity(receipt.moved_from) == receipt.moved_id:
        if _files_in(place.path) <= _files_in(receipt.moved_from) | {_files.RECEIPT}:
            _files.remove(place.path)
        else:
            _mark(place.path, None)  # somebody works in it already
    elif _identity(receipt.moved_from) is not None:
        _mark(place.path, None)  # another one has its place by now


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"
