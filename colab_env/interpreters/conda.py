"""Miniconda or Miniforge, in a prefix such as /usr/local, and its own Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import choice
from colab_env.errors import NoSuchPythonError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.interpreter_sources import InterpreterSource, ResolvedPython, remember
from colab_env.miniconda import conda
from colab_env.part import Part
from colab_env.results import StepResult
from colab_env.step import Artifact, Step

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from colab_env.machine import Machine
    from colab_env.request import Request


class Conda(InterpreterSource):
    """The Python of a conda that the pinned installers bring; conda's packages stand beside it."""

    names = ("miniconda", "miniforge")
    has_packages = True
    is_lasting = False
    is_in_prefix = True

    def require(self, request: Request) -> None:
        specifier, _ = _specifier(request)
        require_installable(_source(request), specifier, prefix=request.prefix, machine=request.machine)

    def ensure(self, request: Request) -> StepResult:
        specifier, notes = _specifier(request)
        return install(_source(request), specifier, prefix=request.prefix, machine=request.machine, notes=notes)

    def resolve(self, request: Request) -> ResolvedPython:
        prefix, distribution = request.prefix, str(request.source)
        specifier, notes = _specifier(request)
        if conda.health_check(prefix, specifier=specifier) is None:
            return ResolvedPython(python=conda.python(prefix, distribution), is_installed=True)
        # Not every installer says by its name which Python it brings.
        short = conda.choose(specifier, distribution=distribution).python or "3"
        absent = Interpreter(path=prefix / f"bin/python{short}", version=short, source=distribution)
        return ResolvedPython(python=absent, is_installed=False, notes=tuple(notes))

    def parts(self, python: Interpreter, machine: Machine) -> Iterator[Part]:
        prefix = python.path.parents[1]
        problem = conda.health_check(prefix, specifier=parse_specifier("*"))
        yield Part.of_directory("Conda", python.source.capitalize(), prefix, problem, is_measured=False)

    def own_prefix(self, python: Interpreter, machine: Machine) -> Path | None:
        prefix = python.path.parents[1]
        return prefix if conda.is_own(prefix) else None

    def would_take(self, python: Interpreter, request: Request) -> bool:
        # `restore` is given no prefix: then it may be the one that was used last, too.
        used = choice.path(request.machine, "prefix") if request.source is None else None
        return any(conda.has_python(prefix, python) for prefix in (request.prefix, used) if prefix is not None)

    def snapshot_prefix(self, python: Interpreter, request: Request) -> Path | None:
        return python.path.parents[1]


def _source(request: Request) -> conda.Source:
    installer, sha256 = request.conda_installer, request.conda_sha256
    return conda.Source(distribution=str(request.source), installer=installer, sha256=sha256)


def _specifier(request: Request) -> tuple[SpecifierSet, list[str]]:
    """Return which Pythons conda may bring: of those that fit, what the lock file has the most wheels for; and why not another."""
    fits, source, environ = request.specifier, _source(request), request.machine.environ
    # What is there and fits is not exchanged: other projects may have been set up with it.
    if source.installer or conda.health_check(request.prefix, specifier=fits) is None:
        return fits, []
    try:
        better = request.better_pythons(source.choose(fits, environ=environ).python or "")
        if better is not None:
            source.choose(better.specifier, environ=environ)
    except NoSuchPythonError:
        return fits, []
    return (better.specifier, [better.reason]) if better else (fits, [])


def require_installable(source: conda.Source, specifier: SpecifierSet, *, prefix: Path, machine: Machine) -> None:
    """Raise for an installation that cannot be, before anything is written; what is there and healthy may be anything."""
    if conda.health_check(prefix, specifier=specifier) is not None:
        conda.require_installable(source, specifier, prefix=prefix, machine=machine)


def install(
    source: conda.Source, specifier: SpecifierSet, *, prefix: Path, machine: Machine, notes: Sequence[str] = ()
) -> StepResult:
    """Install conda into a prefix where it is not there and healthy, and choose its Python for the next steps."""
    distribution = source.distribution
    require_installable(source, specifier, prefix=prefix, machine=machine)

    def build() -> None:
        conda.install(source, prefix=prefix, specifier=specifier, machine=machine)

    def describe() -> Artifact:
        chosen = conda.python(prefix, distribution)
        return Artifact(what=f"{distribution.capitalize()} with Python {chosen.version}", where=prefix, python=chosen)

    result = Step(
        name="install_miniconda",
        title=f"Installing {distribution.capitalize()}",
        machine=machine,
        lock=machine.data / "locks" / "conda",
        # Asked again inside the lock: another run may have installed it meanwhile.
        check=lambda: conda.health_check(prefix, specifier=specifier),
        build=build,
        describe=describe,
        notes=list(notes),
    ).run()
    if result.python is not None:
        remember(machine, result.python, prefix=prefix)
    return result
