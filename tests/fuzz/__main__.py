"""`python -m tests.fuzz`: give the parsers their inputs, print a table, and say what did not hold."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest has it

from .parsers import PARSERS, tally_of

_HEAD = f"{'parser':<26} {'inputs':>7} {'refused':>8} {'accepted':>9} {'untyped':>8} {'slowest':>9}"


def main() -> int:
    """Return 1 if an input was neither accepted nor refused with an error of ours, or took too much."""
    arguments = _parser().parse_args()
    names = [each.name for each in PARSERS]
    if unknown := [name for name in arguments.names if name not in names]:
        print(f"no parser {unknown[0]!r}; there are: {', '.join(names)}")
        return 2
    print(_HEAD, flush=True)
    chosen = [name for name in names if name in (arguments.names or names)]
    bad = 0
    # Started afresh, not forked: the most memory that a process ever had is then its own.
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        tallies = pool.map(tally_of, chosen, repeat(arguments.count), repeat(arguments.seed))
        for name, tally in zip(chosen, tallies, strict=True):
            print(
                f"{name:<26} {tally.inputs:>7} {tally.refused:>8} {tally.accepted:>9} {tally.untyped:>8}"
                f" {tally.slowest * 1000:>6.0f} ms",
                flush=True,
            )
            for kind, (value, detail) in tally.faults.items():
                print(f"    {kind}: {value[:300]}", flush=True)
                if arguments.verbose:
                    print("\n".join(f"        {line}" for line in detail.splitlines()[-25:]))
            bad += tally.untyped
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of parsers (default: all)")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="inputs for each (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which inputs (default: 0)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N", help="parsers at a time (default: cores)"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="print where each fault comes from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
