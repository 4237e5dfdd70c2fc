"""`python -m tests.faults`: choose the points, try them on all cores, and say what did not hold."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.faults import workers
from tests.faults.commands import BY_NAME, COMMANDS
from tests.faults.injection import KINDS, SIGNALS, Effect
from tests.faults.trial import NONE, Point, Verdict

ROOT = Path(__file__).parents[2]
_FRACTIONS = (0.2, 0.5, 0.8)  # of a program's time, where every point is tried
Effects = dict[str, tuple[Effect, ...]]


def main() -> int:
    """Try what the arguments say; return 1 if something did not hold."""
    if sys.argv[1:2] == ["boot"]:
        from tests.faults import boot

        return boot.main(sys.argv[2:])
    arguments = _parser().parse_args()
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        with workers.started(arguments.jobs, directory) as pool:
            verdicts = _tried(pool, arguments)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    tried = [each for each in verdicts if each.reached]
    failed = [each for each in tried if each.problems]
    for verdict in sorted(failed, key=lambda each: (each.point.command, each.point.kind, each.point.at)):
        print(verdict)
    seconds = time.monotonic() - began
    print(
        f"{len(tried)} points tried, {len(verdicts) - len(tried)} not reached, {len(failed)} failed ({seconds:.0f} s)"
    )
    if arguments.write:
        (ROOT / "docs/interruptions.md").write_text(_page(tried), encoding="utf-8")
    return 1 if failed else 0


def _tried(pool: ProcessPoolExecutor, arguments: argparse.Namespace) -> list[Verdict]:
    names = [arguments.command] if arguments.command else list(BY_NAME)
    effects: Effects = dict(zip(names, pool.map(workers.effects, names), strict=True))
    random_ = random.Random(arguments.seed)
    if arguments.kind:
        at, _, fraction = arguments.at.partition(".")
        point = Point(command=arguments.command, kind=arguments.kind, at=int(at), fraction=float(f"0.{fraction or 0}"))
        verdict = pool.submit(workers.attempt, point, _seconds(effects, point)).result()
        print(*(f"{at} {each}" for at, each in enumerate(effects[point.command], 1)), verdict.output, sep="\n")
        return [verdict]
    points = [point for name in names for point in _all_points(name, effects[name])]
    if not arguments.all:
        points = list(_sample(points, arguments.count, random_))
    points = [*(Point(command=name, kind=NONE, at=0) for name in names), *points]
    futures = [pool.submit(workers.attempt, point, _seconds(effects, point)) for point in points]
    verdicts = []
    for future in as_completed(futures):
        verdicts.append(future.result())
        if arguments.verbose:
            print(verdicts[-1], flush=True)
    return verdicts


def _all_points(name: str, effects: Sequence[Effect]) -> Iterator[Point]:
    for kind in KINDS:
        for at, effect in enumerate(effects, 1):
            if effect.can_meet(kind):
                yield Point(command=name, kind=kind, at=at)
            if effect.is_child and kind in SIGNALS:
                for fraction in _FRACTIONS:
                    yield Point(command=name, kind=kind, at=at, fraction=fraction)


def _sample(points: Sequence[Point], count: int, random_: random.Random) -> Iterator[Point]:
    """Choose points, by the weight of their command, and of each command's kinds about equally many."""
    total = sum(command.weight for command in COMMANDS)
    for command in COMMANDS:
        own = [point for point in points if point.command == command.name]
        # In rounds over the kinds, and over what is just before an effect and what is while a program is at work.
        rounds: Counter[tuple[str, bool]] = Counter()
        ranked = []
        for point in random_.sample(own, len(own)):
            stratum = (point.kind, bool(point.fraction))
            rounds[stratum] += 1
            ranked.append((rounds[stratum], random_.random(), point))
        ranked.sort(key=lambda each: each[:2])
        yield from (point for *_, point in ranked[: round(count * command.weight / total)])


def _seconds(effects: Effects, point: Point) -> float:
    return effects[point.command][point.at - 1].seconds if point.at else 0.0


def _page(verdicts: Sequence[Verdict]) -> str:
    """Return docs/interruptions.md."""
    tried = Counter((each.point.command, each.point.kind) for each in verdicts)
    failed = Counter((each.point.command, each.point.kind) for each in verdicts if each.problems)
    lines = [*_INTRODUCTION, f"| command | {' | '.join(KINDS)} |", f"|---|{'---:|' * len(KINDS)}"]
    for name in BY_NAME:
        cells = [f"{tried[name, kind]} / {failed[name, kind]}" if tried[name, kind] else "-" for kind in KINDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    today = time.strftime("%Y-%m-%d")
    total = f"{sum(tried.values())} points, {sum(failed.values())} failures ({today}; wanted: 0 of 3,000). Written by `{command}`."
    return "\n".join([*lines, "", total, ""])


_INTRODUCTION = (
    "# What an interruption costs",
    "",
    "Every command is run again and again in a small machine of its own; each time, another one of its side effects meets a",
    "fault: a file that is opened for writing, renamed or removed, a lock, a program that starts. `kill`, `term`, `hup` and",
    "`int` are signals, just before the effect or while the program is at work; `torn` kills in the middle of a write, as a",
    "power cut does; `enospc`, `eio` and `emfile` are errors that this one call gets, where the system may answer so; `full`",
    "is a disk that takes nothing from then on. Afterwards the exit code must be one of [the typed",
    "ones](../colab_env/errors.py), without a traceback; the same command must succeed, and what it makes must work; no",
    "process may be left, and no file that only work in progress has; and `undo` must give back every file, with content,",
    "mode and time. A cell says how many points were tried / failed; `--all` tries every one, `tests/test_faults.py` a sample.",
    "",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--all", action="store_true", help="every point, not a sample")
    parser.add_argument("--count", type=int, default=300, help="how many points a sample has")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--command", choices=BY_NAME, metavar="NAME", help="this one only")
    parser.add_argument("--kind", choices=(*KINDS, NONE), help="with --command and --at: one point, with all output")
    parser.add_argument("--at", default="0", metavar="N", help="the effect, or such as 7.5: half-way through a program")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--verbose", action="store_true", help="a line for each point, as it is tried")
    parser.add_argument("--write", action="store_true", help="write the table to docs/interruptions.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
