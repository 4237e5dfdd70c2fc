"""What earlier steps have chosen: the disk is the only memory between two cells of a notebook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from colab_env import _state
from colab_env.errors import MissingStepError
from colab_env.interpreter import Interpreter, require_version

if TYPE_CHECKING:
    from colab_env.machine import Machine


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was used last: the Python, the `prefix` of conda, the `project`."""

    schema: ClassVar[str] = "chosen"
    version: ClassVar[int] = 1

    python: Interpreter
    prefix: Path | None = None
    project: Path | None = None

    def __post_init__(self) -> None:
        require_version(self.python.version)


def read(machine: Machine) -> Chosen | None:
    """Return what was used last, or None."""
    return _state.read(_file(machine), Chosen)


def python(machine: Machine) -> Interpreter | None:
    """Return the Python that was chosen last, or None."""
    chosen = read(machine)
    return chosen.python if chosen else None


def fault(machine: Machine) -> str | None:
    """Return why what was chosen is not known, or None when it is, or nothing was."""
    return _state.fault(_file(machine), Chosen)


def required_python(machine: Machine) -> Interpreter:
    """Return the Python that was chosen last. Raises MissingStepError when there is none, or none any more."""
    chosen = read(machine)
    # A choice outlives the Python that it names.
    if chosen is None or not chosen.python.path.is_file():
        msg = "no Python is chosen yet" if chosen is None else f"{chosen.python.path} is gone"
        raise MissingStepError(msg, hint="run install_miniconda() or install_python() first")
    return chosen.python


def path(machine: Machine, key: Literal["prefix", "project"]) -> Path | None:
    """Return the "prefix" of conda or the "project" that was used last, or None."""
    chosen = read(machine)
    if chosen is None:
        return None
    return chosen.prefix if key == "prefix" else chosen.project


def is_remembered(machine: Machine, chosen: Interpreter, **paths: Path | None) -> bool:
    """Say whether this very choice is kept."""
    current = read(machine)
    return current is not None and replace(current, python=chosen, **paths) == current


def remember(machine: Machine, chosen: Interpreter, **paths: Path | None) -> None:
    """Keep a choice for the next steps: the Python, and as `prefix` and `project` what else was used; None forgets one."""
    if not is_remembered(machine, chosen, **paths):
        current = read(machine) or Chosen(python=chosen)
        _state.write(_file(machine), replace(current, python=chosen, **paths))


def _file(machine: Machine) -> Path:
    return machine.data / "chosen.json"
