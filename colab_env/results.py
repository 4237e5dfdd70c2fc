"""What a step returns: frozen values whose repr is the line that a notebook cell shows; and words that many messages share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env._report import as_word, is_on_page, short
from colab_env.interpreter import Interpreter

if TYPE_CHECKING:
    from colab_env.cards import Row

__all__ = ["SetupResult", "StepResult", "as_word", "short"]
# How alike two words are, from 0 to 1: "setpu" and "setup", a slip, are 0.8.
_SURE, _NEAR = 0.75, 0.6
_LISTED = 8  # names in a hint when none is near
# What a step is about, on a card.
_NAMES = {
    "install_python": "Python",
    "install_miniconda": "conda",
    "install_colab_packages": "Packages",
    "install_poetry": "Poetry",
    "configure_venv": "Environment",
    "register_kernel": "Kernel",
    "restore": "Snapshot",
}


def suggest(word: str, names: Iterable[str], *, otherwise: str | None = None, empty: str = "there is none") -> str:
    """Return the hint that names what was probably meant, else what there is.

    `otherwise` is the hint where that is too much to list, `empty` where there is nothing: what makes the first.
    """
    import difflib

    names = sorted(set(names))
    if not names:
        return empty
    near = difflib.get_close_matches(word, names, n=1, cutoff=_SURE)
    if near := near or difflib.get_close_matches(word, names, n=2, cutoff=_NEAR):
        return f"did you mean {' or '.join(near)}?"
    more = len(names) - _LISTED
    if more > 0 and otherwise:
        return otherwise
    few = ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
    return f"there is: {few}"


class CardResult:
    """What a call returns that has put its card into the cell: as the cell's last value it does not come a second time."""

    def _ipython_display_(self) -> None:
        if not is_on_page(self):
            raise NotImplementedError  # IPython then shows it as any value that has `_repr_html_`


@dataclass(frozen=True, kw_only=True)
class StepResult(CardResult):
    """One finished step.

    `step` is the verb's name, `what` the thing with its version, `where` its path, `action` "done" or "already there";
    `reason` is what the health check found, or None; `seconds` the time it took; `notes` are sentences that a person
    should read; `python` is the interpreter that the step chose, or None.
    """

    step: str
    what: str
    where: Path
    action: str
    seconds: float
    reason: str | None = None
    notes: tuple[str, ...] = ()
    python: Interpreter | None = None

    def __repr__(self) -> str:
        line = f"✓ {self.what} in {short(self.where)} ({self.action}, {self.seconds:.1f} s)"
        return "\n".join([line, *(f"  {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        from colab_env import cards

        return cards.card(self.what, [self.row()], aside=self.action)

    def row(self) -> Row:
        """Return its line on a card."""
        from colab_env.cards import Row

        details = [f"in {self.where}", *([f"because {self.reason}"] if self.reason else [])]
        name = _NAMES.get(self.step, self.step.replace("_", " "))
        return Row(
            mark="✓",
            name=name,
            text=self.what.removeprefix(f"{name} "),
            aside=f"{self.seconds:.1f} s" if self.changed else self.action,
            notes=self.notes,
            details=tuple(details),
        )

    @property
    def changed(self) -> bool:
        """Say whether this run built anything."""
        return self.action != "already there"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        python = self.python and {**asdict(self.python), "path": str(self.python.path)}
        return {**asdict(self), "where": str(self.where), "python": python, "changed": self.changed}


@dataclass(frozen=True, kw_only=True)
class SetupResult(CardResult):
    """All steps of one `setup()`, in order; `kernel` is the name to pick in Jupyter, `notes` are about the cache."""

    steps: tuple[StepResult, ...]
    kernel: str
    display_name: str
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        ready = f"✓ Ready in {self.seconds:.1f} s: kernel {self.kernel!r}, shown as “{self.display_name}”"
        return "\n".join([*map(repr, self.steps), *(f"  {note}" for note in self.notes), ready])

    def _repr_html_(self) -> str:
        from colab_env import cards

        title, kernel = f"Ready in {self.seconds:.1f} s", f"kernel {self.kernel!r}, shown as “{self.display_name}”"
        return cards.card(title, [step.row() for step in self.steps], aside=kernel, notes=self.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "kernel": self.kernel,
            "display_name": self.display_name,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "steps": [step.as_dict() for step in self.steps],
        }
