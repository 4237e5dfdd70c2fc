"""Give an environment another place: its directory is renamed, and what it says of itself with it."""

from __future__ import annotations

import contextlib
import errno
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
    with moved(source, place.path):
        pinned = tuple(each.replace("-", "==", 1) for each in map(_pinned, inventory.packages(place.path)))
        recipe = Recipe(python=python.short_version, packages=pinned)
        building.write_receipt(place.path, recipe, python=python)


@contextlib.contextmanager
def moved(before: Path, after: Path) -> Iterator[None]:
    """Move an environment inside the block; if the block raises, it is where it was."""
    if before == after:
        yield
        return
    _move(before, after)
    try:
        _relocate.rewrite(after, before=before, after=after)
        yield
    except BaseException:
        _relocate.rewrite(after, before=after, after=before)
        _move(after, before)
        raise


def _move(before: Path, after: Path) -> None:
    try:
        _files.move(before, after)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _files.copy(before, after)  # to another file system
        _files.remove(before)


def _pinned(package: str) -> str:
    name, _, version = package.rpartition("-")
    return f"{name.replace('-', '_')}-{version}"
