"""`python -m tests.mutation`: draw mutants of the core rooms, and name those that no test notices."""

from __future__ import annotations

import argparse
import csv
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.mutation import tracing
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.tsv")
# Each core room, and the files whose tests are its own.
ROOMS = {
    "_download": ["download"],
    "_files": ["files", "undo"],
    "_ledger": ["ledger", "undo"],
    "_process": ["process"],
    "_state": ["state", "snapshots_moved"],
    "content": ["content"],
    "index": ["index", "indexes", "user_settings"],
    "interpreter": ["interpreter", "system"],
    "json_text": ["notebooks", "lock_formats"],
    "locks/pdm": ["lock_formats", "lockfiles"],
    "locks/pipfile": ["lock_formats", "lockfiles"],
    "locks/requirements_text": ["reading", "lock_formats", "plan"],
    "locks/script_block": ["reading", "lockfiles", "notebooks"],
    "plans/distributions": ["plan", "user_settings"],
    "pyproject": ["pyproject", "lockfiles", "plan"],
    "request": ["options", "reading", "lockfiles", "lock_formats"],
    "snapshot/_archive": ["archive", "trust", "snapshots"],
    "snapshot/_unpack": ["archive", "trust", "snapshots"],
    "snapshot/manifest": ["archive", "trust", "snapshots"],
    "snapshot/signing": ["trust", "snapshots"],
    "toml_text": ["env_exports", "lock_formats"],
}
_FIRST = 25  # tests that run a changed line, the quickest ones: most mutants die in them
_SELECTION = ["-m", "not (machine or browser or faults)"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    mutant: Mutant
    killer: str | None  # the first test that failed, or what else ended the run


class Copy:
    """A copy of the repository, in which one mutant after the other is tried."""

    def __init__(self, directory: Path) -> None:
        ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "site", "__pycache__", ".*_cache")
        self.directory = directory / "copy"
        shutil.copytree(ROOT, self.directory, ignore=ignored, symlinks=True)

    def pytest(self, *arguments: str, seconds: float | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        base = ["-n", "0", "-q", "-p", "no:cacheprovider", f"--basetemp={self.directory.parent / 'base'}"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-o", "addopts=", *base, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def trace(self, room: str) -> dict[str, dict]:
        """Run the tests of a room as it is: which of them runs which line?"""
        result = self.directory.parent / "trace.json"
        wanted = {tracing.RESULT: f"{result}{os.pathsep}{self._path(room)}"}
        done = self.pytest("-p", "tests.mutation.tracing", *_SELECTION, *_test_files(room), **wanted)
        if not result.is_file():
            raise SystemExit(done.stdout + done.stderr)
        trace = json.loads(result.read_text(encoding="utf-8"))
        return {**trace, "lines": next(iter(trace["lines"].values()), {})}

    def attempt(self, mutant: Mutant, trace: dict[str, dict]) -> Verdict:
        """Run the quick tests of the changed line, then the others of it, then all of the room's."""
        path = self._path(mutant.room)
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.text, encoding="utf-8")
        try:
            tests = {test for line in mutant.lines for test in trace["lines"].get(str(line), []) if test}
            ordered = sorted(tests - set(trace["failed"]), key=trace["seconds"].__getitem__)
            for chosen in (ordered[:_FIRST], ordered[_FIRST:], _test_files(mutant.room)):
                if chosen and (killer := self._killer(chosen, trace)):
                    return Verdict(mutant=mutant, killer=killer)
            return Verdict(mutant=mutant, killer=None)
        finally:
            path.write_text(original, encoding="utf-8")

    def _killer(self, tests: list[str], trace: dict[str, dict]) -> str | None:
        ignored = [f"--deselect={test}" for test in trace["failed"]]
        limit = 120 + 5 * sum(trace["seconds"].values())
        try:
            done = self.pytest("-x", *_SELECTION, *ignored, *tests, seconds=limit)
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
    by_room: dict[str, list[Mutant]] = {}
    for mutant in drawn:
        if mutant.key not in argued:
            by_room.setdefault(mutant.room, []).append(mutant)
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        verdicts = _tried(by_room, Path(directory), arguments)
    alive = [each.mutant for each in verdicts if each.killer is None]
    for mutant in sorted(alive, key=lambda each: each.key):
        print(f"{mutant.room}, {mutant.function}, line {mutant.lines[0]}\n  - {mutant.before}\n  + {mutant.after}")
    print(
        f"{len(drawn)} mutants drawn: {len(verdicts) - len(alive)} killed, {len(drawn) - len(verdicts)} equivalent,"
        f" {len(alive)} survived ({time.monotonic() - began:.0f} s)"
    )
    return 1 if alive else 0


def _tried(by_room: dict[str, list[Mutant]], directory: Path, arguments: argparse.Namespace) -> list[Verdict]:
    copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for number in range(arguments.jobs):
        copies.put(Copy(directory / str(number)))

    def attempt(room: str) -> list[Verdict]:
        copy, verdicts = copies.get(), []
        try:
            trace = copy.trace(room)
            for mutant in by_room[room]:
                verdicts.append(copy.attempt(mutant, trace))
                if arguments.verbose:
                    print(f"{room}:{mutant.lines[0]}: {verdicts[-1].killer or 'SURVIVED'}", flush=True)
        finally:
            copies.put(copy)
        return verdicts

    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(attempt, room) for room in sorted(by_room, key=lambda each: -len(by_room[each]))]
        return [verdict for future in as_completed(futures) for verdict in future.result()]


def equivalents() -> dict[tuple[str, str, str, str], str]:
    """Return why each of the mutants is none, by its key."""
    with EQUIVALENT.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(room, function, before, after): reason for room, function, before, after, reason in rows}


def _test_files(room: str) -> list[str]:
    return [f"tests/test_{name}.py" for name in ROOMS[room]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", choices=[*ROOMS, []], help=f"of: {', '.join(ROOMS)}")
    parser.add_argument("--count", type=int, default=64, metavar="N", help="how many are drawn (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="copies that work side by side")
    parser.add_argument("--verbose", "-v", action="store_true", help="a line for each, as it is tried")
    return parser


if __name__ == "__main__":
    sys.exit(main())
