"""Processes that try points side by side, each in a machine of its own."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.faults.injection import Effect, preload
from tests.faults.trial import Bench, Point, Verdict

_bench: list[Bench] = []  # this worker's own, from its start on


def started(count: int, directory: Path) -> ProcessPoolExecutor:
    """Return a pool of workers, whose machines are made below `directory`."""
    # Spawned: a worker forks children of its own, so that it may have no threads.
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(directory,))


def _begin(directory: Path) -> None:
    preload()
    place = directory / str(os.getpid())
    place.mkdir()
    _bench.append(Bench(place))


def effects(name: str) -> tuple[Effect, ...]:
    """Return the side effects of a command that nothing disturbs."""
    return _bench[0].effects(name)


def attempt(point: Point, seconds: float) -> Verdict:
    """Try one point (see `Bench.attempt`)."""
    return _bench[0].attempt(point, seconds)
