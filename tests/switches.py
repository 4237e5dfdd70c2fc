"""Switch one notebook again and again, and restart another as often on the machine's own Python: what stays behind?

`python -m tests.switches --count 200` prints a table. One switch goes to the environment's kernel, the next one back.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

from boot_faults import ENVIRONMENT, MACHINE_S_OWN, PreparedMachine, ask_to_switch, colab, next_cell, restarts, set_up
from colab_standin import Page, serving

_WARM = 5  # switches before the first look: what a server loads once is no growth
# Runs inside, where the process numbers are: the server is the one whose memory and open files are looked at.
_LOOK = r"""
import json, os, pathlib
server, zombies, kernels = None, 0, 0
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = pathlib.Path("/proc", process, "cmdline").read_bytes().split(b"\0")
        status = pathlib.Path("/proc", process, "status").read_text()
    except OSError:
        continue
    zombies += "State:\tZ" in status
    kernels += any(word.endswith(b".json") and b"/kernel-" in word for word in words)
    if any(word.endswith(b"jupyter-server") for word in words):
        server = process
fields = dict(line.split(":", 1) for line in pathlib.Path("/proc", server, "status").read_text().splitlines())
notes = [name for place in ("/dev/shm", "/tmp", "/var/tmp") for name in os.listdir(place) if name.startswith("colab-env")]
print(json.dumps({
    "memory": int(fields["VmRSS"].split()[0]) / 1024,
    "files": len(os.listdir("/proc/" + server + "/fd")),
    "zombies": zombies,
    "kernels": kernels,
    "notes": len(notes),
}))
"""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The server's memory in MB and open files; zombies, kernels and our notes of starts on the whole machine."""

    memory: float
    files: int
    zombies: int
    kernels: int
    notes: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a number of switches, or of restarts, came to."""

    name: str
    count: int
    lost: int
    seconds: float
    before: Look
    after: Look

    def __str__(self) -> str:
        grown = self.after.memory - self.before.memory
        files, kernels = self.after.files - self.before.files, self.after.kernels - self.before.kernels
        each = self.seconds / self.count
        cells = (self.name, self.count, self.lost, self.after.zombies, kernels, self.after.notes, files)
        return f"| {' | '.join(map(str, cells))} | {grown:.1f} | {each:.1f} |"


HEAD = """\
| what | how often | boots lost | zombies | kernels more | notes of starts | open files more | server grew, MB | seconds each |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def look(prepared: PreparedMachine) -> Look:
    done = prepared.root.run(["/usr/bin/python3", "-c", _LOOK])
    assert done.returncode == 0, done.stderr
    return Look(**json.loads(done.stdout))


def series(prepared: PreparedMachine, name: str, count: int, *, switches: bool) -> Series:
    """Switch, or restart, `count` times after a few to begin with; after each a cell runs where it must."""
    with Page(prepared.server.url, name=f"{name}.ipynb") as page:
        page.open()
        for number in range(-_WARM, count):
            if number == 0:
                before, began, lost = look(prepared), time.monotonic(), restarts(prepared)
            if not switches:
                page.restart()
            goes = switches and number % 2
            if switches:
                ask_to_switch(page, prepared.kernel if goes else None)
            next_cell(page, on=ENVIRONMENT if goes else MACHINE_S_OWN)
        seconds, lost = time.monotonic() - began, restarts(prepared) - lost
        after = look(prepared)
    return Series(name=name, count=count, lost=lost, seconds=seconds, before=before, after=after)


def main() -> int:
    """Print the table; return 1 where switches lost a boot or left something behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--python", default="3.12")
    arguments = parser.parse_args()
    with colab() as root:
        set_up(root, arguments.python)
        every = []
        for name, switches in (("stock restarts", False), ("switches", True)):
            with serving(root) as server:  # each with a server of its own
                prepared = PreparedMachine(root=root, server=server, kernel="py" + arguments.python.replace(".", ""))
                every.append(series(prepared, name, arguments.count, switches=switches))
                print(every[-1], flush=True)
    print(HEAD, *every, sep="\n")
    stock, switched = every
    # A kernel that a server has lost leaves a zombie in the stand-in, whose first process collects none: on stock, too.
    return int(switched.lost > stock.lost or switched.after.zombies > stock.after.zombies or switched.after.notes > 0)


if __name__ == "__main__":
    sys.exit(main())
