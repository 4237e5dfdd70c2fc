"""`python -m tests.fuzz`: give the parsers their inputs, print a table, and say what did not hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import trial

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest has it

from .parsers import PARSERS

_HEAD = f"{'parser':<26} {'inputs':>7} {'refused':>8} {'accepted':>9} {'untyped':>8} {'slowest':>9}"


def main() -> int:
    """Return 1 if an input was neither accepted nor refused with an error of ours, or took too much."""
    arguments = _parser().parse_args()
    names = [each.name for each in PARSERS]
    if unknown := [name for name in arguments.names if name not in names]:
        print(f"no parser {unknown[0]!r}; there are: {', '.join(names)}")
        return 2
    print(_HEAD, flush=True)
    bad = 0
    for parser in (each for each in PARSERS if each.name in (arguments.names or names)):
        with (
            tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory()) as directory,
            trial.world(Path(directory)) as world,
        ):
            tally = trial.run(parser, world, count=arguments.count, number=arguments.seed)
        print(
            f"{parser.name:<26} {tally.inputs:>7} {tally.refused:>8} {tally.accepted:>9} {tally.untyped:>8}"
            f" {tally.slowest * 1000:>6.0f} ms",
            flush=True,
        )
        for kind, (value, detail) in tally.faults.items():
            print(f"    {kind}: {repr(value)[:300]}")
            if arguments.verbose:
                print("\n".join(f"        {line}" for line in detail.splitlines()[-25:]))
        bad += tally.untyped
    return 1 if bad else 0


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of parsers (default: all)")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="inputs for each (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which inputs (default: 0)")
    parser.add_argument("--verbose", "-v", action="store_true", help="print where each fault comes from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
