"""What a step returns: frozen values whose repr is the line that a notebook cell shows; and words that many messages share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env.interpreter import Interpreter


def short(path: Path | str) -> str:
    """Write a path as people do, with `~` for the home directory."""
    home = str(Path.home())
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + "/") else text


def suggest(word: str, names: Iterable[str]) -> str:
    """Return the hint that names near matches, or that there are none."""
    import difflib

    names = sorted(set(names))
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    few = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"there is: {few or 'none'}"


@dataclass(frozen=True, kw_only=True)
class StepResult:
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

    @property
    def changed(self) -> bool:
        """Say whether this run built anything."""
        return self.action != "already there"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        python = self.python and {**asdict(self.python), "path": str(self.python.path)}
        return {**asdict(self), "where": str(self.where), "python": python, "changed": self.changed}


@dataclass(frozen=True, kw_only=True)
class SetupResult:
    """All steps of one `setup()`, in order; `kernel` is the name to pick in Jupyter, `notes` are about the cache."""

    steps: tuple[StepResult, ...]
    kernel: str
    display_name: str
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        ready = f"✓ Ready in {self.seconds:.1f} s: kernel {self.kernel!r}, shown as “{self.display_name}”"
        return "\n".join([*map(repr, self.steps), *(f"  {note}" for note in self.notes), ready])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "kernel": self.kernel,
            "display_name": self.display_name,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "steps": [step.as_dict() for step in self.steps],
        }
