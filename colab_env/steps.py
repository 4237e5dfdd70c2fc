"""The verbs, in order: each finds out whether its thing is there and fine, and builds or heals it if not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from colab_env import _files, choice, index, poetry, projects, system, uv, venv
from colab_env.environment import Environment, Wish
from colab_env.errors import MissingStepError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel
from colab_env.locks import locked
from colab_env.locks.lockfiles import LockFile
from colab_env.machine import Machine
from colab_env.miniconda import conda, environment_yml
from colab_env.miniconda.environment_yml import CondaEnvironment
from colab_env.results import StepResult, short
from colab_env.step import Found, Step, changing, project_lock
from colab_env.wheels import WheelInstaller

CONDA = choice.CONDA
PREFIX = "/usr/local"


def install_python(
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    prefix: str | Path = PREFIX,
    lock: str | Path | None = None,
) -> StepResult:
    """Choose the Python that the next steps use, and install it where it is not on the machine.

    Arguments as in `setup`. "system" takes one that is there and installs nothing. Without `python`, a project that has
    an environment keeps its Python; else its lock file or its pyproject.toml decides. Where that file is an
    environment.yml, conda makes an environment from it, and the Python is that one's.
    """
    machine = Machine.detect()
    source = _source(interpreter)
    asked = python or projects.asked_python(projects.directory(project), lock, machine)
    if file := projects.environment_yml(projects.directory(project), lock, machine):
        work = CondaEnvironment(project=projects.directory(project), lock=file, distribution=source, machine=machine)
        return _on_conda(work, asked, prefix=prefix)
    if source in CONDA:
        return install_miniconda(asked, prefix=prefix, distribution=source)
    kept = None if python else venv.recorded_python(projects.directory(project))
    if kept is not None and kept.source == source:
        _remember(machine, kept)
    return _choosing(asked, source, machine).run()


def install_miniconda(
    python: str | None = None,
    *,
    prefix: str | Path = PREFIX,
    distribution: str = "miniconda",
    installer: str | None = None,
    sha256: str | None = None,
    mirror: str | None = None,
) -> StepResult:
    """Install Miniconda (or Miniforge) into `prefix` and choose its Python for the next steps.

    The installer is the newest pinned one whose Python fits, from `mirror` (or COLAB_ENV_MINICONDA_MIRROR) if given; or
    the one at the address `installer`, with its `sha256`. What it overwrites in `prefix` is kept, and the machine's own
    commands are put back at once. Raises NoSuchPythonError, HashMismatchError, NetworkError, InstallerError,
    NotOursError, NotWritableError or DiskFullError.
    """
    machine, target = Machine.detect(), Path(prefix).expanduser().absolute()
    specifier = parse_specifier(python or "*")
    source = conda.Source(distribution=distribution, installer=installer, sha256=sha256, mirror=mirror)

    def build() -> None:
        conda.install(source, prefix=target, specifier=specifier, machine=machine)

    def describe() -> Found:
        chosen = conda.python(target, distribution)
        return Found(what=f"{distribution.capitalize()} with Python {chosen.version}", where=target, python=chosen)

    result = Step(
        name="install_miniconda",
        title=f"Installing {distribution.capitalize()}",
        machine=machine,
        lock=_lock(machine, "conda"),
        check=lambda: conda.health_check(target, specifier=specifier),
        build=build,
        describe=describe,
    ).run()
    if result.python is not None:
        _remember(machine, result.python, prefix=target)
    return result


def install_colab_packages(
    packages: Sequence[str] = ("jupyter", "google-colab"),
    *,
    channels: Sequence[str] = ("conda-forge",),
    python: Interpreter | None = None,
) -> StepResult:
    """Install what a kernel needs: `packages` where the Python is conda's, and for every Python the kernel layer.

    The layer holds ipykernel, and on Colab the machine's own google.colab, which stands before conda's package of 2021.
    `channels` are the only ones that conda looks at. `python` is by default the one chosen last. Raises
    MissingStepError, TermsOfServiceError when a channel wants terms accepted, PackageNotFoundError, NetworkError.
    """
    machine = Machine.detect()
    chosen = python or choice.required_python(machine)
    layer = colab_layer.directory(machine, chosen)
    on_conda = chosen.source in CONDA and environment_yml.prefix_of(chosen.path, machine) is None

    prefix = chosen.path.parents[1] if on_conda else None

    def check() -> str | None:
        reason = _conda_packages_missing(prefix, packages, machine) if prefix else None
        return reason or colab_layer.health_check(layer)

    def build() -> None:
        if prefix:
            _install_conda_packages(prefix, packages, channels, machine)
        if colab_layer.health_check(layer):
            colab_layer.build(layer, machine=machine, python=chosen, installer=_installer(machine))

    return Step(
        name="install_colab_packages",
        title="Installing the kernel's packages",
        machine=machine,
        lock=_lock(machine, "conda"),
        check=check,
        build=build,
        describe=lambda: Found(what=f"Kernel packages ({_versions(layer)})", where=layer),
    ).run()


def install_poetry(*, version: str | None = None) -> StepResult:
    """Install Poetry, for this notebook too; `version` such as "2.5.1", by default the one that was tested.

    It lives in an environment of its own and its command is put on this process's PATH, so that `!poetry add numpy`
    works in the next cell. Raises CommandError when there is no such version or the package index is not reached.
    """
    machine = Machine.detect()

    result = Step(
        name="install_poetry",
        title="Installing Poetry",
        machine=machine,
        lock=_lock(machine, "poetry"),
        check=lambda: poetry.health_check(machine, version=version),
        build=lambda: poetry.install(machine, version=version, installer=_installer(machine)),
        describe=lambda: Found(what=f"Poetry {poetry.installed_version(machine)}", where=poetry.home(machine)),
    ).run()
    _put_on_path(machine.bin)
    return result


def configure_venv(
    project: str | Path = ".",
    *,
    python: str | Interpreter | None = None,
    system_site_packages: bool = True,
    lock: str | Path | None = None,
    installer: str | None = None,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    keep: Sequence[str] = (),
) -> StepResult:
    """Make the project's `.venv` and install exactly what its lock file says, and pip.

    `lock` names the lock file, relative to the project: poetry.lock, uv.lock, pylock.toml, requirements.txt,
    environment.yml, or a script or notebook with a `# /// script` block (PEP 723). By default the first of these that is
    there, requirements.txt and environment.yml only where pyproject.toml has no dependencies; then the block of a cell that
    has run. With none, Poetry makes a lock, and a missing pyproject.toml is written, minimal; one that exists is only
    completed.

    `extras` are names of extras; `groups` names of dependency groups, exactly these, by default those that the lock
    file's own tool takes. `installer` is "uv" or, for poetry.lock, "poetry"; by default uv, and where that cannot be had
    Poetry or pip. What is given here counts for this call: the next one starts from the defaults again.

    For an environment.yml, the conda installed last makes an environment from it in colab-env's own directory, and `.venv`
    sees its packages; that needs a Python of conda's, and raises what `install_miniconda` and `install_colab_packages` do.

    `keep` names packages, such as torch, that are used as the machine has them, with what they need: seen or linked, not
    downloaded. Each that is not kept (another X.Y of Python, or a version that the project refuses) is named in a note; one
    that breaks what is installed raises KeepError. An environment that keeps something is always made anew.

    `.venv` is rebuilt when another Python or another view of the system's packages made it; an environment that colab-env
    did not make is kept as `.venv.old`. `python` is a version or a path, by default the one chosen last. Raises
    MissingStepError, ProjectFileError, LockMismatchError, HashMismatchError, BuildError, NetworkError; then project and
    environment are as before.
    """
    wish = Wish.of(lock=lock, installer=installer, extras=extras, groups=groups, keep=keep)
    return configured(project, python=python, system_site_packages=system_site_packages, wish=wish)


def configured(
    project: str | Path,
    *,
    python: str | Interpreter | None,
    system_site_packages: bool,
    wish: Wish,
    ready: Callable[[], object] | None = None,
) -> StepResult:
    """Do what `configure_venv` says; `ready` brings Poetry while what can be done without it is done."""
    machine, directory = Machine.detect(), projects.directory(project)
    chosen = _python_for(directory, python, wish.lock, machine)
    work = Environment(
        directory, chosen, machine, system_site_packages=system_site_packages, wish=wish, ready=ready or (lambda: None)
    )
    if work.is_poetrys and ready is None:
        locked.require_poetry(machine)
    result = Step(
        name="configure_venv",
        title="Setting up the virtual environment",
        machine=machine,
        lock=project_lock(machine, directory),
        check=work.check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    ).run()
    _remember(machine, chosen, project=directory)
    environment_yml.remove_others(directory, chosen.path, machine)
    return result


def register_kernel(name: str | None = None, *, project: str | Path | None = None) -> StepResult:
    """Try the environment's kernel, then register it for Jupyter as `name` (by default such as "py312").

    The kernel is started as the notebook server would start it and must answer; the best tier that passes is
    registered. On Colab these are "full", "plain with google.colab" and "plain"; elsewhere there is "plain" only.
    `project` is by default the one set up last. Raises KernelNameError, KernelTakenError, MissingStepError, or
    PreflightError with the kernel's last lines; then nothing is registered.
    """
    machine = Machine.detect()
    directory = projects.directory(project or choice.place(machine, "project") or ".")
    python = venv.recorded_python(directory)
    if python is None:
        msg = f"{short(directory)} has no virtual environment"
        raise MissingStepError(msg, hint="run configure_venv() first")
    name = name or "py" + python.short_version.replace(".", "")
    kernelspec.check_free(machine, name)
    work = ProjectKernel(name=name, project=directory, python=python, machine=machine)
    if reason := colab_layer.health_check(work.layer):
        raise MissingStepError(reason, hint="run install_colab_packages() first")
    return Step(
        name="register_kernel",
        title="Trying the kernel",
        machine=machine,
        lock=_lock(machine, "kernels"),
        check=work.check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    ).run()


def remove_kernel(name: str) -> StepResult:
    """Take away a kernel that colab-env registered; its environment stays.

    Raises KernelNameError or KernelTakenError.
    """
    machine = Machine.detect()
    began = time.monotonic()
    with changing("remove_kernel", machine, _lock(machine, "kernels")):
        where = kernelspec.remove(machine, name)
    seconds = time.monotonic() - began
    return StepResult(
        step="remove_kernel", what=f"Kernel {name!r} removed", where=where, action="done", seconds=seconds
    )


def _on_conda(work: CondaEnvironment, asked: str | None, *, prefix: str | Path) -> StepResult:
    """Let conda make what an environment.yml says, installing conda first where it is needed, and choose its Python."""
    machine, specifier = work.machine, parse_specifier(asked or "*")
    base = Path(prefix).expanduser().absolute()
    if work.check(specifier) is not None:
        install_miniconda(prefix=base, distribution=work.distribution)

    def describe() -> Found:
        python, count = work.interpreter(), work.packages()
        what = f"Python {python.version} with {count} packages from {work.lock.path.name}, by conda"
        return Found(what=what, where=work.prefix, python=python)

    result = Step(
        name="install_python",
        title=f"Installing what {work.lock.path.name} says",
        machine=machine,
        lock=_lock(machine, "conda-env"),
        check=lambda: work.check(specifier),
        build=lambda: work.build(base, specifier),
        describe=describe,
    ).run()
    _remember(machine, _of(result))
    return result


def _of(result: StepResult) -> Interpreter:
    return cast("Interpreter", result.python)  # the step that chooses a Python names it


def _source(interpreter: str) -> str:
    return choice.source(interpreter, Machine.detect())


def _choosing(asked: str | None, source: str, machine: Machine) -> Step:
    by_path = asked is not None and "/" in asked
    named = Path(asked or "").expanduser()
    specifier = parse_specifier("*" if by_path or asked is None else asked)

    def check() -> str | None:
        known = choice.python(machine)
        if known is None or known.source != source or not known.path.is_file():
            return "none is chosen yet"
        fits = known.path.resolve() == named.resolve() if by_path else specifier.contains(known.version)
        return None if fits else f"Python {known.version} was chosen, {asked} is asked for"

    def build() -> None:
        if source == "uv":
            found = uv.install_python(uv.ensure(machine), specifier, machine=machine, index=index.settings(machine))
        elif by_path:
            found = system.at_path(named, machine=machine)
        else:
            found = system.find(specifier, machine=machine)
        choice.remember(machine, found)

    def describe() -> Found:
        found = choice.required_python(machine)
        return Found(what=f"Python {found.version}", where=found.path, python=found)

    return Step(
        name="install_python",
        title="Choosing a Python",
        machine=machine,
        lock=_lock(machine, "python"),
        check=check,
        build=build,
        describe=describe,
    )


def _remember(machine: Machine, python: Interpreter, **places: Path) -> None:
    if not choice.is_remembered(machine, python, **places):
        with changing("install_python", machine):
            choice.remember(machine, python, **places)


def _installer(machine: Machine) -> WheelInstaller:
    uv.obtain(machine)  # a second or two, and everything after it is several times faster
    return uv.installer(machine, index.settings(machine))


def _conda_packages_missing(prefix: Path, packages: Sequence[str], machine: Machine) -> str | None:
    """Return why conda has to install something into its prefix, or None."""
    if reason := conda.interrupted(prefix):
        return reason
    if absent := conda.packages_missing(prefix, packages):
        return f"conda packages are missing: {', '.join(absent)}"
    if machine.is_colab and conda.hides_google(prefix):
        return "conda's google-colab hides this machine's own"
    return None


def _install_conda_packages(prefix: Path, packages: Sequence[str], channels: Sequence[str], machine: Machine) -> None:
    conda.recover(prefix, machine)
    if absent := conda.packages_missing(prefix, packages):
        conda.install_packages(prefix, absent, channels=tuple(channels), machine=machine)
    if machine.is_colab and (hidden := conda.hides_google(prefix)):
        _files.remove(hidden)


def _versions(layer: Path) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(colab_layer.versions(layer).items()))


def _put_on_path(directory: Path) -> None:
    # The one documented exception to leaving os.environ alone: this step's purpose is the notebook's own PATH.
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if str(directory) not in parts:
        os.environ["PATH"] = os.pathsep.join([str(directory), *parts])


def _lock(machine: Machine, name: str) -> Path:
    return machine.data / "locks" / name


def _python_for(project: Path, python: str | Interpreter | None, lock: str | None, machine: Machine) -> Interpreter:
    known = python if isinstance(python, Interpreter) else choice.python(machine)
    if file := projects.environment_yml(project, lock, machine):
        return _python_of(file, project, known, python if isinstance(python, str) else None, machine)
    if isinstance(python, Interpreter):
        return python
    if python is None and known is not None and known.path.is_file():
        is_of_file = environment_yml.prefix_of(known.path, machine) is not None  # another project's, or another file's
        return conda.python(_conda_base(machine), known.source) if is_of_file else known
    if python is not None and "/" in python:
        return system.at_path(Path(python).expanduser(), machine=machine)
    return system.find(parse_specifier(python or projects.asked_python(project, lock, machine) or "*"), machine=machine)


def _python_of(
    file: LockFile, project: Path, known: Interpreter | None, asked: str | None, machine: Machine
) -> Interpreter:
    """Return the Python of the environment that conda makes from an environment.yml, which it does where needed."""
    source = known.source if known is not None else "none"
    work = CondaEnvironment(project=project, lock=file, distribution=source, machine=machine)
    if known is not None and known.path.parents[1] == work.prefix and work.check(parse_specifier(asked or "*")) is None:
        return known
    return _of(_on_conda(work, asked, prefix=_conda_base(machine)))


def _conda_base(machine: Machine) -> Path:
    return choice.place(machine, "prefix") or Path(PREFIX)
