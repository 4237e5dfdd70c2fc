"""Which processes use an environment, read from /proc."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _report
from colab_env.errors import EnvironmentInUseError
from colab_env.named_env.inventory import BUILDS, Process

if TYPE_CHECKING:
    from colab_env.named_env.inventory import NamedEnvironment

_SHOWN = 4  # processes that a message names


def users(bases: Iterable[Path]) -> Mapping[Path, list[Process]]:
    """Return the processes that use each environment in the bases, by the directory of the build, or by the name.

    A process does when its program, its directory or a file that it has mapped lies there, or when its first two
    words or its VIRTUAL_ENV name it: the Python of an environment is a link, so its program may lie elsewhere. Whose own
    the base is not, to him it is no more than a directory that he is in. Processes of other people are seen by root only.
    """
    found: dict[Path, list[Process]] = {}
    bases = tuple(bases)
    places = {os.fsencode(spelled): base for base in bases for spelled in (base.resolve(), base)}
    within = rb")/(" + re.escape(os.fsencode(BUILDS)) + rb"/[^/\0\n]+/[0-9]+|[^/\0\n]+)"
    pattern = re.compile(rb"(?:^|[\0\n ])(" + b"|".join(map(re.escape, places)) + within)
    own = _owners(bases)
    for entry in Path("/proc").iterdir() if places else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        matches = pattern.finditer(b"\n".join(_traces(entry, is_own=_uid(entry) in own)))
        for place in {places[match[1]] / os.fsdecode(match[2]) for match in matches}:
            found.setdefault(place, []).append(_process(entry))
    return found


def of(place: NamedEnvironment, used: Mapping[Path, list[Process]]) -> list[Process]:
    """Return those of the `users` that use one environment, whatever build of it."""
    directories = (path for path in used if path == place.path or path.parent == place.builds)
    return sorted({process for path in directories for process in used[path]}, key=lambda each: each.pid)


def require_unused(place: NamedEnvironment) -> None:
    """Raise EnvironmentInUseError, naming the processes, while programs of those who may change it run from it.

    Nobody else can keep an environment from its owner.
    """
    own = _owners([place.base])
    running = [each for each in of(place, users([place.base])) if each.uid in own]
    if not running:
        return
    named = "; ".join(f"{each.pid} {each.command}" for each in running[:_SHOWN])
    more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
    msg = f"the environment {place.name!r} is in use by {named}{more}"
    raise EnvironmentInUseError(msg, hint="end these first, or use force; nothing was changed")


def _owners(bases: Iterable[Path]) -> set[int]:
    return {0, os.geteuid(), *(base.stat().st_uid for base in bases if base.is_dir())}


def _uid(entry: Path) -> int:
    try:
        return entry.stat().st_uid
    except OSError:
        return -1


def _traces(entry: Path, *, is_own: bool = True) -> Iterator[bytes]:
    # Any of these may be forbidden, or gone with the process.
    for name in ("exe", "cwd") if is_own else ("exe",):
        with contextlib.suppress(OSError):
            yield os.fsencode((entry / name).readlink())
    with contextlib.suppress(OSError):
        yield b"\0".join(word for word in (entry / "cmdline").read_bytes().split(b"\0")[:2] if b"/bin/" in word)
    with contextlib.suppress(OSError):
        words = (entry / "environ").read_bytes().split(b"\0")
        yield from (word.partition(b"=")[2] for word in words if word.startswith(b"VIRTUAL_ENV="))
    with contextlib.suppress(OSError):
        yield (entry / "maps").read_bytes()


def _process(entry: Path) -> Process:
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []
    return Process(pid=int(entry.name), command=_report.clean(" ".join(words).strip())[:60], uid=_uid(entry))
