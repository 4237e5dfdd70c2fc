"""Make a named environment, or make it anew beside the one that is there: verified before it takes the name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from colab_env import _files, _process, _state, content, index, system, uv
from colab_env.errors import BrokenEnvironmentError, CommandError, NoSuchPythonError, UsageError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.jupyter import kernelspec
from colab_env.locks.installing import Selection, Target
from colab_env.named_env import _relocate, kernels, processes
from colab_env.named_env.inventory import MadeFrom, NamedEnvironment, Receipt, packages, size
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.recipe import Recipe
    from colab_env.wheels import WheelInstaller

Hashes = Mapping[str, Collection[str]]
_PROOF = "import sys; assert sys.prefix != sys.base_prefix"


def create(place: NamedEnvironment, recipe: Recipe, *, machine: Machine) -> None:
    """Make the environment where none is, or exchange ours for a new one. Raises NotOursError for anybody else's."""
    if place.is_ours():
        rebuild(place, recipe, machine=machine)
        return
    python = choose_python(recipe, machine=machine)
    with _files.replacing(place.path):
        hashes = _fill(place.path, recipe, python=python, machine=machine)
        write_receipt(place.path, recipe, python=python, hashes=hashes)
        kernels.register(place, machine=machine)


def rebuild(place: NamedEnvironment, recipe: Recipe, *, machine: Machine, force: bool = False) -> None:
    """Build a new one beside, verify it, and exchange the two in one instant: no program is missing at any moment.

    Raises EnvironmentInUseError while programs run from the old one, unless `force`. Whatever fails leaves the old one.
    """
    if not force:
        processes.require_unused(place)
    python = choose_python(recipe, machine=machine)
    with _files.staging(place.path) as (beside,):
        hashes = _fill(beside, recipe, python=python, machine=machine)
        _relocate.rewrite(beside, before=beside, after=place.path)
        write_receipt(beside, recipe, python=python, hashes=hashes)
        if not force:
            processes.require_unused(place)
        with _exchanged(place.path, beside):
            kernels.register(place, machine=machine)


@contextlib.contextmanager
def _exchanged(path: Path, beside: Path) -> Iterator[None]:
    _relocate.exchange(path, beside)
    try:
        yield
    except BaseException:
        _relocate.exchange(path, beside)
        raise


def choose_python(recipe: Recipe, *, machine: Machine) -> Interpreter:
    """Return the Python that is asked for; uv installs one that the machine lacks, if the network may be used."""
    asked = recipe.specifier()
    if "/" in asked:
        return system.at_path(_files.named_path(asked), machine=machine)
    specifier = parse_specifier(asked)
    own = system.inspect(machine.machine_python, machine=machine)
    if own is not None and specifier.contains(own.version):
        return own
    try:
        return system.find(specifier, machine=machine)
    except NoSuchPythonError:
        program = uv.find(machine)
        if program is None or recipe.wheels is not None:
            raise
        return uv.install_python(program, specifier, machine=machine, index=index.settings(machine))


def write_receipt(path: Path, recipe: Recipe, *, python: Interpreter, hashes: Hashes = MappingProxyType({})) -> None:
    """Mark an environment as ours and complete; `hashes` are those that its lock file locks names by."""
    receipt = Receipt(
        python=MadeFrom(**vars(python), real=(path / "bin/python").resolve()),
        recipe=recipe.recorded(),
        inputs=recipe.digest(),
        packages=tuple(packages(path)),
        size=size(path),
        created=time.time(),
    )
    content.write(path, content.Survey(path).content(hashes))
    _state.complete(path, receipt)


def verify(path: Path, *, machine: Machine, alone: bool = True) -> None:
    """Raise BrokenEnvironmentError unless its Python starts and, if it stands `alone`, its packages fit together."""
    python = path / "bin" / "python"
    try:
        _process.run([python, "-I", "-c", _PROOF], environ=_process.child_environ(machine.environ))
        if alone:
            _check_packages(path, machine)
    except CommandError as error:
        msg = "\n".join([f"the environment does not work: {error.message.splitlines()[0]}", *error.lines[-6:]])
        raise BrokenEnvironmentError(msg, hint="nothing was changed") from error


def _fill(path: Path, recipe: Recipe, *, python: Interpreter, machine: Machine) -> Hashes:
    """Make it and install what is wanted, proven file by file; return the hashes that its lock file locks names by."""
    installer = _installer(machine, path)
    hashes: dict[str, Collection[str]] = {}

    def install() -> None:
        _files.empty(path)
        installer.make_venv(path, python.path, system_site_packages=recipe.system_site_packages)
        source = ["--no-index", "--find-links", str(recipe.wheels)] if recipe.wheels else []
        if recipe.project is not None:
            hashes.update(_install_project(path, recipe.project, recipe, machine=machine, source=source))
        elif wanted := ["-r", str(recipe.requirements)] if recipe.requirements else list(recipe.packages):
            installer.install([*source, *wanted], python=path / "bin/python")

    content.prove(path, install, unpacked=installer)
    kernelspec.write_ipython_config(path)
    verify(path, machine=machine, alone=not recipe.system_site_packages)
    return hashes


def _install_project(path: Path, project: Path, recipe: Recipe, *, machine: Machine, source: list[str]) -> Hashes:
    lock = recipe.lock
    if lock is None:
        _installer(machine, path).install([*source, str(project)], python=path / "bin/python")
        return {}
    if lock.format.brings_python:
        msg = f"{short(lock.path)} is conda's, and conda makes no named environments"
        hint = "lock the project with Poetry or uv; or use setup(interpreter='miniconda') for a kernel"
        raise UsageError(msg, hint=hint)
    target = Target(
        machine=machine,
        environment=path,
        uv=uv.find(machine) if recipe.wheels else uv.obtain(machine),
        pip=False,
        editable=False,
        options=("--compile-bytecode", *source),
    )
    return lock.format.install(lock, Selection(), target=target)


def _installer(machine: Machine, path: Path) -> WheelInstaller:
    found = uv.installer(machine, index.settings(machine))
    environ = {**_files.unshared(path.parent), **found.environ}
    # Compiled now, as pip does it: a daemon's user may not write there, and would compile at every start.
    return replace(found, environ={**environ, "UV_COMPILE_BYTECODE": "1"})


def _check_packages(path: Path, machine: Machine) -> None:
    installer, python = _installer(machine, path), path / "bin" / "python"
    if installer.uv is not None:
        _process.run([installer.uv, "pip", "check", "--python", python], environ=installer.environ)
    else:
        argv: list[str | Path] = [installer.machine_python, "-m", "pip", "--python", python, "check"]
        _process.run(argv, environ=installer.environ)
