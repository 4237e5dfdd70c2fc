"""Named environments: made, listed, used, moved and removed by name, from one known place, without activation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from colab_env import _files, _process
from colab_env.errors import BrokenEnvironmentError, ScriptError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, processes, scripts
from colab_env.named_env.inventory import EnvironmentInfo, NamedEnvironment, Receipt
from colab_env.named_env.names import check_environment_name
from colab_env.named_env.recipe import Recipe
from colab_env.results import StepResult, short
from colab_env.step import RUNNING, Artifact, Step

Base = str | Path | None


def create(
    name: str,
    *packages: str,
    python: str | None = None,
    project: str | Path | None = None,
    requirements: str | Path | None = None,
    wheels: str | Path | None = None,
    system_site_packages: bool = False,
    kernel: bool = False,
    base: Base = None,
) -> StepResult:
    """Make the environment `name` with these packages, or what a project's lock or a requirements file says.

    One that is there, healthy and made of the same, is left alone; else the new one is built beside, verified, and
    takes its place in one instant. `python` is a version, a PEP 440 specifier or a path; `wheels` a directory that is
    then the only source of packages, for machines without a network. `kernel` registers it for Jupyter under its name.
    Raises EnvironmentNameError, NoSuchPythonError, NotOursError, EnvironmentInUseError, PreflightError, CommandError;
    then all is as before.
    """
    from colab_env.named_env import building, kernels

    asked = Recipe(
        python=python,
        packages=packages,
        project=_path(project),
        requirements=_path(requirements),
        wheels=_path(wheels),
        system_site_packages=system_site_packages,
        kernel=kernel,
    ).checked()
    machine, place = _named(name, base)

    def check() -> str | None:
        return _to_do(place, asked) or kernels.health_check(place, machine=machine)

    def build() -> None:
        building.create(place, asked, machine=machine)

    return _step("create", place, machine=machine, check=check, build=build)


def list_environments(*, base: Base = None, measure: bool = False) -> list[EnvironmentInfo]:
    """Return every environment in every base, healthy or with the reason why not, and the processes that use it.

    Sizes are those of the day they were made, unless `measure`. Starts nothing.
    """
    bases = base_dirs.bases(Machine.detect(), base)
    used = processes.users(bases)
    return [inventory.info(place, used.get(place.path, []), measure=measure) for place in inventory.everything(bases)]


def path(name: str, *, base: Base = None) -> Path:
    """Return the directory of the environment. Raises NoSuchEnvironmentError with near matches."""
    return _find(name, base).path


def which(name: str, program: str, *, base: Base = None) -> Path:
    """Return the path of a program of the environment. Raises NoSuchProgramError with near matches."""
    return _find(name, base).program(program)


def environ(name: str, *, base: Base = None) -> dict[str, str]:
    """Return this process's environment as an activated environment has it."""
    return _activated(_find(name, base), Machine.detect().environ)


def run(name: str, program: str, *arguments: str, base: Base = None) -> NoReturn:
    """Become a program of the environment: the same process and terminal, its own signals and exit code."""
    place = _find(name, base)
    found = place.program(program)
    _process.become(found, arguments, _activated(place, Machine.detect().environ))


def run_script(script: str | Path, *arguments: str, base: Base = None) -> NoReturn:
    """Become Python with a script, in the environment that its PEP 723 block asks for; the first use makes it."""
    asked = scripts.recipe(Path(script)) or Recipe()
    name = scripts.environment_name(asked)
    _, place = _named(name, base)
    if not place.is_there() or place.health_check():
        create(name, *asked.packages, python=asked.python, base=base)
    run(name, "python", str(script), *arguments, base=base)


def script(
    file: str | Path,
    *,
    name: str | None = None,
    program: str = "python3",
    one_argument: bool = False,
    base: Base = None,
) -> str:
    """Write the first line that runs a script in the environment `name`, or in that of its PEP 723 block; return it.

    The file becomes executable. With `one_argument` the line also works where `env` knows no `-S`. Raises ScriptError.
    """
    if name is not None:
        which(name, program, base=base)
    elif scripts.recipe(Path(file)) is None:
        msg = f"{short(file)} has no block `# /// script` (PEP 723) that says what it needs"
        raise ScriptError(msg, hint="add one, or give the name of an environment")
    line = scripts.first_line(name, program, command=str(scripts.command()) if one_argument else None)
    scripts.write_first_line(Path(file), line)
    return line


def unit(name: str, program: str, *arguments: str, user: str | None = None, base: Base = None) -> str:
    """Return a hardened systemd service file that runs a program of the environment, as `user` or as nobody else.

    Raises NoSuchProgramError with near matches.
    """
    from colab_env.named_env import units

    place = _find(name, base)
    place.program(program)
    command = scripts.command()
    return units.unit_text(name=name, program=program, arguments=arguments, path=place.path, command=command, user=user)


def purge(*names: str, force: bool = False, if_exists: bool = False, base: Base = None) -> list[StepResult]:
    """Remove environments, and their kernels with them.

    All names are checked before anything is removed. Raises NotAnEnvironmentError for what is no environment of ours,
    or a link; EnvironmentInUseError while programs run from it (unless `force`); NoSuchEnvironmentError (unless
    `if_exists`).
    """
    from colab_env.named_env import moving, purging

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    with contextlib.ExitStack() as last:
        for each in bases:
            last.callback(moving.clear_leftovers, each)
        places = [purging.find(name, bases, if_exists=if_exists) for name in names]
        there = [place for place in places if place is not None]
        if not force:
            for place in there:
                _require_unused(place, machine)
        return [purging.purge(place, machine=machine) for place in there]


def adopt(name: str, directory: str | Path, *, force: bool = False, base: Base = None) -> StepResult:
    """Make somebody else's virtual environment ours: move it to where `name` belongs, and write its receipt.

    Its programs are made to say the new place. Raises NotAnEnvironmentError, EnvironmentExistsError, or
    EnvironmentInUseError (unless `force`).
    """
    from colab_env.named_env import moving

    machine, place = _named(name, base)
    source = _files.named_path(directory).absolute()
    moving.clear_leftovers(place.base)
    _files.recover(source, wait=False)
    if moving.has_moved(source, place):
        return _step("adopt", place, machine=machine)
    moving.require_environment(source)
    if source != place.path:
        moving.require_free(place)
    if not force:
        _require_unused(NamedEnvironment(name=source.name, base=source.parent), machine)

    def build() -> None:
        moving.adopt(source, place, machine=machine)

    return _step("adopt", place, machine=machine, check=lambda: f"from {short(source)}", build=build)


def rename(name: str, new_name: str, *, force: bool = False, base: Base = None) -> StepResult:
    """Give an environment another name; its programs and its kernel are told.

    Raises EnvironmentExistsError, EnvironmentInUseError (unless `force`).
    """
    from colab_env.named_env import moving

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    for each in (NamedEnvironment(name=check_environment_name(new_name), base=each) for each in bases):
        moving.clear_leftovers(each.base)
        if moving.has_moved(each.base / name, each):
            return _step("rename", each, machine=machine)
    place = _find(name, base)
    new = NamedEnvironment(name=new_name, base=place.base)
    moving.require_free(new)
    if not force:
        _require_unused(place, machine)

    def build() -> None:
        with _files.locked(place.lock):
            moving.rename(place, new, machine=machine)

    return _step("rename", new, machine=machine, check=lambda: f"from {name!r}", build=build)


def upgrade(name: str, *, python: str | None = None, force: bool = False, base: Base = None) -> StepResult:
    """Make an environment anew: newest packages, or the lock as it is now, and another `python` if given.

    The new one is built beside, verified, and takes the name in one instant; whatever fails leaves the old one. Raises
    as `create` does, and EnvironmentInUseError while programs run from it (unless `force`).
    """
    from colab_env.named_env import building

    machine, place = Machine.detect(), _find(name, base)
    recorded = _receipt(place).recipe
    recipe = replace(recorded, python=python or recorded.python).checked()

    def build() -> None:
        building.rebuild(place, recipe, machine=machine, force=force)

    return _step("upgrade", place, machine=machine, check=lambda: "a new one is asked for", build=build)


def _require_unused(place: NamedEnvironment, machine: Machine) -> None:
    """Raise EnvironmentInUseError while programs run from an environment, but for those that a killed run has left."""
    _process.end_orphans(machine.data / RUNNING)
    processes.require_unused(place)


_TITLES = {"create": "Making", "adopt": "Adopting", "rename": "Renaming", "upgrade": "Upgrading"}


def _step(
    verb: str,
    place: NamedEnvironment,
    *,
    machine: Machine,
    check: Callable[[], str | None] = lambda: None,
    build: Callable[[], None] = lambda: None,
) -> StepResult:
    from colab_env.named_env import moving

    def describe() -> Artifact:
        receipt = _receipt(place)
        what = f"Environment {place.name!r} with Python {receipt.python.version}"
        return Artifact(what=f"{what} and {inventory.pluralize(len(receipt.packages))}", where=place.path)

    def swept_build() -> None:
        moving.clear_leftovers(place.base)
        build()

    title = f"{_TITLES[verb]} the environment {place.name!r}"
    step = Step(
        name=verb,
        title=title,
        machine=machine,
        lock=place.lock,
        check=check,
        build=swept_build,
        describe=describe,
        recorded=False,  # it goes by `purge`, and `undo` leaves it alone
    )
    return step.run()


def _to_do(place: NamedEnvironment, asked: Recipe) -> str | None:
    receipt = place.receipt
    if receipt is None:
        return place.health_check() if place.is_unfinished() or place.is_ours() else "there is none of that name"
    if receipt.inputs != asked.digest():
        return "it was made of something else"
    return place.health_check()


def _receipt(place: NamedEnvironment) -> Receipt:
    receipt = place.receipt
    if receipt is None:
        msg = f"the environment {place.name!r} in {short(place.path)} cannot be used: {place.health_check()}"
        raise BrokenEnvironmentError(msg, hint="create it again")
    return receipt


def _find(name: str, base: Base) -> NamedEnvironment:
    return inventory.find(name, base_dirs.bases(Machine.detect(), base))


def _named(name: str, base: Base) -> tuple[Machine, NamedEnvironment]:
    machine = Machine.detect()
    return machine, NamedEnvironment(name=check_environment_name(name), base=base_dirs.bases(machine, base)[0])


def _activated(place: NamedEnvironment, environ: Mapping[str, str]) -> dict[str, str]:
    commands, path = str(place.path / "bin"), environ.get("PATH", "")
    kept = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
    if path.split(os.pathsep)[0] != commands:
        kept["PATH"] = f"{commands}{os.pathsep}{path}" if path else commands
    return {**kept, "VIRTUAL_ENV": str(place.path), "VIRTUAL_ENV_PROMPT": place.name}


def _path(given: str | Path | None) -> Path | None:
    return Path(given) if given else None
