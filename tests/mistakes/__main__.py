"""`python -m tests.mistakes`: make every mistake, follow every hint, and count what did not hold."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import trial
from .rows import MISTAKES
from .trial import Verdict

_PAGE = Path(__file__).parents[2] / "docs/mistakes.md"
_MARKS = ("<!-- counts -->\n", "<!-- end of counts -->\n")


def main() -> int:
    """Return 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.mistakes", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="mistakes whose name, door or source has TEXT")
    parser.add_argument("--verbose", "-v", action="store_true", help="print what was said about each")
    parser.add_argument("--write", action="store_true", help="write the counts into docs/mistakes.md")
    arguments = parser.parse_args()
    began = time.monotonic()
    chosen = [m for m in MISTAKES if not arguments.only or arguments.only in f"{m.name} {m.door} {m.source} {m.waits}"]
    verdicts = [trial.attempt(mistake) for mistake in chosen]
    for verdict in verdicts:
        if arguments.verbose or (verdict.problems and not verdict.mistake.waits):
            print(verdict, end="\n\n")
    table = counts(verdicts)
    print(table, f"{time.monotonic() - began:.1f} s", sep="\n")
    if arguments.write:
        head, _, rest = _PAGE.read_text(encoding="utf-8").partition(_MARKS[0])
        _, _, tail = rest.partition(_MARKS[1])
        _PAGE.write_text(f"{head}{_MARKS[0]}{table}{_MARKS[1]}{tail}", encoding="utf-8")
    return int(any(verdict.problems for verdict in verdicts if not verdict.mistake.waits))


def counts(verdicts: Sequence[Verdict]) -> str:
    """Return the table of docs/mistakes.md: a row for each door."""
    lines = [
        f"| door | mistakes | hints followed | {' | '.join(trial.KINDS)} |",
        f"|---|{'---:|' * (len(trial.KINDS) + 2)}",
    ]
    for door in (*dict.fromkeys(verdict.mistake.door for verdict in verdicts), "all"):
        rows = [verdict for verdict in verdicts if door in (verdict.mistake.door, "all")]
        problems = Counter(kind for verdict in rows for kind in verdict.problems)
        followed = sum(verdict.followed is not None for verdict in rows)
        numbers = [len(rows), followed, *(problems[kind] for kind in trial.KINDS)]
        lines.append(f"| {door} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
