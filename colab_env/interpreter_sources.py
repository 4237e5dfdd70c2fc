"""What colab-env has to know about a source of interpreters; the sources are found in `colab_env.interpreters`."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colab_env import choice, interpreters, venv
from colab_env.errors import UsageError
from colab_env.interpreter import require_text
from colab_env.part import Part
from colab_env.request import PREFIX, project_directory
from colab_env.results import StepResult
from colab_env.step import changing

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine
    from colab_env.request import Request


@dataclass(frozen=True, kw_only=True)
class ResolvedPython:
    """A Python, and whether it `is_installed` already; one that is not has the version that is known beforehand.

    `notes` say why it is not another one.
    """

    python: Interpreter
    is_installed: bool
    notes: tuple[str, ...] = ()


class InterpreterSource:
    """One source: a subclass in a module of its own in `colab_env.interpreters`, where it is found."""

    names: ClassVar[tuple[str, ...]]
    """What a person writes as `interpreter=`."""
    has_packages: ClassVar[bool] = False
    """Its own tool installs packages beside the interpreter, which virtual environments see."""
    is_lasting: ClassVar[bool] = True
    """What has been there stays; one that is not is brought by a later step of the set-up."""
    home: ClassVar[str | None] = None
    """The directory of our own, in `Machine.data`, that its interpreters are in; the files of projects bring these."""
    is_in_prefix: ClassVar[bool] = False
    """It is in the `prefix` that is asked for."""

    def serves(self, request: Request) -> bool:
        """Say whether this source brings the interpreter for a request."""
        if request.lock.format.brings_python:
            return self.home is not None
        return request.source in self.names

    def owns(self, python: Interpreter, machine: Machine) -> bool:
        """Say whether an interpreter is of this source."""
        if self.home is not None:
            return python.path.parents[1].parent == machine.data / self.home
        return python.source in self.names

    def require(self, request: Request) -> None:
        """Raise for what it can never bring, before anything is written."""

    def ensure(self, request: Request) -> StepResult:
        """Install the interpreter that fits where there is none, remember it, and return the step's result."""
        raise NotImplementedError

    def resolve(self, request: Request) -> ResolvedPython:
        """Return what `ensure` would take; nothing is installed or chosen. Raises NoSuchPythonError."""
        raise NotImplementedError

    def parts(self, python: Interpreter, machine: Machine) -> Iterator[Part]:
        """Yield what `status` shows beside the interpreter itself."""
        yield from ()

    def own_prefix(self, python: Interpreter, machine: Machine) -> Path | None:
        """Return the directory of an interpreter that a tool of ours made, and that is nobody else's."""
        return None

    def links(self, python: Interpreter) -> list[Path]:
        """Return the links beside that directory that name it."""
        return []

    def would_take(self, python: Interpreter, request: Request) -> bool:
        """Say whether an interpreter at this very path is one that this machine has, or would make, for a request.

        What a snapshot names is neither started nor linked to otherwise. Starts nothing.
        """
        return False

    def snapshot_prefix(self, python: Interpreter, request: Request) -> Path | None:
        """Return the directory that a snapshot may bring an interpreter to that `would_take` accepts, or None."""
        return None

    def snapshot_links(self, python: Interpreter, prefix: Path) -> Mapping[Path, str]:
        """Return the links beside that directory that a snapshot brings, and what they name."""
        return {}


@functools.cache
def all_sources() -> tuple[InterpreterSource, ...]:
    """Return every source; those with a directory of our own come first, since a path says more than a name."""
    names = (module.name for module in pkgutil.iter_modules(interpreters.__path__))
    modules = (import_module(f"{interpreters.__name__}.{name}") for name in names)
    sources = (source for module in modules for source in _defined_in(vars(module)))
    return tuple(sorted(sources, key=lambda source: source.home is None))


def _defined_in(names: dict[str, object]) -> Iterator[InterpreterSource]:
    for value in names.values():
        if isinstance(value, type) and issubclass(value, InterpreterSource) and value.__module__ == names["__name__"]:
            yield value()


def named(
    interpreter: str,
    machine: Machine,
    *,
    project: str | Path,
    python: str | None = None,
    prefix: str | Path = PREFIX,
    defaults: bool = False,
) -> tuple[str, str | Path]:
    """Return the name of the source, and the prefix of conda. Raises UsageError for what is no source.

    "auto" is where the Python of the project's environment is from, unless another one is asked for or `defaults` count;
    else what the service usually has.
    """
    names = [name for source in all_sources() for name in source.names]
    if interpreter not in ("auto", *names):
        msg = f"there is no interpreter source {interpreter!r}"
        raise UsageError(msg, hint=f"choose one of auto, {', '.join(names)}")
    require_text(python)
    if python is not None and "/" in python:
        if interpreter not in ("auto", "system"):
            msg = f"{python} is a path, and {interpreter} brings a Python of its own"
            raise UsageError(msg, hint="choose system as the interpreter: it takes the Python at a path")
        return "system", prefix
    if interpreter != "auto":
        return interpreter, prefix
    receipt = None if python or defaults else venv.read_receipt(project_directory(project))
    source = source_of(receipt.python, machine) if receipt else None
    # A Python that a file of the project brings has no source by name: that file brings it again.
    if receipt is None or source is None or source.home is not None or receipt.python.source not in names:
        return machine.host.interpreter, prefix
    # The prefix of then, unless another one is asked for.
    is_usual = source.is_in_prefix and str(prefix) == PREFIX
    return receipt.python.source, receipt.python.path.parents[1] if is_usual else prefix


def source_for(request: Request) -> InterpreterSource:
    """Return the source that brings the interpreter for a request."""
    return next(source for source in all_sources() if source.serves(request))


def source_of(python: Interpreter, machine: Machine) -> InterpreterSource:
    """Return the source that an interpreter is of; one without knowledge of its own where none says so."""
    return next((source for source in all_sources() if source.owns(python, machine)), InterpreterSource())


def remember(machine: Machine, python: Interpreter, **paths: Path | None) -> None:
    """Keep a choice for the next steps: the Python, and as `prefix` and `project` what else was used."""
    if not choice.is_remembered(machine, python, **paths):
        with changing("install_python", machine):
            choice.remember(machine, python, **paths)
