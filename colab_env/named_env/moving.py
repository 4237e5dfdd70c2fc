"""Give an environment another place: its directory is renamed, and what it says of itself with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, system
from colab_env.errors import EnvironmentExistsError, NotAnEnvironmentError
from colab_env.named_env import _relocate, building, inventory
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
    with moved(source, place.path) as copied:
        building.write_receipt(copied, recipe, python=python, moved_from=source)


@contextlib.contextmanager
def moved(before: Path, after: Path) -> Iterator[Path]:
    """Give a copy of an environment that says `after`; it goes there after the block, and `before` goes.

    The copy is of hard links and costs no space. A run that is killed leaves the one or the other, or both: then
    `take_back` deletes the copy, whose receipt says from where it was `moved_from`.
    """
    with _files.staging(after) as (copied,):
        _files.copy_links(before, copied)
        _relocate.rewrite(copied, before=before, after=after)
        yield copied
        _files.move(copied, after)
    _files.remove(before)


def take_back(place: NamedEnvironment) -> None:
    """Delete what a move that was killed had copied already, while what it was to move is still there."""
    moved_from = (place.receipt or {}).get("moved_from")
    if isinstance(moved_from, str) and (Path(moved_from) / "pyvenv.cfg").is_file():
        _files.remove(place.path)


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"
