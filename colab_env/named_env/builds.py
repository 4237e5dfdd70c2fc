"""The builds of an environment: which are there, which one its name stands for, which of them stay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from colab_env import _files, _state, content
from colab_env.errors import NoSuchEnvironmentError, NotOursError
from colab_env.named_env import _relocate, base_dirs, processes
from colab_env.named_env.inventory import BUILDS, Build, NamedEnvironment, Process, Receipt
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine


def numbers(place: NamedEnvironment) -> list[int]:
    """Return the numbers of its builds that are there, whole or not, in ascending order."""
    names = os.listdir(place.builds) if place.builds.is_dir() else []  # noqa: PTH208  (the names)
    return sorted(int(name) for name in names if name.isdecimal())


def history(place: NamedEnvironment, used: Mapping[Path, list[Process]]) -> list[Build]:
    """Describe the builds that are whole, the newest first; `used` says what runs from each directory."""
    is_first_version = place.current is None and not place.is_lost
    current = 1 if is_first_version else place.current  # it is its only build
    found = [(number, place.build(number)) for number in reversed(numbers(place))]
    return [
        Build.read(path, receipt, number=number, is_current=number == current, processes=tuple(used.get(path, ())))
        for number, path in ([(1, place.path)] if is_first_version else found)
        if (receipt := _state.receipt(path, Receipt)) is not None
    ]


def directory(place: NamedEnvironment, number: int) -> Path:
    """Return where a build is. Raises NoSuchEnvironmentError, with those that there are, for one that is not whole."""
    whole = {each.number: each.path for each in history(place, {})}
    if number in whole:
        return whole[number]
    msg = f"the environment {place.name!r} has no build {number}"
    raise NoSuchEnvironmentError(msg, hint=f"there is: {', '.join(map(str, sorted(whole))) or 'none'}")


def recorded_keep(place: NamedEnvironment) -> int | None:
    """Return how many earlier builds somebody has said are to stay of this environment, or None."""
    receipt = place.receipt
    if receipt is None and place.is_lost:
        receipt = _state.receipt(place.build(place.whole_builds()[0]), Receipt)
    return receipt.keep if receipt else None


def kept(place: NamedEnvironment, *, machine: Machine) -> int:
    """Return how many earlier builds of an environment stay: its own number, the configured one, or one."""
    own = recorded_keep(place)
    return own if own is not None else base_dirs.keep(machine)


def set_keep(place: NamedEnvironment, keep: int) -> None:
    """Let `keep` earlier builds stay from now on, without another build."""
    receipt = place.receipt
    if receipt is not None:
        _state.write(place.directory / _files.RECEIPT, replace(receipt, keep=keep))


def next_number(place: NamedEnvironment) -> int:
    return max(numbers(place), default=0) + 1


def earlier(place: NamedEnvironment) -> list[int]:
    """Return the builds that the current one came after, the last first."""
    found: list[int] = []
    number = place.current
    while number is not None and number not in found:
        found.append(number)
        receipt = _state.receipt(place.build(number), Receipt)
        number = receipt.follows if receipt else None
    return found[1:]


def way_back(place: NamedEnvironment) -> int | None:
    """Return the whole build to go back to: one that the current one came after, or the newest where that is gone."""
    whole = [each.number for each in history(place, {}) if each.number != place.current]
    if place.receipt is None:
        return next(iter(whole), None)
    return next((number for number in earlier(place) if number in whole), None)


def mark(directory: Path, number: int, *, path: Path) -> None:
    """Let a build know its number, and the `path` that its programs say: `front.sh` reads both by the environment's name."""
    _files.write_text(directory / content.BUILD, f"{number}\n{path}\n")


@contextlib.contextmanager
def pointed(place: NamedEnvironment, number: int) -> Iterator[None]:
    """Let the name stand for another build, at once; if the block raises, for what it stood for before."""
    before = os.readlink(place.path) if place.path.is_symlink() else None  # noqa: PTH115  (its text)
    try:
        _point(place, number)  # inside: the stop button may come when it has been done already
        yield
    except BaseException:
        if before is None:
            _files.remove(place.path)
        else:
            _files.put_back_link(place.path, before)
        raise


def _point(place: NamedEnvironment, number: int) -> None:
    spare(place, [number])
    _files.put_back_link(place.path, f"{BUILDS}/{place.name}/{number}")


def take_in(place: NamedEnvironment) -> None:
    """Make an environment of the first version, which is a directory by itself, a build. Its files stay, as hard links.

    Raises NotOursError for what is no environment of ours.
    """
    if place.current is not None or not os.path.lexists(place.path):
        return
    if place.is_foreign_link or not _state.is_marked(place.path):
        msg = f"{short(place.path)} exists, and colab-env did not make it"
        raise NotOursError(msg, hint="move it away or choose another name; nothing was changed")
    number = next_number(place)
    copy_in(place.path, place, number, prompt=(place.name, place.name))
    exchange(place, number)


def exchange(place: NamedEnvironment, number: int) -> None:
    """Let the name stand for a build at once, where an environment has been a directory by itself, which goes."""
    spare(place, [number])
    link = _files.staged_name(place.path)
    _files.discard(link)
    _files.link(link, f"{BUILDS}/{place.name}/{number}")
    _relocate.exchange(place.path, link)
    _files.discard(link)


def copy_in(
    source: Path,
    place: NamedEnvironment,
    number: int,
    *,
    prompt: tuple[str, str],
    also: Mapping[Path, Path] = MappingProxyType({}),
) -> None:
    """Make a build of a copy of an environment, which then says its own path and prompt, and `also` other paths anew.

    The copy is of hard links, and takes no space. It takes the place of a build that has this number, in one instant.
    """
    target = place.build(number)
    with _files.staging(target) as (copied,):
        _files.copy_links(source, copied)
        rewritten = _relocate.rewrite(copied, paths={source: target, **also}, prompt=prompt)
        if (said := content.read(copied)) is not None:
            digests = {path: content.digest(copied / path) for path in rewritten}
            content.write(copied, replace(said, others={**said.others, **digests}))
        mark(copied, number, path=target)
        _files.write_text(copied / content.PURGED, "")
        if (receipt := _state.receipt(copied, Receipt)) is not None:
            _state.write(copied / _files.RECEIPT, replace(receipt, path=target))
        if os.path.lexists(target):
            _relocate.exchange(copied, target)
        else:
            _files.move(copied, target)


def settle(place: NamedEnvironment) -> None:
    """Make a build of the current one, which was moved here, and let it say where it is. Nothing is installed."""
    receipt, number = place.receipt, next_number(place)
    if receipt is None or receipt.path is None:
        return
    copy_in(place.directory, place, number, prompt=(place.name,) * 2, also={receipt.path: place.build(number)})
    copied = place.build(number)
    _state.complete(copied, replace(receipt, path=copied, follows=place.current))
    if place.current is None:
        exchange(place, number)
    else:
        _point(place, number)


def settle_build(place: NamedEnvironment, number: int) -> None:
    """Let a build that was moved here with its base say where it is, under the number that it has."""
    path = place.build(number)
    receipt = _state.receipt(path, Receipt)
    if receipt is not None and receipt.path is not None and place.was_moved(receipt, path):
        copy_in(path, place, number, prompt=(place.name,) * 2, also={receipt.path: path})


def doom(place: NamedEnvironment, doomed: Iterable[int]) -> None:
    """Mark builds that are to go when no name stands for them: what a run that is killed leaves is told from a lost link.

    A new build has the mark until the name stands for it, and one that somebody removes from before its name goes.
    """
    for number in doomed:
        if place.build(number).is_dir():
            _files.write_text(place.build(number) / content.PURGED, "")


def spare(place: NamedEnvironment, spared: Iterable[int]) -> None:
    """Take the mark of `doom` away again."""
    for number in spared:
        _files.discard(place.build(number) / content.PURGED)


def drop(place: NamedEnvironment, made: Iterable[int]) -> None:
    """Delete builds that have just been made, unless the name stands for one of them; others of that name stay."""
    made = list(made)
    if place.current not in made:
        for number in made:
            _files.remove(place.build(number))
    remove_if_empty(place)


def superfluous(place: NamedEnvironment, *, keep: int) -> list[int]:
    """Return the builds that are not to stay.

    What stays: the current one, `keep` of those that it came after, and newer ones, which somebody has rolled back from.
    Where the name stands for none, all but those that somebody has removed: the link may have been lost.
    """
    current, there = place.current, numbers(place)
    if current is None:
        return [number for number in there if place.is_purged(number)]
    if _state.receipt(place.build(current), Receipt) is None:
        return []  # it is damaged: the way back stays
    staying = {current, *(earlier(place)[:keep] if there[:-1] else ())}
    return [number for number in there if number not in staying and number < current]


def collect(place: NamedEnvironment, *, keep: int, spared: int | None = None) -> None:
    """Delete the builds that are not to stay and that nothing runs from, but for one that is `spared`.

    What was started by a path with the environment's name, which `which` prints, may run from any of them. The caller
    holds the environment's lock.
    """
    gone = [number for number in superfluous(place, keep=keep) if number != spared]
    used = processes.users([place.base]) if gone else {}
    for number in gone if place.path not in used else ():
        if place.build(number) not in used:
            _files.remove(place.build(number))
    if place.current is not None:  # marks of a removal that was cut short before the name went
        spare(place, (number for number in numbers(place) if number not in gone))
    remove_if_empty(place)


def remove_if_empty(place: NamedEnvironment) -> None:
    """Delete the directories of builds that nothing is in."""
    _files.remove_if_empty(place.builds)
    _files.remove_if_empty(place.builds.parent)
