"""What a set-up will bring, as a value whose repr is a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env._report import bar, megabytes
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
        from colab_env import cards

        groups = [
            cards.Row(mark="·", name=verb, text=text, share=share, details=_by_size(rows))
            for verb, text, share, rows in self._groups()
        ]
        conflicts = [
            cards.Row(mark="✗", name=conflict.package, text=f"needs {conflict.needs}, and gets {conflict.brings}")
            for conflict in self.conflicts
        ]
        first, *rest = reversed(self._head())
        more = cards.folded(f"All packages ({len(self.rows)})", cards.table(_TITLES, map(_cells, self.rows)))
        return cards.card(
            f"Python {self.python.version}",
            [*groups, *conflicts],
            mark="✗" if self.conflicts else "✓",
            aside="what a set-up would bring; nothing was changed",
            notes=[*rest, first, *self._notes()],
            more=more if self.rows else "",
        )

    def _groups(self) -> list[tuple[str, str, float, list[Row]]]:
        """Return what is brought, hidden and shared: the verb, the words for it, its part of the largest, and the packages.

        The bars go by bytes where each of them has a size, else by the number of packages.
        """
        brought = [row for row in self.rows if row.happens != comparison.KEPT]
        hidden = [row for row in self.rows if row.happens == comparison.REPLACED]
        shared = [row for row in self.rows if row.happens == comparison.KEPT]
        groups = [
            ("brings", brought, sum(row.download or 0 for row in brought), "to download"),
            ("hides", hidden, sum(row.on_disk or 0 for row in hidden), "on the machine's disk"),
            ("shares", shared, self.saved, "on the machine's disk"),
        ]
        groups = [group for group in groups if group[1]]
        is_by_size = all(size for _, _, size, _ in groups)
        amounts = [size if is_by_size else len(rows) for _, rows, size, _ in groups]
        return [
            (
                verb,
                f"{len(rows)} package{'s' if rows[1:] else ''}" + (f", {megabytes(size)} {where}" if size else ""),
                amount / max(amounts),
                rows,
            )
            for (verb, rows, size, where), amount in zip(groups, amounts, strict=True)
        ]

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
        picture = [f"{verb:<7} {bar(share, 20)} {text}" for verb, text, share, _ in self._groups()]
        return [*none, *picture, *self._notes(), *(f"✗ {conflict}" for conflict in self.conflicts)]

    def _notes(self) -> list[str]:
        more = [f"{self.only_on_machine} more are seen as they are"] if self.only_on_machine else []
        saved = [f"{megabytes(self.saved)} on disk are shared with the machine"] if self.saved else []
        return [*more, *self.notes, *saved]


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, row.wanted or "-", row.machine or "-", _SAYS[row.happens]


def _by_size(rows: list[Row]) -> tuple[str, ...]:
    """Return the packages of a group, the largest first."""
    sized = [(row, row.on_disk if row.happens == comparison.KEPT else row.download or row.on_disk) for row in rows]
    ordered = sorted(sized, key=lambda pair: (-(pair[1] or 0), pair[0].name))
    return tuple(
        f"{row.name} {row.wanted or row.machine}" + (f"  {megabytes(size)}" if size else "") for row, size in ordered
    )


def _plain(python: Interpreter) -> dict[str, Any]:
    return {**asdict(python), "path": str(python.path)}
