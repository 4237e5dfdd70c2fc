"""`python -m tests.mutation`: draw mutants of the core rooms, and name those that no test notices."""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import ChainMap, Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import cache_from_source
from itertools import chain
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from tests.mutation import tracing
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.tsv")
Result = TypeVar("Result")
ROOMS = (
    "_download", "_file_locks", "_files", "_ledger", "_orphans", "_process", "_state", "_transactions", "content", "index",
    "interpreter", "json_text", "locks/pdm", "locks/pipfile", "locks/requirements_text", "locks/script_block",
    "plans/distributions", "proving", "pyproject", "request", "snapshot/_archive", "snapshot/_unpack", "snapshot/manifest",
    "snapshot/signing", "toml_text", "undo_changes",
)  # fmt: skip
# The files that have the tests of these rooms.
TESTS = (
    "archive", "content", "download", "env_exports", "files", "index", "interpreter", "ledger", "lock_formats", "lockfiles",
    "notebooks", "options", "plan", "process", "pyproject", "reading", "snapshots", "state", "system", "trust", "undo",
    "user_settings", "indexes",
)  # fmt: skip
_FIRST = 25  # tests that run a changed line, the quickest ones: most mutants die in them
_QUICK = "not (machine or browser or faults or network)"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    mutant: Mutant
    killer: str | None  # the first test that failed, or what else ended the run


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Which tests run which line of a room, how many seconds each takes, and which fail without any change."""

    lines: dict[tuple[str, int], list[str]]
    seconds: dict[str, float]
    failed: list[str]

    @classmethod
    def union(cls, traces: Sequence[Trace]) -> Trace:
        lines: dict[tuple[str, int], list[str]] = {}
        for line, tests in chain.from_iterable(trace.lines.items() for trace in traces):
            lines.setdefault(line, []).extend(tests)
        seconds = dict(ChainMap(*(trace.seconds for trace in traces)))
        return cls(lines=lines, seconds=seconds, failed=[test for trace in traces for test in trace.failed])

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests of a changed line: the quickest case of every function, then the second ones, and so on."""
        tests = {test for line in mutant.lines for test in self.lines.get((mutant.room, line), []) if test}
        cases: Counter[str] = Counter()
        ranked = []
        for test in sorted(tests - {*self.failed}, key=self.seconds.__getitem__):
            cases[test.partition("[")[0]] += 1
            ranked.append((cases[test.partition("[")[0]], test))
        return [test for _, test in sorted(ranked, key=itemgetter(0))]


class Copy:
    """A copy of the repository, in which one mutant after the other is tried by the tests that a marker expression selects."""

    def __init__(self, directory: Path, selection: str) -> None:
        self.selection = ["-m", selection]
        ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "site", "__pycache__", ".*_cache")
        self.directory = directory / "copy"
        shutil.copytree(ROOT, self.directory, ignore=ignored, symlinks=True)

    def pytest(self, *arguments: str, seconds: float | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        base = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={self.directory.parent / 'base'}"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-o", "addopts=", *base, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(self.directory), **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            start_new_session=True,
        )

    def trace(self, rooms: Collection[str], names: Sequence[str]) -> Trace:
        """Run some tests on the rooms as they are: which of them runs which line?"""
        result = self.directory.parent / "trace.json"
        wanted = os.pathsep.join([str(result), *(str(self._path(room)) for room in rooms)])
        files = [f"tests/test_{name}.py" for name in names]
        done = self.pytest("-p", "tests.mutation.tracing", *self.selection, *files, **{tracing.RESULT: wanted})
        if not result.is_file():
            raise SystemExit(done.stdout + done.stderr)
        content = json.loads(result.read_text(encoding="utf-8"))
        lines = {
            (room, int(line)): tests
            for room in rooms
            for line, tests in content["lines"].get(str(self._path(room)), {}).items()
        }
        return Trace(lines=lines, seconds=content["seconds"], failed=content["failed"])

    def attempt(self, mutant: Mutant, trace: Trace) -> Verdict:
        """Run the tests that run the changed line: a few quick ones, then the others."""
        path = self._path(mutant.room)
        original = path.read_text(encoding="utf-8")
        # Python takes a compiled file for that of a source of the same second and size.
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_text(mutant.text, encoding="utf-8")
        try:
            tests = trace.tests_of(mutant)
            killers = (self._killer(chosen, trace) for chosen in (tests[:_FIRST], tests[_FIRST:]) if chosen)
            return Verdict(mutant=mutant, killer=next(filter(None, killers), None))
        finally:
            path.write_text(original, encoding="utf-8")

    def _killer(self, tests: list[str], trace: Trace) -> str | None:
        limit = 120 + 5 * sum(trace.seconds[test] for test in tests)
        try:
            done = self.pytest("-x", *self.selection, *tests, seconds=limit)
        except subprocess.TimeoutExpired:
            return "it never ends"
        if done.returncode == 0:
            return None
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return lines[0].split(" - ")[0] if lines else "nothing can be imported"

    def _path(self, room: str) -> Path:
        return self.directory / "colab_env" / f"{room}.py"


def main() -> int:
    """Return 1 if a mutant lives that nobody has argued to be equivalent."""
    arguments = _parser().parse_args()
    began = time.monotonic()
    argued = equivalents()
    drawn = random.Random(arguments.seed).sample(
        sorted(
            (each for room in arguments.rooms or ROOMS for each in mutants(ROOT / "colab_env", room)),
            key=lambda each: each.key,
        ),
        arguments.count,
    )
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        for verdict in _tried([each for each in drawn if each.key not in argued], Path(directory), arguments):
            verdicts.append(verdict)
            if arguments.verbose:
                print(f"{verdict.mutant.room}:{verdict.mutant.lines[0]}: {verdict.killer or 'SURVIVED'}", flush=True)
    alive = [each.mutant for each in verdicts if each.killer is None]
    for mutant in sorted(alive, key=lambda each: each.key):
        print(f"{mutant.room}, {mutant.function}, line {mutant.lines[0]}\n  - {mutant.before}\n  + {mutant.after}")
    print(
        f"{len(drawn)} mutants drawn: {len(verdicts) - len(alive)} killed, {len(drawn) - len(verdicts)} equivalent,"
        f" {len(alive)} survived ({time.monotonic() - began:.0f} s)"
    )
    return 1 if alive else 0


def _tried(drawn: Sequence[Mutant], directory: Path, arguments: argparse.Namespace) -> Iterator[Verdict]:
    selection = _QUICK.replace(" or network", "") if arguments.network else _QUICK
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(arguments.jobs):
        copies.put(Copy(directory / str(number), selection))

    def with_a_copy(call: Callable[[Copy], Result]) -> Result:
        copy = copies.get()
        try:
            return call(copy)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        rooms = sorted({mutant.room for mutant in drawn})
        shares = [TESTS[start :: arguments.jobs] for start in range(arguments.jobs)]
        traces = list(pool.map(lambda share: with_a_copy(lambda copy: copy.trace(rooms, share)), shares))
        trace = Trace.union(traces)
        futures = [pool.submit(with_a_copy, lambda copy, each=mutant: copy.attempt(each, trace)) for mutant in drawn]
        yield from (future.result() for future in as_completed(futures))


def equivalents() -> dict[tuple[str, str, str, str], str]:
    """Return why each of the mutants is none, by its key."""
    with EQUIVALENT.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(room, function, before, after): reason for room, function, before, after, reason in rows}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", choices=[*ROOMS, []], help=f"of: {', '.join(ROOMS)}")
    parser.add_argument("--count", type=int, default=64, metavar="N", help="how many are drawn (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="copies that work side by side")
    parser.add_argument(
        "--network", action="store_true", help="with the tests that need a package index, which take long"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="a line for each, as it is tried")
    return parser


if __name__ == "__main__":
    sys.exit(main())
