"""Give an environment another place: its directory is renamed, and what it says of itself with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _state, content, system
from colab_env.errors import BrokenEnvironmentError, EnvironmentExistsError, NotAnEnvironmentError
from colab_env.named_env import building, builds, exposing, inventory, kernels
from colab_env.named_env.inventory import Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment

# What a build has that no environment of somebody else's has.
_OWN = {_files.RECEIPT, content.FILE, content.BUILD, content.PURGED}


def require_free(place: NamedEnvironment) -> None:
    """Raise EnvironmentExistsError when anything has that place."""
    if place.path.is_symlink() or place.path.exists() or place.is_lost:
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
    number = builds.next_number(place)
    builds.copy_in(source, place, number, prompt=(source.name, place.name))
    try:
        building.write_receipt(place.build(number), recipe, python=python, number=number)
        if source == place.path:
            builds.exchange(place, number)
        else:
            _arrive(source, place, number)
    except BaseException:
        builds.drop(place, [number])
        raise


def rename(place: NamedEnvironment, new: NamedEnvironment, *, machine: Machine) -> None:
    """Give an environment of ours another name, and its kernel with it. What runs goes on where it was started from."""
    builds.take_in(place)
    current = place.current
    if current is None:
        return
    names, there = (place.name, new.name), builds.numbers(place)
    shift = max(builds.numbers(new), default=0)  # of one that had the name before, while something runs from it

    def then() -> None:
        kernels.register(new, machine=machine)
        kernels.remove(place, machine=machine)
        for link in exposing.links(place, exposing.directory(machine)):
            _files.put_back_link(link, str(new.path / "bin" / link.name))
        builds.doom(place, there)

    moved = [each for each in [*reversed(builds.earlier(place)), current] if each in there]
    try:
        for number in moved:
            builds.copy_in(place.build(number), new, number + shift, prompt=names, also={place.path: new.path})
            _mark(new.build(number + shift), None, shift=shift)
        _arrive(place.path, new, current + shift, then=then)
    except BaseException:
        builds.drop(new, (number + shift for number in moved))
        raise
    builds.spare(new, (number + shift for number in moved))
    builds.collect(place, keep=0)


def _arrive(before: Path, new: NamedEnvironment, number: int, *, then: Callable[[], object] = lambda: None) -> None:
    """Let the new name stand for a copy that is whole, and then delete what was copied.

    If `then` raises, `before` is what it was. A run that is killed leaves the one or the other, or both: then
    `clear_leftovers` takes the new name away.
    """
    _mark(new.build(number), before)
    with builds.pointed(new, number):
        then()
    _files.remove(before)
    _mark(new.build(number), None)


def _mark(path: Path, before: Path | None, *, shift: int = 0) -> None:
    """Let the receipt say what the environment is being moved from, or that it has arrived; numbers `shift` on the way."""
    receipt = _state.receipt(path, Receipt)
    if receipt is None:
        msg = f"the environment in {short(path)} does not work: its receipt cannot be read"
        raise BrokenEnvironmentError(msg, hint="create it again, or clear it away with colab-env env purge")
    moved_id = None if before is None else _identity(before)
    follows = None if receipt.follows is None else receipt.follows + shift
    _state.complete(path, replace(receipt, moved_from=before, moved_id=moved_id, follows=follows))


def _identity(directory: Path) -> str | None:
    """Return what tells this directory, or link, from another one at the same path, or None when there is none."""
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


def clear_leftovers(base: Path, *, machine: Machine) -> None:
    """Clear away what runs that were killed have left in a directory of environments, and builds that are not to stay.

    Work that goes on is left alone.
    """
    built = base / inventory.BUILDS
    names = [path.name for path in built.iterdir()] if built.is_dir() else []
    for directory in (base, *(built / name for name in names)):
        for path in list(directory.iterdir()) if directory.is_dir() else ():
            if (named := _files.beside_of(path)) is not None:
                _files.recover(named, wait=False)
    for place in list(inventory.everything([base])):
        if place.is_lost:
            continue
        _files.recover(place.path / _files.RECEIPT, wait=False)
        if place.receipt is not None and place.receipt.moved_from is not None:
            with _files.locked(place.lock, wait=False) as is_free:
                if is_free:
                    _end_move(place)
    for name in names:
        _clear_builds(inventory.NamedEnvironment(name=name, base=base), machine=machine)


def _clear_builds(place: NamedEnvironment, *, machine: Machine) -> None:
    keep = builds.kept(place, machine=machine)
    is_cut_short = place.current is not None and any(map(place.is_purged, builds.numbers(place)))
    if is_cut_short or builds.superfluous(place, keep=keep):
        with _files.locked(place.lock, wait=False) as is_free:
            if is_free:
                builds.collect(place, keep=keep)
    builds.remove_if_empty(place)


def _end_move(place: NamedEnvironment) -> None:
    """Delete the copy that a move made while what it copied is still there; else the move has come to its end."""
    receipt = place.receipt
    if receipt is None or receipt.moved_from is None:
        return
    if receipt.moved_id is not None and _identity(receipt.moved_from) == receipt.moved_id:
        if _files_in(place.directory) <= _files_in(receipt.moved_from) | _OWN:
            builds.doom(place, [number for number in (place.current, *builds.earlier(place)) if number])
            _files.remove(place.path)
            builds.collect(place, keep=0)
        else:
            _mark(place.directory, None)  # somebody works in it already
    elif _identity(receipt.moved_from) is not None:
        _mark(place.directory, None)  # another one has its place by now


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"
