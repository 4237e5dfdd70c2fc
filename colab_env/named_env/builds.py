"""The builds of an environment: which are there, which one its name stands for, which of them stay."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from colab_env import _files, _state, _transactions, content
from colab_env.errors import NoSuchEnvironmentError, NotOursError
from colab_env.named_env import base_dirs, programs
from colab_env.named_env.inventory import BUILDS, NamedEnvironment, Receipt, packages
from colab_env.named_env.reports import Build, Process
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine

_NAME_ENDS = rb"(?![A-Za-z0-9._-])"


def numbers(env: NamedEnvironment) -> list[int]:
    """Return the numbers of its builds that are there, whole or not, in ascending order."""
    names = os.listdir(env.builds) if env.builds.is_dir() else []  # noqa: PTH208  (the names)
    return sorted(int(name) for name in names if name.isdecimal())


def history(env: NamedEnvironment, used: Mapping[Path, list[Process]]) -> list[Build]:
    """Describe the builds that are whole, the newest first; `used` says what runs from each directory."""
    is_first_version = env.current is None and not env.is_lost
    current = 1 if is_first_version else env.current  # it is its only build
    candidates = [(number, env.build(number)) for number in reversed(numbers(env))]
    return [
        Build(
            number=number,
            path=path,
            is_current=number == current,
            python=receipt.python.version,
            packages=tuple(packages(path)),
            size=receipt.size,
            age=time.time() - receipt.created,
            processes=tuple(used.get(path, ())),
        )
        for number, path in ([(1, env.path)] if is_first_version else candidates)
        if (receipt := _state.receipt(path, Receipt)) is not None
    ]


def directory(env: NamedEnvironment, number: int) -> Path:
    """Return where a build is. Raises NoSuchEnvironmentError, with those that there are, for one that is not whole."""
    whole = {build.number: build.path for build in history(env, {})}
    if number in whole:
        return whole[number]
    msg = f"the environment {env.name!r} has no build {number}"
    raise NoSuchEnvironmentError(msg, hint=f"there is: {', '.join(map(str, sorted(whole))) or 'none'}")


def recorded_keep(env: NamedEnvironment) -> int | None:
    """Return how many earlier builds somebody has said are to stay of this environment, or None."""
    receipt = env.receipt
    if receipt is None and env.is_lost:
        receipt = _state.receipt(env.build(env.whole_builds()[0]), Receipt)
    return receipt.keep if receipt else None


def keep_count(env: NamedEnvironment, *, machine: Machine) -> int:
    """Return how many earlier builds of an environment stay: its own number, the configured one, or one."""
    recorded = recorded_keep(env)
    return recorded if recorded is not None else base_dirs.keep(machine)


def set_keep(env: NamedEnvironment, keep: int) -> None:
    """Let `keep` earlier builds stay from now on, without another build."""
    receipt = env.receipt
    if receipt is not None:
        _state.write(env.directory / _files.RECEIPT, replace(receipt, keep=keep))


def next_number(env: NamedEnvironment) -> int:
    return max(numbers(env), default=0) + 1


def earlier(env: NamedEnvironment) -> list[int]:
    """Return the builds that the current one came after, the last first."""
    numbers_before: list[int] = []
    number = env.current
    while number is not None and number not in numbers_before:
        numbers_before.append(number)
        receipt = _state.receipt(env.build(number), Receipt)
        number = receipt.follows if receipt else None
    return numbers_before[1:]


def way_back(env: NamedEnvironment) -> int | None:
    """Return the whole build to go back to: one that the current one came after, or the newest where that is gone."""
    whole = [build.number for build in history(env, {}) if build.number != env.current]
    if env.receipt is None:
        return next(iter(whole), None)
    return next((number for number in earlier(env) if number in whole), None)


def mark(directory: Path, number: int, *, path: Path) -> None:
    """Let a build know its number, and the `path` that its programs say: `front.sh` reads both by the environment's name."""
    _files.write_text(directory / content.BUILD, f"{number}\n{path}\n")


@contextlib.contextmanager
def pointed(env: NamedEnvironment, number: int) -> Iterator[None]:
    """Let the name stand for another build, at once; if the block raises, for what it stood for before."""
    previous = os.readlink(env.path) if env.path.is_symlink() else None  # noqa: PTH115  (its text)
    try:
        _point(env, number)  # inside: the stop button may come when it has been done already
        yield
    except BaseException:
        if previous is None:
            _files.remove(env.path)
        else:
            _files.put_back_link(env.path, previous)
        raise


def _point(env: NamedEnvironment, number: int) -> None:
    spare(env, [number])
    _files.put_back_link(env.path, f"{BUILDS}/{env.name}/{number}")


def take_in(env: NamedEnvironment) -> None:
    """Make an environment of the first version, which is a directory by itself, a build. Its files stay, as hard links.

    Raises NotOursError for what is no environment of ours.
    """
    if env.current is not None or not os.path.lexists(env.path):
        return
    if env.is_foreign_link or not _state.is_marked(env.path):
        msg = f"{short(env.path)} exists, and colab-env did not make it"
        raise NotOursError(msg, hint="move it away or choose another name; nothing was changed")
    number = next_number(env)
    copy_in(env.path, env, number, prompt=(env.name, env.name))
    exchange(env, number)


def exchange(env: NamedEnvironment, number: int) -> None:
    """Let the name stand for a build at once, where an environment has been a directory by itself, which goes."""
    spare(env, [number])
    link = _transactions.staged_name(env.path)
    _files.discard(link)
    _files.link(link, f"{BUILDS}/{env.name}/{number}")
    _files.exchange(env.path, link)
    _files.discard(link)


def copy_in(
    source: Path,
    env: NamedEnvironment,
    number: int,
    *,
    prompt: tuple[str, str],
    also: Mapping[Path, Path] = MappingProxyType({}),
) -> None:
    """Make a build of a copy of an environment, which then says its own path and prompt, and `also` other paths anew.

    The copy is of hard links, and takes no space. It takes the place of a build that has this number, in one instant.
    """
    target = env.build(number)
    with _transactions.staging(target) as (copied,):
        _files.copy_links(source, copied)
        rewritten = rewrite(copied, paths={source: target, **also}, prompt=prompt)
        if (recorded := content.read(copied)) is not None:
            digests = {path: content.digest(copied / path) for path in rewritten}
            content.write(copied, replace(recorded, others={**recorded.others, **digests}))
        mark(copied, number, path=target)
        _files.write_text(copied / content.PURGED, "")
        if (receipt := _state.receipt(copied, Receipt)) is not None:
            _state.write(copied / _files.RECEIPT, replace(receipt, path=target))
        if os.path.lexists(target):
            _files.exchange(copied, target)
        else:
            _files.move(copied, target)


def settle(env: NamedEnvironment) -> None:
    """Make a build of the current one, which was moved here, and let it say where it is. Nothing is installed."""
    receipt, number = env.receipt, next_number(env)
    if receipt is None or receipt.path is None:
        return
    copy_in(env.directory, env, number, prompt=(env.name,) * 2, also={receipt.path: env.build(number)})
    copied = env.build(number)
    _state.complete(copied, replace(receipt, path=copied, follows=env.current))
    if env.current is None:
        exchange(env, number)
    else:
        _point(env, number)


def settle_build(env: NamedEnvironment, number: int) -> None:
    """Let a build that was moved here with its base say where it is, under the number that it has."""
    path = env.build(number)
    receipt = _state.receipt(path, Receipt)
    if receipt is not None and receipt.path is not None and env.was_moved(receipt, path):
        copy_in(path, env, number, prompt=(env.name,) * 2, also={receipt.path: path})


def doom(env: NamedEnvironment, doomed: Iterable[int]) -> None:
    """Mark builds that are to go when no name stands for them: what a run that is killed leaves is told from a lost link.

    A new build has the mark until the name stands for it, and one that somebody removes from before its name goes.
    """
    for number in doomed:
        if env.build(number).is_dir():
            _files.write_text(env.build(number) / content.PURGED, "")


def spare(env: NamedEnvironment, spared: Iterable[int]) -> None:
    """Take the mark of `doom` away again."""
    for number in spared:
        _files.discard(env.build(number) / content.PURGED)


def drop(env: NamedEnvironment, numbers_made: Iterable[int]) -> None:
    """Delete builds that have just been made, unless the name stands for one of them; others of that name stay."""
    numbers_made = list(numbers_made)
    if env.current not in numbers_made:
        for number in numbers_made:
            _files.remove(env.build(number))
    remove_if_empty(env)


def superfluous(env: NamedEnvironment, *, keep: int) -> list[int]:
    """Return the builds that are not to stay.

    What stays: the current one, `keep` of those that it came after, and newer ones, which somebody has rolled back from.
    Where the name stands for none, all but those that somebody has removed: the link may have been lost.
    """
    current, present = env.current, numbers(env)
    if current is None:
        return [number for number in present if env.is_purged(number)]
    if _state.receipt(env.build(current), Receipt) is None:
        return []  # it is damaged: the way back stays
    staying = {current, *(earlier(env)[:keep] if present[:-1] else ())}
    return [number for number in present if number not in staying and number < current]


def collect(env: NamedEnvironment, *, keep: int, spared: int | None = None) -> None:
    """Delete the builds that are not to stay and that nothing runs from, but for one that is `spared`.

    What was started by a path with the environment's name, which `which` prints, may run from any of them. The caller
    holds the environment's lock.
    """
    gone = [number for number in superfluous(env, keep=keep) if number != spared]
    used = programs.users([env.base]) if gone else {}
    for number in gone if env.path not in used else ():
        if env.build(number) not in used:
            _files.remove(env.build(number))
    if env.current is not None:  # marks of a removal that was cut short before the name went
        spare(env, (number for number in numbers(env) if number not in gone))
    remove_if_empty(env)


def remove_if_empty(env: NamedEnvironment) -> None:
    """Delete the directories of builds that nothing is in."""
    _files.remove_if_empty(env.builds)
    _files.remove_if_empty(env.builds.parent)


def rewrite(directory: Path, *, paths: Mapping[Path, Path], prompt: tuple[str, str]) -> list[str]:
    """Make the programs, activation scripts and kernel files in `directory` say its new paths and its new prompt.

    Return which files were changed, by their path in the directory.
    """
    rewritten = []
    after = {os.fsencode(old): os.fsencode(new) for old, new in paths.items()}
    old_paths = re.compile(b"(" + b"|".join(map(re.escape, after)) + b")" + _NAME_ENDS)
    old, new = map(os.fsencode, prompt)
    prompts = re.compile(rb"(?i)(prompt['\"]?[ =:(]*['\"(]?|\[ \"x)" + re.escape(old) + _NAME_ENDS)
    for path in _files_with_paths(directory):
        content = path.read_bytes()
        if b"\0" not in content[:1024]:
            changed = old_paths.sub(lambda match: after[match[1]], content)
            changed = prompts.sub(lambda match: match[1] + new, changed)
            if changed != content:
                # A new file instead of new text in the old one: that may be a hard link into the cache of uv.
                status = path.stat()
                _files.put_back(path, changed, mode=status.st_mode & 0o7777, mtime_ns=status.st_mtime_ns)
                rewritten.append(str(path.relative_to(directory)))
    return rewritten


def _files_with_paths(directory: Path) -> Iterator[Path]:
    for pattern in ("pyvenv.cfg", "bin/*", "share/jupyter/kernels/*/*.json"):
        yield from (path for path in directory.glob(pattern) if path.is_file() and not path.is_symlink())
