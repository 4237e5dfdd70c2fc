"""Named environments: made, listed, used, moved and removed by name, from one known place, without activation."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from colab_env import _files, _relocate, env_base, env_build, env_kernel, env_script, env_use, named_env, system
from colab_env.env_names import check_environment_name, meant
from colab_env.env_recipe import Recipe
from colab_env.errors import (
    EnvironmentExistsError,
    NoSuchEnvironmentError,
    NotAnEnvironmentError,
)
from colab_env.named_env import EnvironmentInfo, NamedEnvironment
from colab_env.results import StepResult, short
from colab_env.runtime import Runtime
from colab_env.step import Found, Step

Base = str | Path | None


def create(  # noqa: PLR0913  each is a word of its own on the command line too
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

    One that is there, healthy and made of the same, is left alone; else the new one is built beside, verified, and takes its
    place in one instant. `python` is a version, a PEP 440 specifier or a path; `wheels` a directory that is then the only source
    of packages, for machines without a network. `kernel` registers it for Jupyter. Raises EnvironmentNameError,
    NoSuchPythonError, NotOursError, EnvironmentInUseError, CommandError; then all is as before.
    """
    asked = Recipe(
        python=python,
        packages=packages,
        project=_path(project),
        requirements=_path(requirements),
        wheels=_path(wheels),
        system_site_packages=system_site_packages,
        kernel=kernel,
    ).checked()
    runtime, place = _named(name, base)

    def check() -> str | None:
        return _to_do(place, asked)

    def build() -> None:
        env_build.create(place, asked, runtime=runtime)

    return _finished(_step("create", place, check, build), place, runtime)


def list_environments(*, base: Base = None, measure: bool = False) -> list[EnvironmentInfo]:
    """Return every environment in every base, healthy or with the reason why not, and the processes that use it.

    Sizes are those of the day they were made, unless `measure`. Starts nothing.
    """
    bases = env_base.bases(Runtime.detect(), base)
    used = env_use.users(bases)
    return [_info(place, used, measure=measure) for place in named_env.everything(bases)]


def path(name: str, *, base: Base = None) -> Path:
    """Return the directory of the environment. Raises NoSuchEnvironmentError with near matches."""
    return _find(name, base).path


def which(name: str, program: str, *, base: Base = None) -> Path:
    """Return the path of a program of the environment. Raises NoSuchProgramError with near matches."""
    return _find(name, base).program(program)


def environ(name: str, *, base: Base = None) -> dict[str, str]:
    """Return this process's environment as an activated environment has it."""
    return _activated(_find(name, base), Runtime.detect().environ)


def run(name: str, program: str, *arguments: str, base: Base = None) -> NoReturn:
    """Become a program of the environment: same process, same terminal, and its own signals and exit code from here on."""
    place = _find(name, base)
    found = place.program(program)
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a new program would go on to
        signal.signal(number, signal.SIG_DFL)
    os.execve(found, [str(found), *arguments], _activated(place, Runtime.detect().environ))


def run_script(script: str | Path, *arguments: str, base: Base = None) -> NoReturn:
    """Become Python with a script, in the environment that its PEP 723 block asks for; the first use makes it."""
    asked = env_script.recipe(Path(script)) or Recipe()
    name = env_script.environment_name(asked)
    _, place = _named(name, base)
    if not place.is_there() or place.health_check():
        create(name, *asked.packages, python=asked.python, base=base)
    run(name, "python", str(script), *arguments, base=base)


def purge(*names: str, force: bool = False, if_exists: bool = False, base: Base = None) -> list[StepResult]:
    """Remove environments, and their kernels with them.

    All names are checked before anything is removed. Raises NotAnEnvironmentError for what is no environment of ours or a link,
    EnvironmentInUseError while programs run from it (unless `force`), NoSuchEnvironmentError (unless `if_exists`).
    """
    runtime = Runtime.detect()
    bases = env_base.bases(runtime, base)
    found = [_purgeable(name, bases, if_exists=if_exists) for name in names]
    there = [place for place in found if place is not None]
    if not force:
        for place in there:
            env_use.require_unused(place)
    return [_purged(place, runtime, force=force) for place in there]


def adopt(name: str, directory: str | Path, *, force: bool = False, base: Base = None) -> StepResult:
    """Make a virtual environment that somebody else made ours: move it to where `name` belongs, and write its receipt.

    Its programs are made to say the new place. Raises NotAnEnvironmentError, EnvironmentExistsError, EnvironmentInUseError.
    """
    runtime, place = _named(name, base)
    source = Path(directory).expanduser().absolute()
    if source.is_symlink() or not (source / "pyvenv.cfg").is_file() or not (source / "bin/python").exists():
        msg = f"{short(source)} is not a virtual environment"
        raise NotAnEnvironmentError(msg, hint="give the directory that holds pyvenv.cfg")
    if not force:
        env_use.require_unused(NamedEnvironment(name=source.name, base=source.parent))

    def build() -> None:
        python = system.at_path(source / "bin/python", runtime=runtime)
        env_build.verify(source, runtime=runtime, alone=False)
        with _moved(source, place):
            env_build.write_receipt(place.path, Recipe(packages=tuple(_pinned(place))), python=python)

    with _files.locked(place.lock):
        if source != place.path:
            _require_free(place)
        return _step("adopt", place, lambda: f"from {short(source)}", build, locked=False)


def rename(name: str, new_name: str, *, force: bool = False, base: Base = None) -> StepResult:
    """Give an environment another name; its programs and its kernel are told. Raises EnvironmentExistsError, EnvironmentInUseError."""
    runtime = Runtime.detect()
    place = _find(name, base)
    new = NamedEnvironment(name=check_environment_name(new_name), base=place.base)
    if not force:
        env_use.require_unused(place)

    def build() -> None:
        env_kernel.remove(place, runtime)
        with _moved(place.path, new):
            pass

    with _files.locked(place.lock), _files.locked(new.lock):
        _require_free(new)
        result = _step("rename", new, lambda: f"from {name!r}", build, locked=False)
    return _finished(result, new, runtime)


def upgrade(name: str, *, python: str | None = None, force: bool = False, base: Base = None) -> StepResult:
    """Make an environment anew from what it was made of: newest packages or the lock as it is now, and another `python` if given.

    The new one is built beside, verified, and takes the name in one instant; whatever fails leaves the old one. Raises as `create`
    does, EnvironmentInUseError while programs run from it (unless `force`).
    """
    runtime, place = Runtime.detect(), _find(name, base)
    recipe = Recipe.from_dict({**(place.receipt or {})["recipe"], **({"python": python} if python else {})}).checked()

    def build() -> None:
        env_build.rebuild(place, recipe, runtime=runtime, force=force)

    return _finished(_step("upgrade", place, lambda: "a newer one is asked for", build), place, runtime)


def _step(verb: str, place: NamedEnvironment, check: object, build: object, *, locked: bool = True) -> StepResult:
    lock = place.lock if locked else place.lock.with_name(f"{place.name}.{verb}")
    title = f"{verb.capitalize().removesuffix('e')}ing the environment {place.name!r}"
    step = Step(name=verb, title=title, lock=lock, check=check, build=build, describe=lambda: _found(place))  # type: ignore[arg-type]
    return step.run()
