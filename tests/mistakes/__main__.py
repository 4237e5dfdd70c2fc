"""`python -m tests.mistakes`: make every mistake, follow every hint, and count what did not hold."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from colab_env.errors import NetworkError

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
    parser.add_argument(
        "--for-real",
        action="store_true",
        help="follow to their end those hints whose cures install or download (minutes)",
    )
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
    if arguments.for_real:
        return _follow_for_real(verdicts)
    if arguments.write:
        head, _, rest = _PAGE.read_text(encoding="utf-8").partition(_MARKS[0])
        _, _, tail = rest.partition(_MARKS[1])
        _PAGE.write_text(f"{head}{_MARKS[0]}{table}{_MARKS[1]}{tail}", encoding="utf-8")
    return int(any(verdict.problems for verdict in verdicts if not verdict.mistake.waits))


def _follow_for_real(verdicts: Sequence[Verdict]) -> int:
    """Follow the hints whose cures went ahead to an installation, two at a time, and print what became of each."""
    ahead = [verdict.mistake for verdict in verdicts if verdict.followed and verdict.followed.code == trial.WENT_AHEAD]
    cured = unreached = 0
    with ThreadPoolExecutor(2) as pool:
        for mistake, outcome in zip(ahead, pool.map(trial.follow_for_real, ahead), strict=True):
            cured += outcome.code == mistake.cured
            unreached += outcome.code == NetworkError.exit_code
            mark = "✓" if outcome.code == mistake.cured else "✗"
            print(f"{mark} {mistake.name} ({mistake.door}): {mistake.cure or mistake.typed}", flush=True)
            if outcome.code != mistake.cured:
                print(f"    ends with {outcome.code}: {outcome.shown[-800:]}", flush=True)
    print(f"{cured} of {len(ahead)} hints followed to their end, with real installations, cure; ", end="")
    print(f"{unreached} ended at an address that cannot be reached from here")
    return int(cured + unreached < len(ahead))


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
