"""Compiled files of a project's packages: made while nobody waits for them, since the first imports would otherwise."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process
from colab_env.errors import CommandError

if TYPE_CHECKING:
    from colab_env.machine import Machine

_SUFFIX = ".compiling"
_ELSEWHERE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")  # the person wants no compiled files beside the sources
_PATIENCE = 10.0  # seconds; the file at hand is finished in less, and what comes later is only one more compiled file


def start(environment: Path, python: Path, *, machine: Machine, lock: Path) -> None:
    """Begin to compile the packages of an environment, in processes of low priority that go on after this run.

    They stop when somebody takes `lock`, that of the project, to change it.
    """
    _compile(environment, python, "--behind", machine=machine, lock=lock)


def finish(environment: Path, python: Path, *, machine: Machine, lock: Path) -> None:
    """Compile what is not compiled yet, and return when that is done."""
    stop(lock)
    _compile(environment, python, machine=machine, lock=lock)


def stop(lock: Path) -> None:
    """End what `start` began, so that nothing is written behind the back of a change."""
    mark = _mark(lock)
    with contextlib.suppress(FileNotFoundError), mark.open() as file:
        _files.unlink(mark)
        descriptor = file.fileno()
        deadline = time.monotonic() + _PATIENCE
        while not _is_free(descriptor) and time.monotonic() < deadline:
            time.sleep(0.02)


def stop_all(locks: Path) -> None:
    """End all that `start` began, where the lock files of the projects are in one directory."""
    for mark in sorted(locks.glob(f"*{_SUFFIX}")):
        stop(mark.with_suffix(""))


def _compile(environment: Path, python: Path, *options: str, machine: Machine, lock: Path) -> None:
    if any(machine.environ.get(name) for name in _ELSEWHERE):
        return
    script, mark = Path(__file__).parent / "standalone" / "_compile.py", _mark(lock)
    workers = str(len(os.sched_getaffinity(0)))
    with contextlib.suppress(CommandError, OSError):  # imports do without, more slowly
        environ = _process.child_environ(machine.environ)
        site = next(environment.glob("lib/python3*/site-packages"), environment)
        _process.run([python, "-I", "-S", script, site, mark, workers, *options], environ=environ)


def _mark(lock: Path) -> Path:
    return lock.with_name(lock.name + _SUFFIX)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
