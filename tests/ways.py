"""Three notebooks, three kernels, three ways to switch: what each runs on after everything that happens to one of them.

`python -m tests.ways docs/ways.md` writes the table. Nine rounds: in each, every notebook has a kernel and a way of its
own, turned on by one from round to round, so that each notebook meets each of the nine pairs of kernel and way.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

from boot_faults import MACHINE_S_OWN, ROOT, ask_to_switch, colab, next_cell, set_up
from colab_standin import ColabRoot, Page, serving

NOTEBOOKS = ("a.ipynb", "b.ipynb", "c.ipynb")
WAYS = ("restart", "session", "exec")
KERNELS = {"first": "3.12", "second": "3.10", "third": "3.8"}  # by name, the Python of each
_TERMINAL = {"PYTHONPATH": str(ROOT)}
_HEAD = """\
# Who runs on what, after everything that can happen to a notebook

Three notebooks on one stand-in for Colab, each switched to one of three kernels (Python {pythons}) in one of three ways, all 27
combinations. Then one thing happens to one of them, and a cell in **each** of the three says which interpreter it runs on. *Wrong*
are the cells that ran on another one than their notebook had chosen.

Written by `python -m tests.ways docs/ways.md`; `tests/test_many_notebooks.py` holds a sample.

| what happens | to a notebook switched by | cells | wrong |
|---|---|---:|---:|
"""


@dataclass(kw_only=True)
class Round:
    """One assignment of kernels and ways to the notebooks, with their open pages."""

    root: ColabRoot
    pages: dict[str, Page]
    chosen: Mapping[str, tuple[str, str]]
    expected: dict[str, str] = field(default_factory=dict)

    def switch(self, name: str) -> None:
        """Switch one notebook as the round has it."""
        kernel, way = self.chosen[name]
        ask_to_switch(self.pages[name], kernel, way)
        self.expected[name] = interpreter(kernel)
        next_cell(self.pages[name], on=self.expected[name])

    def wrong(self) -> dict[str, str]:
        """Run a cell in every notebook; return the interpreters that are not the chosen ones."""
        actual = {name: next_cell(page)[1] for name, page in self.pages.items()}
        return {name: path for name, path in actual.items() if path != self.expected[name]}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened, the way its notebook was switched by, and the wrong interpreters by notebook."""

    event: str
    way: str
    notebook: str
    wrong: Mapping[str, str]


def interpreter(kernel: str) -> str:
    return f"/content/{kernel}/.venv/bin/python"


def restart(current: Round, name: str) -> None:
    current.pages[name].restart()


def crash(current: Round, name: str) -> None:
    current.pages[name].submit("import os; os._exit(1)")
    time.sleep(4)  # the server looks every three seconds


def load_anew(current: Round, name: str) -> None:
    """As F5 does when the kernel has been lost: the same notebook gets another kernel."""
    current.pages[name].close()
    current.pages[name].open()


def go_back(current: Round, name: str) -> None:
    """Go back to the machine's own; whoever runs there then is asked, and the notebook is switched again afterwards."""
    ask_to_switch(current.pages[name], None)
    current.expected[name] = MACHINE_S_OWN
    next_cell(current.pages[name], on=MACHINE_S_OWN)
    for other, page in current.pages.items():
        if other != name:
            page.restart()


EVENTS: dict[str, Callable[[Round, str], None]] = {
    "restart": restart,
    "crash": crash,
    "F5 after the kernel was lost": load_anew,
    "`switch(None)`, then the others restart": go_back,
}
SERVER = "the server restarts"


def rounds() -> Iterator[dict[str, tuple[str, str]]]:
    """Yield nine assignments of a kernel and a way to each notebook, in which each notebook meets each pair once."""
    pairs = [(kernel, way) for kernel in KERNELS for way in WAYS]
    for turn in range(len(pairs)):
        # Four apart: other kernels and other ways than the neighbour's.
        yield {name: pairs[(turn + 4 * place) % len(pairs)] for place, name in enumerate(NOTEBOOKS)}


def outcomes(root: ColabRoot) -> Iterator[Outcome]:
    """Let everything happen to everybody in every round."""
    for chosen in rounds():
        expected: dict[str, str]
        with serving(root) as server, ExitStack() as stack:
            pages = {name: stack.enter_context(Page(server.url, name=name)).open() for name in NOTEBOOKS}
            current = Round(root=root, pages=pages, chosen=chosen)
            for name in NOTEBOOKS:
                current.switch(name)
            for event, happen in EVENTS.items():
                for name in NOTEBOOKS:
                    happen(current, name)
                    wrong = current.wrong()
                    yield Outcome(event=event, way=chosen[name][1], notebook=name, wrong=wrong)
                    for moved in {*wrong, *([name] if happen is go_back else [])}:
                        current.switch(moved)
            expected = dict(current.expected)
            root.run(["sh", "-c", "pkill -f '[j]upyter-server'; sleep 3"])
            for page in pages.values():
                page.session = {}  # there is no server any more to close it
        with serving(root) as server, ExitStack() as stack:
            pages = {name: stack.enter_context(Page(server.url, name=name)).open() for name in NOTEBOOKS}
            current = Round(root=root, pages=pages, chosen=chosen, expected=expected)
            wrong = current.wrong()
            for name in NOTEBOOKS:
                own = {each: path for each, path in wrong.items() if each == name}
                yield Outcome(event=SERVER, way=chosen[name][1], notebook=name, wrong=own)
        root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env=_TERMINAL)


def table(every: list[Outcome]) -> str:
    """Return the page: a row for each event and way."""
    lines = []
    for event in (*EVENTS, SERVER):
        for way in WAYS:
            rows = [each for each in every if (each.event, each.way) == (event, way)]
            cells = len(rows) * (1 if event == SERVER else len(NOTEBOOKS))
            lines.append(f"| {event} | {way} | {cells} | {sum(len(each.wrong) for each in rows)} |")
    return _HEAD.format(pythons=", ".join(KERNELS.values())) + "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    arguments = parser.parse_args()
    every = []
    with colab() as root:
        for kernel, python in KERNELS.items():
            root.run(["mkdir", "-p", f"/content/{kernel}"])
            set_up(root, python, "--project", f"/content/{kernel}", "--kernel", kernel)
        for outcome in outcomes(root):
            print(outcome, flush=True)
            every.append(outcome)
    if arguments.file:
        arguments.file.write_text(table(every), encoding="utf-8")


if __name__ == "__main__":
    main()
