"""The Python of the environment that conda makes from a project's environment.yml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import choice
from colab_env.errors import UsageError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.interpreter_sources import InterpreterSource, ResolvedPython, remember
from colab_env.interpreters import conda as conda_source
from colab_env.miniconda import conda, environment_yml
from colab_env.miniconda.environment_yml import CondaEnvironment
from colab_env.part import Part
from colab_env.request import PREFIX
from colab_env.results import StepResult, short
from colab_env.step import Artifact, Step

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.request import Request


class EnvironmentYml(InterpreterSource):
    """An environment of conda's in our own directory, one for each project, file and content."""

    names = ()
    home = environment_yml.HOME
    has_packages = True
    is_lasting = False

    def ensure(self, request: Request) -> StepResult:
        machine, specifier = request.machine, parse_specifier(request.requested_python or "*")
        work = _environment(request)
        if work.check(specifier) is not None:  # an environment that is healthy needs no conda
            base = conda.Source(
                distribution=work.distribution, installer=request.conda_installer, sha256=request.conda_sha256
            )
            conda_source.install(base, parse_specifier("*"), prefix=request.prefix, machine=machine)

        def describe() -> Artifact:
            python, count = work.interpreter(), work.packages()
            what = f"Python {python.version} with {count} packages from {work.file.name}, by conda"
            return Artifact(what=what, where=work.prefix, python=python)

        result = Step(
            name="install_python",
            title=f"Installing what {work.file.name} says",
            machine=machine,
            lock=machine.data / "locks" / "conda-env",
            check=lambda: work.check(specifier),
            build=lambda: work.build(request.prefix, specifier),
            describe=describe,
        ).run()
        remember(machine, work.interpreter())
        return result

    def resolve(self, request: Request) -> ResolvedPython:
        msg = f"{short(request.lock.path)} is conda's: what it brings is known when conda has installed it"
        raise UsageError(msg, hint="run setup(interpreter='miniconda'), or name another lock file with lock=...")

    def parts(self, python: Interpreter, machine: Machine) -> Iterator[Part]:
        prefix = python.path.parents[1]
        yield Part.of_directory(
            "Conda", "the packages of environment.yml", prefix, environment_yml.health_check(prefix)
        )

    def own_prefix(self, python: Interpreter, machine: Machine) -> Path | None:
        return python.path.parents[1]

    def would_take(self, python: Interpreter, request: Request) -> bool:
        is_conda = request.lock.format.brings_python and python.source in conda_source.Conda.names
        return is_conda and conda.has_python(_environment(request, python.source).prefix, python)

    def snapshot_prefix(self, python: Interpreter, request: Request) -> Path | None:
        return python.path.parents[1]


def base_prefix(machine: Machine) -> Path:
    """Return where the conda is that was used last."""
    return choice.path(machine, "prefix") or Path(PREFIX)


def is_made(request: Request, python: Interpreter) -> bool:
    """Say whether an interpreter is that of the environment that the request's file says, and is healthy."""
    work = _environment(request)
    specifier = parse_specifier(request.python or "*")
    return python.path.parents[1] == work.prefix and work.check(specifier) is None


def _environment(request: Request, distribution: str | None = None) -> CondaEnvironment:
    # By the file's digest: a changed environment.yml is another environment, and the old one stays whole until the new
    # one is.
    return CondaEnvironment(
        project=request.project,
        file=request.lock.path,
        digest=request.lock.digest,
        distribution=distribution or str(request.source),
        machine=request.machine,
    )
