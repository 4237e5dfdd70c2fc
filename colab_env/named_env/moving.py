"""Give an environment another place: its directory is renamed, and what it says of itself with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _state, system
from colab_env.errors import BrokenEnvironmentError, EnvironmentExistsError, NotAnEnvironmentError
from colab_env.named_env import _relocate, building, inventory, kernels
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.named_env.inventory import NamedEnvironment
    from colab_env.runtime import Runtime


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


def adopt(source: Path, place: NamedEnvironment, *, runtime: Runtime) -> None:
    """Move somebody else's environment to its place, and write the receipt that makes it ours."""
    python = system.at_path(source / "bin/python", runtime=runtime)
    building.verify(source, runtime=runtime, alone=False)
    pinned = tuple(each.replace("-", "==", 1) for each in map(_pinned, inventory.packages(source)))
    recipe = Recipe(python=python.short_version, packages=pinned)
    if source == place.path:
        building.write_receipt(source, recipe, python=python)
        return

    def mark(copied: Path) -> None:
        building.write_receipt(copied, recipe, python=python, moved_from=source)

    move(source, place.path, mark=mark)


def rename(place: NamedEnvironment, new: NamedEnvironment, *, runtime: Runtime) -> None:
    """Give an environment of ours another name, and its kernel with it."""
    receipt = place.receipt
    if receipt is None:
        msg = f"the environment {place.name!r} in {short(place.path)} does not work: {place.health_check()}"
        raise BrokenEnvironmentError(msg, hint=f"create it again, or clear it away: colab-env env purge {place.name}")

    def mark(copied: Path) -> None:
        _state.complete(copied, replace(receipt, moved_from=place.path))

    def then() -> None:
        kernels.register(new, runtime=runtime)
        kernels.remove(place, runtime=runtime)

    move(place.path, new.path, mark=mark, then=then)


def move(
    before: Path, after: Path, *, mark: Callable[[Path], object], then: Callable[[], object] = lambda: None
) -> None:
    """Move an environment, which then says `after` where it said `before`; `mark` writes the receipt into the copy.

    The copy is of hard links and takes no space. If `then` raises, `before` is what it was. A run that is killed leaves
    the one or the other, or both: then `take_back` deletes the copy.
    """
    with _files.staging(after) as (copied,):
        _files.copy_links(before, copied)
        _relocate.rewrite(copied, before=before, after=after)
        mark(copied)
        _files.move(copied, after)
    try:
        then()
    except BaseException:
        _files.remove(after)
        raise
    _files.remove(before)


def has_moved(source: Path, place: NamedEnvironment) -> bool:
    """Say whether a move that is asked for has been done."""
    receipt = place.receipt
    return receipt is not None and receipt.moved_from == source and not os.path.lexists(source)


def clear_leftovers(base: Path) -> None:
    """Clear away what runs that were killed have left in a directory of environments; those that go on are left alone."""
    for path in list(base.iterdir()) if base.is_dir() else ():
        if (named := _files.beside_of(path)) is not None:
            _files.recover(named, wait=False)
    for place in list(inventory.everything([base])):
        if _is_copy(place):
            with _files.locked(place.lock, wait=False) as is_free:
                if is_free and _is_copy(place):
                    _files.remove(place.path)


def _is_copy(place: NamedEnvironment) -> bool:
    """Say whether a move was killed before what it was to move was gone."""
    receipt = place.receipt
    moved_from = receipt.moved_from if receipt is not None else None
    return moved_from is not None and moved_from != place.path and (moved_from / "pyvenv.cfg").is_file()


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"
