"""Give one parser many inputs, and count what it makes of them."""

from __future__ import annotations

import contextlib
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from colab_env import _process, _report
from colab_env.errors import ColabEnvError
from colab_env.machine import Machine

SECONDS = 1.0  # of processor time for one input: a machine with other work counts the same
_ROUND = 1000  # inputs after which hypothesis begins anew: what it remembers of them makes each later one slower
MEMORY = 256 * 2**20  # bytes by which one input may raise the most that this process ever had


@dataclass(frozen=True, kw_only=True)
class World:
    """Where a parser finds its files: an empty directory that every parser shares, and a machine that has nothing else."""

    directory: Path
    machine: Machine

    def put(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@dataclass(frozen=True, kw_only=True)
class Parser:
    """One parser: what it is called, its inputs, and how it is given one. What `call` returns counts as accepted."""

    name: str
    inputs: st.SearchStrategy[Any]
    call: Callable[[World, Any], object]


@dataclass(kw_only=True)
class Tally:
    """How a parser did: `faults` are what must not be, each with the shortest input that shows it, and where it comes from."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    faults: dict[str, tuple[str, str]] = field(default_factory=dict)
    untyped: int = 0

    def note(self, kind: str, value: Any, detail: str) -> None:
        self.untyped += 1
        if kind not in self.faults or len(repr(value)) < len(self.faults[kind][0]):
            self.faults[kind] = (repr(value), detail)


def run(parser: Parser, world: World, *, count: int, number: int = 0) -> Tally:
    """Give a parser `count` inputs, always the same ones for one `number`."""
    tally = Tally()
    for start in range(0, count, _ROUND):
        _run_round(parser, world, tally, count=min(_ROUND, count - start), number=number + start)
    return tally


def _run_round(parser: Parser, world: World, tally: Tally, *, count: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(parser.inputs)
    def attempt(value: Any) -> None:
        _attempt(parser, world, value, tally)

    attempt()


def _attempt(parser: Parser, world: World, value: Any, tally: Tally) -> None:
    outcome, seconds, grown = _outcome(parser, world, value)
    if seconds > SECONDS or grown > MEMORY:  # once more: the first time, modules may have been imported
        outcome, seconds, grown = _outcome(parser, world, value)
    tally.inputs += 1
    tally.slowest = max(tally.slowest, seconds)
    if isinstance(outcome, ColabEnvError):
        tally.refused += 1
    elif outcome is None:
        tally.accepted += 1
    else:
        tally.note(_place(outcome), value, "".join(traceback.format_exception(outcome)))
    if seconds > SECONDS:
        tally.note(f"more than {SECONDS:.0f} s", value, f"{seconds:.2f} s")
    if grown > MEMORY:
        tally.note(f"more than {MEMORY >> 20} MB", value, f"{grown >> 20} MB")


def _outcome(parser: Parser, world: World, value: Any) -> tuple[Exception | None, float, int]:
    """Return what one input raised, the seconds of processor time, and the bytes by which the most memory rose."""
    most, began = _most_memory(), time.process_time()
    raised: Exception | None = None
    try:
        parser.call(world, value)
    except ColabEnvError as error:
        raised = error if _can_be_shown(error) else UnicodeError(repr(str(error)))
    except Exception as error:  # noqa: BLE001  (that is what is looked for)
        raised = error
    return raised, time.process_time() - began, _most_memory() - most


def _can_be_shown(error: ColabEnvError) -> bool:
    """Say whether every screen can show what an error says: text, and not a page of it."""
    text = str(error)
    return text.encode("utf-8", "replace").decode() == text and len(text) < 10_000


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(error: BaseException) -> str:
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/colab_env/" in each.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "tests"
    return f"{type(error).__name__} in {where}"


@contextlib.contextmanager
def world(directory: Path) -> Iterator[World]:
    """Give a machine on which nothing is installed, and where no program is started and nothing is downloaded."""
    home = directory / "home"
    home.mkdir(parents=True)
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "COLAB_ENV_HOME": str(directory / "data")}
    with (
        mock.patch.dict("os.environ", environ, clear=True),
        mock.patch.object(_process, "run", _refuse),
        _report.screen(_report.Silent()),
    ):
        yield World(directory=directory / "work", machine=Machine.detect())


def _refuse(*arguments: object, **_options: object) -> None:
    msg = f"nothing was to be started, but: {arguments}"
    raise AssertionError(msg)
