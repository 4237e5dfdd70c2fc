"""Remove an environment: the only room that deletes one, and only one that is ours."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process
from colab_env.errors import NoSuchEnvironmentError, NotAnEnvironmentError
from colab_env.named_env import builds, exposing, inventory, kernels
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.names import check_environment_name
from colab_env.results import StepResult, short, suggest
from colab_env.step import RUNNING

if TYPE_CHECKING:
    from colab_env.machine import Machine


def find(name: str, bases: Sequence[Path], *, if_exists: bool) -> NamedEnvironment | None:
    """Return what is to be removed. Raises NotAnEnvironmentError for anything that is not an environment of ours.

    What an interrupted `create` has left counts as one: its mark lies beside.
    """
    check_environment_name(name)
    places = [NamedEnvironment(name=name, base=base) for base in bases]
    there = [place for place in places if os.path.lexists(place.path) or place.is_unfinished() or place.is_lost]
    if there:
        _require_ours(there[0])
        return there[0]
    if if_exists:
        return None
    msg = f"there is no environment {name!r} in {', '.join(short(base) for base in bases)}"
    raise NoSuchEnvironmentError(msg, hint=suggest(name, (each.name for each in inventory.everything(bases))))


def purge(place: NamedEnvironment, *, machine: Machine, force: bool = False) -> StepResult:
    """Remove it, its kernel, and the links on PATH to its programs.

    It loses its name first, so that nothing can start from what is half gone. A build that somebody
    else runs a program from stays until that ends, unless `force`.
    """
    began = time.monotonic()
    with _process.stoppable(), _files.locked(place.lock, meanwhile=_process.stop_if_asked):
        _process.end_orphans(machine.data / RUNNING)
        _require_ours(place)
        kernels.remove(place, machine=machine)
        for link in exposing.links(place, exposing.directory(machine)):
            _files.unlink(link)
        _files.recover(place.path)
        builds.doom(place, builds.numbers(place))
        _files.remove(place.path)
        if force:
            _files.remove(place.builds)
        builds.collect(place, keep=0)
        left = builds.numbers(place)
    notes = [f"{short(place.build(number))} goes when the programs that run from it have ended" for number in left]
    what, seconds = f"Environment {place.name!r} removed", time.monotonic() - began
    return StepResult(step="purge", what=what, where=place.base, action="done", seconds=seconds, notes=tuple(notes))


def _require_ours(place: NamedEnvironment) -> None:
    if place.is_foreign_link:
        msg = f"{short(place.path)} is a link to {short(place.path.readlink())}"
        raise NotAnEnvironmentError(msg, hint="nothing was removed; remove the link yourself")
    if place.is_lost:
        return
    if place.is_unfinished() and (not place.path.exists() or _files.is_unfinished(place.path)):
        return
    if not place.is_ours():
        msg = f"{short(place.path)} is not an environment that colab-env made"
        raise NotAnEnvironmentError(msg, hint="nothing was removed; it has no receipt or no pyvenv.cfg")
