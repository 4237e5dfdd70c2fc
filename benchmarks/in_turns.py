"""Time first set-ups by this tree and by another one, in turns: `python benchmarks/in_turns.py OTHER_TREE`.

One lock file of `benchmarks/locks.py` (`--lock`), from its requirements.txt, each time in an empty home with a warm download
cache; with `--restore` from a snapshot, without a download cache. A change that makes something quicker has to show here,
whatever else the machine is doing. Prints the seconds of each, and those of this tree divided by those of the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import locks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the directory of another checkout")
    parser.add_argument("--lock", choices=["small", "science", "large"], default="science")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--restore", action="store_true")
    arguments = parser.parse_args()
    trees = {"this": locks.ROOT, "other": arguments.other.resolve()}
    with tempfile.TemporaryDirectory(prefix="in-turns-") as scratch:
        place = locks.Place.make(Path(scratch), arguments.lock)
        words = [*locks.SETUP, "--kernel", "work"]
        if arguments.restore:
            words += ["--cache", str(place.archives / "cache")]
        place.fresh(cold=False, poetry=False)
        place.run(*words)  # fills the download cache, or makes the snapshot
        for number in range(arguments.rounds):
            for name in sorted(trees, reverse=number % 2 == 1):
                place.fresh(cold=arguments.restore, poetry=False)
                place.timed(name, lambda tree=trees[name]: place.run(*words, PYTHONPATH=str(tree)))  # type: ignore[misc]
    for name, seconds in place.seconds.items():
        print(f"{name}: {statistics.median(seconds):.2f} s (median of {len(seconds)})")
    print(f"this ÷ other: {locks.ratio(place.seconds, 'this', 'other')}")


if __name__ == "__main__":
    main()
