"""Damage each file and directory that a set-up and a switch made, one at a time; restart the session; open a new notebook.

`python -m tests.faults boot` tries a sample, `--all` everything; `--write` puts the table into docs/faults.md. Runs in the
stand-in for a Colab machine, with its real notebook server: a machine is bricked when no cell runs any more.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from boot_faults import ENVIRONMENT, WHERE, PreparedMachine, ask_to_switch, machine, next_cell, restarts
from colab_standin import Page

# What stands in the places that a set-up and a switch write to; of packages, the directories and the kernel's own files.
_MADE = """
find /content/.venv /root/.local/share/colab-env/layers -maxdepth 4 -not -path '*/__pycache__*' -not -name '*.dist-info' \
    \\( -not -path '*/site-packages/*' -not -path '*/site/*' -o -name 'ipykernel*' -o -name 'traitlets' -o -name 'google' \
    -o -name 'colab*' -o -name 'six.py' -o -name 'zmq' \\)
find /root/.local/share/colab-env -maxdepth 1
find /root/.local/share/jupyter/kernels/py3* /root/.ipython/profile_default/startup/colab-env* /content/*.toml /content/*.lock \
    /usr/local/lib/python3*/dist-packages/usercustomize.py /usr/local/lib/python3*/dist-packages/__pycache__/usercustomize*
"""
# $p is the path; a link is replaced, what it names stays.
DAMAGES = {
    "deleted": 'rm -rf "$p"',
    "emptied": '[ -d "$p" ] && [ ! -L "$p" ] && { rm -rf "$p"; mkdir "$p"; } || { rm -f "$p"; : > "$p"; }',
    "cut in half": '[ -d "$p" ] && { n=$(ls "$p" | wc -l); ls "$p" | tail -n $((n / 2)) | (cd "$p"; xargs -r rm -rf); } ||'
    ' { h=$(($(stat -Lc %s "$p") / 2)); head -c $h "$p" > /root/half; rm -f "$p"; cp /root/half "$p"; }',
    "of the other kind": '[ -d "$p" ] && { rm -rf "$p"; : > "$p"; } || { rm -f "$p"; mkdir "$p"; }',
    "a link to nowhere": 'rm -rf "$p"; ln -s /nowhere "$p"',
    "garbage": 'rm -rf "$p"; head -c 999 /dev/urandom > "$p"',
}
SAVE = 'rm -rf /root/saved; cp -a "$p" /root/saved'
PUT_BACK = 'rm -rf "$p" /dev/shm/colab-env-0; cp -a /root/saved "$p"'


@dataclass(frozen=True, kw_only=True)
class Case:
    """One path, and what is done to it."""

    path: str
    damage: str


@dataclass(frozen=True, kw_only=True)
class Boot:
    """How a restart after a `case` ended: boots that were lost, seconds to a cell, whose Python, what the cell showed."""

    case: Case
    lost: int = 0
    seconds: float = 0.0
    interpreter: str = ""
    shown: str = ""
    is_bricked: bool = False

    @property
    def problem(self) -> str | None:
        """Say what must not be, or None."""
        if self.is_bricked:
            return "no cell runs any more"
        if self.lost > 1:
            return f"{self.lost} boots were lost"
        if self.interpreter != ENVIRONMENT and "could not start" not in self.shown:
            return _SILENT
        return None

    def __str__(self) -> str:
        where = "environment" if self.interpreter == ENVIRONMENT else "machine's own"
        found = self.problem or f"{where}, {self.lost} lost, {self.seconds:.1f} s"
        return f"{self.case.path} {self.case.damage}: {found}"


def cases(prepared: PreparedMachine) -> list[Case]:
    """Return every path that was made, with every damage."""
    found = prepared.root.run(["sh", "-c", _MADE]).stdout.split("\n")
    paths = sorted({path for path in found if path and not path.endswith(("/guard", "/locks", "/downloads"))})
    return [Case(path=path, damage=damage) for path in paths for damage in DAMAGES]


def boots(prepared: PreparedMachine, wanted: Iterable[Case]) -> Iterator[Boot]:
    """Try each case on a notebook that was switched by a restart; the same one, as long as it lives."""
    with Page(prepared.server.url, name="lesson.ipynb") as page:
        page.open()
        ask_to_switch(page, prepared.kernel)
        next_cell(page, on=ENVIRONMENT)
        for case in wanted:
            shell(prepared, case, SAVE)
            shell(prepared, case, DAMAGES[case.damage])
            boot = _boot(prepared, page, case)
            shell(prepared, case, PUT_BACK)
            yield boot
            if boot.is_bricked:
                return
        # Whatever a start fell back to, the next one is the environment's again, without a switch.
        page.api("POST", f"kernels/{page.kernel_id}/restart")
        next_cell(page, on=ENVIRONMENT)


def shell(prepared: PreparedMachine, case: Case, script: str) -> None:
    prepared.root.run(["sh", "-c", f'p="$1"; {script}', "sh", case.path])


def _boot(prepared: PreparedMachine, page: Page, case: Case) -> Boot:
    before, began = restarts(prepared), time.monotonic()
    page.api("POST", f"kernels/{page.kernel_id}/restart")
    try:
        _, interpreter, shown = next_cell(page, WHERE)
        seconds = time.monotonic() - began
        with Page(prepared.server.url, name="new.ipynb") as other:
            other.open()
            assert other.execute("1 + 1").text == "2"
    except AssertionError:
        return Boot(case=case, is_bricked=True)
    lost = restarts(prepared) - before
    return Boot(case=case, lost=lost, seconds=seconds, interpreter=interpreter, shown=shown)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one damage did to a number of paths."""

    paths: int = 0
    bricked: int = 0
    lost: int = 0
    silent: int = 0
    seconds: float = 0.0

    def __add__(self, other: Row) -> Row:
        return Row(
            paths=self.paths + other.paths,
            bricked=self.bricked + other.bricked,
            lost=max(self.lost, other.lost),
            silent=self.silent + other.silent,
            seconds=max(self.seconds, other.seconds),
        )


_SILENT = "the first cell says nothing"


def counted(found: Iterable[Boot]) -> dict[str, Row]:
    """Return a row for each damage."""
    rows = dict.fromkeys(DAMAGES, Row())
    for boot in found:
        silent = boot.problem == _SILENT
        rows[boot.case.damage] += Row(
            paths=1, bricked=boot.is_bricked, lost=boot.lost, silent=silent, seconds=boot.seconds
        )
    return rows


def table(rows: Mapping[str, Row]) -> list[str]:
    """Return the rows as lines."""
    return [
        "| damage | paths | no cell runs | most boots lost | nothing said | seconds, at most |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {damage} | {row.paths} | {row.bricked} | {row.lost} | {row.silent} | {row.seconds:.1f} |"
            for damage, row in rows.items()
            if row.paths
        ),
    ]


def written(text: str, *, sample: str, every: int) -> dict[str, Row]:
    """Return the rows of a page whose table is of this sample of so many cases. Raises ValueError for another's."""
    _, _, section = text.partition(_HEAD)
    if f" of {every} cases." not in section or f"boot {sample} --write`" not in section:
        msg = f"the table in the page is not that of `{sample}` of {every} cases"
        raise ValueError(msg)
    rows = dict.fromkeys(DAMAGES, Row())
    for line in section.splitlines():
        damage, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if damage in rows:
            paths, bricked, lost, silent = map(int, cells[:-1])
            rows[damage] = Row(paths=paths, bricked=bricked, lost=lost, silent=silent, seconds=float(cells[-1]))
    return rows


def with_table(text: str, rows: Mapping[str, Row], *, sample: str, every: int) -> str:
    """Return the page's text with these rows at its end."""
    intro = _INTRODUCTION.format(sample=sample, found=sum(row.paths for row in rows.values()), every=every)
    return f"{text.partition(_HEAD)[0]}{_HEAD}\n\n{intro}\n\n" + "\n".join(table(rows)) + "\n"


def main(argv: Sequence[str]) -> int:
    """Try what the arguments say; return 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults boot", description=__doc__)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--skip", type=int, default=0, help="so many of the sample were tried before: --write adds to their table"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="no more of the sample than fits into these")
    parser.add_argument("--path", help="only paths that contain this")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.all and arguments.skip:
        parser.error("--all skips nothing")
    page_file = ROOT / "docs/faults.md"
    sample = f"--python {arguments.python} --count {{}} --seed {arguments.seed}"
    before: dict[str, Row] = {}
    found = []
    with machine(arguments.python) as prepared:
        with Page(prepared.server.url, name="lesson.ipynb") as page:
            page.open()
            ask_to_switch(page, prepared.kernel)
            next_cell(page, on=ENVIRONMENT)
        wanted = every = [case for case in cases(prepared) if (arguments.path or "") in case.path]
        if not arguments.all:  # a larger sample begins with the smaller one
            wanted = random.Random(arguments.seed).sample(every, len(every))[arguments.skip : arguments.count]
        if arguments.skip and arguments.write:  # what cannot be added to is said before an hour is gone
            text = page_file.read_text(encoding="utf-8")
            before = written(text, sample=sample.format(arguments.skip), every=len(every))
        end = time.monotonic() + 60 * arguments.minutes
        while wanted and time.monotonic() < end:
            for boot in boots(prepared, itertools.takewhile(lambda _: time.monotonic() < end, wanted)):
                print(boot, flush=True)
                found.append(boot)
                wanted = wanted[1:]
    rows = counted(found)
    print(*table(rows), sep="\n")
    if arguments.write:
        rows = {damage: before.get(damage, Row()) + row for damage, row in rows.items()}
        sample = f"--python {arguments.python} --all" if arguments.all else sample.format(arguments.skip + len(found))
        text = with_table(page_file.read_text(encoding="utf-8"), rows, sample=sample, every=len(every))
        page_file.write_text(text, encoding="utf-8")
    return 1 if any(boot.problem for boot in found) else 0


_HEAD = "\n## Every file that colab-env makes, damaged"
_INTRODUCTION = """\
A notebook was switched by a restart. Then one path after the other (the environment, the kernel's packages, the kernelspec, what
diverts the start, every file and directory of the data directory; of packages a choice) is damaged, the session restarted, and a
new notebook opened: {found} of {every} cases. Written by `python -m tests.faults boot {sample} --write`; `tests/test_boot.py`
tries some."""
