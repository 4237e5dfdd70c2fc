"""What a set-up will bring, as a value whose repr is a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from colab_env._report import megabytes
from colab_env.interpreter import Interpreter
from colab_env.plans import comparison
from colab_env.plans.comparison import Conflict, Row
from colab_env.results import short

_TITLES = ("package", "wanted", "on this machine", "what happens")
_SAYS = {
    comparison.KEPT: "kept as the machine has it",
    comparison.SAME: "the same, installed again",
    comparison.REPLACED: "replaced: the environment's own hides it",
    comparison.NEW: "new",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a set-up will bring, beside what the machine has.

    `python` is what it will use, `there` whether that is installed already, `machine` the machine's own Python or None,
    and `visible` whether the environment sees the machine's packages. `lock` is the lock file or None. Each row's
    `happens` is "kept", "same", "replaced" or "new". `only_on_machine` counts what is visible and not asked for.
    `outgrown` is the sentence for a project that the machine's Python does not suit, or None. `saved` is the size on
    disk, in bytes, of what is kept.
    """

    python: Interpreter
    there: bool
    machine: Interpreter | None
    visible: bool
    lock: Path | None
    rows: tuple[Row, ...]
    only_on_machine: int
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...] = ()
    outgrown: str | None = None
    saved: int = 0

    def __repr__(self) -> str:
        table = [_TITLES, *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        lines = ["  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(3)), row[3]]) for row in table]
        return "\n".join([*self._head(), *(lines if self.rows else []), *self._foot()])

    def _repr_html_(self) -> str:
        rows = "".join(_html_row("td", _cells(row)) for row in self.rows)
        table = f"<table>{_html_row('th', _TITLES)}{rows}</table>" if self.rows else ""
        head, foot = ("".join(f"<p>{escape(line)}</p>" for line in part) for part in (self._head(), self._foot()))
        return head + table + foot

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "outgrown": self.outgrown,
            "python": {**_plain(self.python), "there": self.there, "sees_machine": self.visible},
            "machine": _plain(self.machine) if self.machine else None,
            "lock": str(self.lock) if self.lock else None,
            "packages": [asdict(row) for row in self.rows],
            "only_on_machine": self.only_on_machine,
            "conflicts": [asdict(conflict) for conflict in self.conflicts],
            "notes": list(self.notes),
            "saved": self.saved,
        }

    def _head(self) -> list[str]:
        where = short(self.python.path) if self.there else f"{self.python.source}, not installed yet"
        sees = "sees this machine's packages" if self.visible else "sees none of this machine's packages"
        if not self.visible and self.only_on_machine:
            sees = f"sees {self.python.source}'s packages, and none of this machine's"
        rests_on = f"locked by {self.lock.name}" if self.lock else "nothing is locked: what pyproject.toml asks for"
        first = [self.outgrown] if self.outgrown else []
        return [*first, f"Python {self.python.version} ({where}) {sees}; {rests_on}"]

    def _foot(self) -> list[str]:
        none = [] if self.rows else ["no package is asked for"]
        more = [f"{self.only_on_machine} more are seen as they are"] if self.only_on_machine else []
        saved = [f"{megabytes(self.saved)} on disk are shared with the machine"] if self.saved else []
        return [*none, *more, *self.notes, *saved, *(f"✗ {conflict}" for conflict in self.conflicts)]


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, row.wanted or "-", row.machine or "-", _SAYS[row.happens]


def _html_row(kind: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"


def _plain(python: Interpreter) -> dict[str, Any]:
    return {**asdict(python), "path": str(python.path)}
