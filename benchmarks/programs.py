"""Show what a first set-up waits for, beside bare uv: `python benchmarks/programs.py`.

For one lock file of `benchmarks/locks.py` (`--lock`, default: large), with a warm download cache or, with `--cold`, an empty
one: bare uv, a set-up from the same requirements.txt, and a restore of its snapshot. A row is one program: how long it ran,
in seconds; below a set-up, when each of its programs was started and how long that ran. Programs that overlap run side by side;
what no row covers is colab-env's own Python. Each list ends with how much was written to files. Needs what
`benchmarks/locks.py` needs.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import locks

# Runs colab-env's command line; writes a row to standard error for each program that it started.
TRACE = """\
import os, sys, time
from colab_env import _process, cli

began, run = time.perf_counter(), _process.run

def traced(argv, **options):
    start = time.perf_counter()
    try:
        return run(argv, **options)
    finally:
        words = " ".join(str(word).splitlines()[0] for word in argv if str(word))
        print(f"{start - began:6.2f} {time.perf_counter() - start:6.2f}  {words}", file=sys.stderr)

_process.run = traced
sys.argv[0] = "colab-env"
code = cli.main()
spent = f"{sum(os.times()[:2]):.2f} here, {sum(os.times()[2:4]):.2f} in programs"
print(f"{time.perf_counter() - began:6.2f}         the end; processor time: {spent}", file=sys.stderr)
sys.exit(code)
"""
SETUP = [sys.executable, "-c", TRACE, *locks.SETUP[len(locks.TOOL) :]]
_WIDTH = 110


class Listed(locks.Place):
    """A place that prints its programs, each with its time, and below a traced set-up those that it started itself."""

    def run(self, *argv: object, **more: str) -> str:
        began = time.perf_counter()
        output = super().run(*argv, **more)
        seconds = time.perf_counter() - began
        if list(argv[: len(locks.TOOL)]) == locks.TOOL:
            return output
        is_traced = argv[0] == sys.executable
        print(f"{seconds:13.2f}  {self.short('colab-env setup' if is_traced else ' '.join(map(str, argv)))}")
        if is_traced:
            print("\n".join(f"    {self.short(line)}" for line in sorted(output.splitlines())))
        return output

    def short(self, words: str) -> str:
        known = {
            self.project: "PROJECT",
            self.home: "HOME",
            locks.ROOT: "COLAB_ENV",
            self.interpreter: f"python{locks.PYTHON}",
        }
        for place, name in {**known, shutil.which("uv"): "uv", sys.executable: "python"}.items():
            words = words.replace(str(place), name)
        return words[:_WIDTH]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", choices=["small", "science", "large"], default="large")
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="programs-") as scratch:
        show(Listed.make(Path(scratch), arguments.lock), cold=arguments.cold)


def show(place: Listed, *, cold: bool) -> None:
    cache = place.archives / "cache"
    if not cold:
        place.fresh(cold=True, poetry=False)
        place.run(*locks.SETUP)
    listed(place, "bare uv", lambda: locks.by_hand(place), cold=cold)
    listed(place, "colab-env setup, from requirements.txt", lambda: place.run(*SETUP), cold=cold)
    place.run(*locks.TOOL, "save", cache)
    listed(place, "colab-env setup --cache, restoring", lambda: place.run(*SETUP, "--cache", cache), cold=cold)


def listed(place: Listed, title: str, work: Callable[[], object], *, cold: bool) -> None:
    place.fresh(cold=cold, poetry=False)
    print(f"{title}, {'cold' if cold else 'warm'} download cache")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{seconds:13.2f}  seconds of processor time, {(after.ru_oublock - before.ru_oublock) * 512 / 1e6:.0f} MB written\n"
    )


if __name__ == "__main__":
    main()
