"""A Python that is on the machine: nothing is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_env import choice, system
from colab_env.errors import NoSuchPythonError
from colab_env.interpreter_sources import InterpreterSource, ResolvedPython, remember
from colab_env.results import StepResult
from colab_env.step import Artifact, Step

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.request import Request


class System(InterpreterSource):
    """The machine's own Pythons: on PATH, and in the directories of pyenv and uv."""

    names = ("system",)

    def ensure(self, request: Request) -> StepResult:
        machine, recorded = request.machine, request.recorded_python
        notes: list[str] = []
        if request.python is None and recorded is not None and recorded.source in self.names:
            # A project that has an environment keeps its Python.
            remember(machine, recorded, project=request.project)

        def describe() -> Artifact:
            python = choice.required_python(machine)
            return Artifact(what=f"Python {python.version}", where=python.path, python=python)

        return Step(
            name="install_python",
            title="Choosing a Python",
            machine=machine,
            lock=machine.data / "locks" / "python",
            check=lambda: self._check(request),
            build=lambda: choice.remember(machine, self.find(request, notes), project=None),
            describe=describe,
            notes=notes,
        ).run()

    def require(self, request: Request) -> None:
        if self._check(request) is not None:
            self.find(request)

    def resolve(self, request: Request) -> ResolvedPython:
        if request.python_path is None and (previous := self.previous(request)):
            return ResolvedPython(python=previous, is_installed=True)
        notes: list[str] = []
        return ResolvedPython(python=self.find(request, notes), is_installed=True, notes=tuple(notes))

    def would_take(self, python: Interpreter, request: Request) -> bool:
        recorded = (request.recorded_python, choice.python(request.machine))
        paths = [interpreter.path for interpreter in recorded if interpreter is not None]
        requested = [request.python_path] if request.python_path else []
        return python.path in paths or system.is_discovered(python.path, machine=request.machine, named=requested)

    def find(self, request: Request, notes: list[str] | None = None) -> Interpreter:
        """Return the machine's Python that fits; of those, one that the lock file has the most wheels for.

        Adds to `notes` why it is not another one. Raises NoSuchPythonError.
        """
        machine = request.machine
        if path := request.python_path:
            return system.at_path(path, machine=machine)
        try:
            usual = system.find(request.specifier, machine=machine)
        except NoSuchPythonError:
            if request.near_specifier is None:
                raise
            return system.find(request.near_specifier, machine=machine)
        better = request.better_pythons(usual.short_version)
        if better is None:
            return usual
        try:
            found = system.find(better.specifier, machine=machine)
        except NoSuchPythonError:
            return usual
        if notes is not None:
            notes.append(better.reason)
        return found

    def previous(self, request: Request) -> Interpreter | None:
        """Return the interpreter of the environment that is there, or the one chosen last, where it still fits."""
        recorded = None if request.python else request.recorded_python
        for candidate in (recorded, self._chosen(request)):
            is_ours = candidate is not None and candidate.source in self.names and candidate.path.is_file()
            if candidate is not None and is_ours and request.specifier.contains(candidate.version):
                return candidate
        return None

    def _check(self, request: Request) -> str | None:
        chosen, path = self._chosen(request), request.python_path
        if chosen is None or chosen.source not in self.names or not chosen.path.is_file():
            return "none is chosen yet"
        fits = chosen.path.resolve() == path.resolve() if path else request.specifier.contains(chosen.version)
        return None if fits else f"Python {chosen.version} was chosen, {request.requested_python} is asked for"

    def _chosen(self, request: Request) -> Interpreter | None:
        chosen = choice.read(request.machine)
        # Unless it names one, what a project gets does not depend on which other one was set up before it.
        is_others = request.python is None and chosen is not None and chosen.project not in (None, request.project)
        return None if chosen is None or is_others else chosen.python
