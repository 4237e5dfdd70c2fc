"""Time what the guard adds to a kernel's start: `python benchmarks/guard.py`.

The same program is started directly and through the guard, in turns, under this Python; the kernel's own start, which both
have in common, is left out. Prints a table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from colab_env.jupyter import diversion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        direct, guarded = measure(Path(scratch), arguments.rounds)
    print("| start | median (ms) | lowest | highest |\n|---|---:|---:|---:|")
    for name, times in (("direct", direct), ("through the guard", guarded)):
        print(f"| {name} | {statistics.median(times):.1f} | {min(times):.1f} | {max(times):.1f} |")
    middle = statistics.median(guarded) - statistics.median(direct)
    print(
        f"\nThe guard costs {middle:.1f} ms (median); the quickest starts differ by {min(guarded) - min(direct):.1f} ms."
    )


def measure(scratch: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each start, directly and through the guard."""
    guard = diversion.guard_source().replace('("/dev/shm", "/tmp", "/var/tmp")', f"({str(scratch)!r},)")
    program = [sys.executable, "-IS", "-c", "pass"]
    direct, guarded = [], []
    for number in range(rounds):
        direct.append(milliseconds(program))
        argv = [sys.executable, "-IS", "-c", guard, "py312", f"/x/kernel-{number}.json", "A=b", *program]
        guarded.append(milliseconds(argv))
    return direct, guarded


def milliseconds(argv: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
