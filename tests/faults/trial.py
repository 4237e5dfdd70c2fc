"""One point: a fault, the same command again, and `undo`; and all that must be true after each of them."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colab_env import errors
from colab_env.undoing import INCOMPLETE
from tests.faults.commands import BY_NAME, Change, Command, call, faulted
from tests.faults.injection import SIGNALS, TORN, Argv, Effect, Ended, Fault
from tests.faults.world import World, differences, processes

NONE = "none"  # the kind of a point without a fault
_GOING = 10.0  # seconds
_SHOWN = 3  # differences of a tree


@dataclass(frozen=True, kw_only=True)
class Point:
    """One fault in one command: just before the effect number `at`, or when that program has run for `fraction` of it."""

    command: str
    kind: str
    at: int
    fraction: float = 0.0

    @property
    def place(self) -> str:
        """Return the number as `--at` takes it."""
        return f"{self.at + self.fraction:.2f}" if self.fraction else str(self.at)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a point: `problems` is empty where all is well; where it was not `reached`, nothing was tried."""

    point: Point
    effect: str
    problems: tuple[str, ...]
    reached: bool
    output: str

    def __str__(self) -> str:
        point = self.point
        said = "; ".join(self.problems) or ("all is well" if self.reached else "not reached")
        return f"{point.command} | {point.kind} | {point.place} | {self.effect} | {said}"


class Bench:
    """Where one worker tries its points, with copies of the states that the commands start from."""

    def __init__(self, directory: Path) -> None:
        self._world = World(directory / "world")
        self._states: set[str] = set()
        self._undone: dict[str, dict[str, str]] = {}
        self._markers = (f"{os.getpid()}-{number}" for number in itertools.count())
        self._world.make()
        self._world.save("pristine")

    def effects(self, name: str) -> tuple[Effect, ...]:
        """Return the side effects of a command that nothing disturbs; none where even that does not work."""
        self._begin(BY_NAME[name])
        ended = call(self._world, BY_NAME[name].argv)
        return () if ended.code else ended.effects

    def attempt(self, point: Point, seconds: float = 0.0) -> Verdict:
        """Try one point; `seconds` is how long the program runs that is at work then."""
        command, fault, marker = BY_NAME[point.command], None, next(self._markers)
        self._begin(command)
        if point.kind != NONE:
            fault = Fault(kind=point.kind, at=point.at, delay=point.fraction * seconds)
        ended = faulted(self._world, command.argv, fault, marker=marker)
        problems, runs = [*_wrong_end(ended, fault)], [ended]
        if not ended.hung:
            problems += self._wrong_afterwards(command, runs, marker)
        return Verdict(
            point=point,
            effect=str(ended.effects[point.at - 1]) if 0 < point.at <= len(ended.effects) else "",
            problems=tuple(problem.replace(f"{self._world.root}/", "") for problem in problems),
            reached=fault is None or ended.struck,
            output="\n".join(f"--- exit code {each.code}\n{each.output}" for each in runs),
        )

    def _wrong_afterwards(self, command: Command, runs: list[Ended], marker: str) -> Iterator[str]:
        """Run the command again, then `undo`, and say what is wrong after each."""
        runs.append(call(self._world, command.argv))
        yield from self._wrong_after(command, runs[-1])
        yield from (f"alive: {_stopped(pid)}" for pid in _remaining(marker))
        for argv in (*command.back, ("undo",)):
            runs.append(call(self._world, argv))
            if runs[-1].code:
                yield f"undo: {_told(runs[-1])}"
        yield from self._wrong_tree(command)

    def _wrong_after(self, command: Command, again: Ended) -> Iterator[str]:
        """Say what is wrong once the command has run again."""
        if again.code not in (0, *command.done):
            yield f"again: {'hangs, ' * again.hung}{_told(again)}"
        elif reason := self._defect(command):
            yield f"broken: {reason}"
        if names := self._world.leftovers():
            yield f"leftover: {', '.join(names)}"

    def _defect(self, command: Command) -> str | None:
        try:
            return command.works(self._world)
        except (ValueError, LookupError) as error:
            return f"its answer cannot be read: {error!r}"

    def _wrong_tree(self, command: Command) -> Iterator[str]:
        lines = differences(self._undone[command.name], self._world.listing())
        if command.spent is not None:
            lines = [line for line in lines if line != f"lost {command.spent}"]
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        if lines:
            yield f"tree: {', '.join(lines[:_SHOWN])}{more}"

    def _begin(self, command: Command) -> None:
        """Bring the world into the state that a command starts from."""
        if command.name not in self._undone:
            self._world.load(self._after(command.before, ()))
            _apply(command.since, self._world)
            self._undone[command.name] = self._world.listing()
            self._world.load(self._after(command.before, command.start))
            _apply(command.since, self._world)
            self._world.save(_key("start", command.name))
        self._world.load(_key("start", command.name))

    def _after(self, before: Change | None, start: tuple[Argv, ...]) -> str:
        """Return the copy of the state after these commands, which may have to be made."""
        state = _key(before.__name__ if before else "", *map(repr, start))
        if state not in self._states:
            self._world.load(self._after(before, start[:-1]) if start else "pristine")
            if not start:
                _apply(before, self._world)
            elif (ended := call(self._world, start[-1])).code:
                msg = f"{start[-1]} does not even work undisturbed:\n{ended.output}"
                raise RuntimeError(msg)
            self._world.save(state)
            self._states.add(state)
        return state


def _apply(change: Change | None, world: World) -> None:
    if change is not None:
        change(world)


def _key(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def _wrong_end(ended: Ended, fault: Fault | None) -> Iterator[str]:
    """Say what is wrong with the end of the faulted run."""
    expected = {0, INCOMPLETE, *_typed(errors.ColabEnvError)}
    if fault is None:
        expected = {0}
    elif fault.kind in SIGNALS or fault.kind == TORN:
        number = int(SIGNALS.get(fault.kind, signal.SIGKILL))
        expected |= {-number, 128 + number}
    if ended.hung:
        yield "hangs"
    elif ended.code not in expected and (fault is None or ended.struck):
        yield f"exit code: {ended.code}"
    for word in ("Traceback", "OSError:"):
        if word in ended.output:
            yield f"output: {ended.output.strip().splitlines()[-1]}"
            return


def _typed(kind: type[errors.ColabEnvError]) -> set[int]:
    return {kind.exit_code}.union(*(_typed(each) for each in kind.__subclasses__()))


def _told(ended: Ended) -> str:
    """Return the line that says most: the exception, the error, what was left, or the last one."""
    lines = ended.output.strip().splitlines() or [""]
    telling = "\0" if "Traceback" in ended.output else ("colab-env:", "✗")
    shown = next((line for line in lines if line.startswith(telling)), lines[-1])
    return f"exit code {ended.code}, {shown}"


def _remaining(marker: str) -> list[int]:
    """Return the processes that a faulted run has left: what was killed takes a moment to go, more of it on a busy machine."""
    end = time.monotonic() + _GOING
    while (left := processes(marker)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _stopped(pid: int) -> str:
    """End a process that the faulted run has left; return what it was."""
    try:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return f"process {pid}"
    return shown
