"""The verbs, in order: each finds out whether its thing is there and fine, and builds or heals it if not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from colab_env import _files, _report, _transactions, choice, index, interpreter_sources, poetry, uv, venv
from colab_env.environment import Environment
from colab_env.errors import CommandError, MissingStepError
from colab_env.formats import poetry_lock
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.interpreters import conda as conda_source
from colab_env.interpreters import environment_yml as environment_yml_source
from colab_env.interpreters import system as system_source
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel
from colab_env.machine import Machine
from colab_env.miniconda import conda, environment_yml
from colab_env.request import PREFIX, InstallOptions, Request, project_directory
from colab_env.results import StepResult, short
from colab_env.step import Artifact, Step, changing, project_lock
from colab_env.wheels import WheelInstaller


@_report.ends_in_card
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
    source, prefix = interpreter_sources.named(interpreter, machine, project=project, python=python, prefix=prefix)
    options = InstallOptions.from_arguments(lock=lock)
    request = Request.read(project, machine, options=options, python=python, source=source, prefix=prefix)
    interpreter_source = interpreter_sources.source_for(request)
    interpreter_source.require(request)
    return interpreter_source.ensure(request)


@_report.ends_in_card
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
    source = conda.Source(distribution=distribution, installer=installer, sha256=sha256, mirror=mirror)
    target = _files.named_path(prefix).absolute()
    return conda_source.install(source, parse_specifier(python or "*"), prefix=target, machine=Machine.detect())


@_report.ends_in_card
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
    return kernel_packages(chosen, machine, packages=tuple(packages), channels=tuple(channels))


def kernel_packages(
    python: Interpreter,
    machine: Machine,
    *,
    packages: tuple[str, ...] = ("jupyter", "google-colab"),
    channels: tuple[str, ...] = ("conda-forge",),
    around: Mapping[str, str] | None = None,
    anew: str | None = None,
) -> StepResult:
    """Do what `install_colab_packages` says, on a machine that is known; `anew` is why they are made anew in any case.

    The versions that they are resolved `around` are those of a project, as `colab_layer.unfit` gives them.
    """
    layer, notes = colab_layer.directory(machine, python, around), list[str]()
    uses_conda = interpreter_sources.source_of(python, machine).is_in_prefix
    prefix = python.path.parents[1] if uses_conda else None

    def check() -> str | None:
        reason = _conda_packages_missing(prefix, packages, machine) if prefix else None
        return reason or anew or colab_layer.health_check(layer)

    def build() -> None:
        if prefix:
            _install_conda_packages(prefix, packages, channels, machine)
        if anew or colab_layer.health_check(layer):
            note = colab_layer.build(
                layer, machine=machine, python=python, installer=_installer(machine), around=around
            )
            # In place: the step below holds this very list.
            notes[:] = [note] if note else []

    return Step(
        name="install_colab_packages",
        title="Installing the kernel's packages",
        machine=machine,
        # That of conda: two of them at work in one prefix fail.
        lock=_lock(machine, "conda"),
        check=check,
        build=build,
        describe=lambda: Artifact(what=f"Kernel packages ({_versions(layer)})", where=layer),
        notes=notes,
    ).run()


@_report.ends_in_card
def install_poetry(*, version: str | None = None) -> StepResult:
    """Install Poetry, for this notebook too; `version` such as "2.5.1", by default the one that was tested.

    It lives in an environment of its own and its command is put on this process's PATH, so that `!poetry add numpy`
    works in the next cell. Raises CommandError when there is no such version or the package index is not reached.
    """
    return poetry_itself(Machine.detect(), version=version)


def poetry_itself(machine: Machine, *, version: str | None = None, anew: str | None = None) -> StepResult:
    """Do what `install_poetry` says, on a machine that is known; `anew` is why it is made anew in any case."""
    poetry.require_version(version)
    result = Step(
        name="install_poetry",
        title="Installing Poetry",
        machine=machine,
        lock=_lock(machine, "poetry"),
        check=lambda: anew or poetry.health_check(machine, version=version),
        build=lambda: poetry.install(machine, version=version, installer=_installer(machine), anew=anew is not None),
        describe=lambda: Artifact(what=f"Poetry {poetry.installed_version(machine)}", where=poetry.home(machine)),
    ).run()
    # The one documented exception to leaving os.environ alone: this step's purpose is the notebook's own PATH.
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if str(machine.bin) not in parts:
        os.environ["PATH"] = os.pathsep.join([str(machine.bin), *parts])
    return result


@_report.ends_in_card
def configure_venv(
    project: str | Path = ".",
    *,
    python: str | Interpreter | None = None,
    system_site_packages: bool | None = None,
    lock: str | Path | None = None,
    installer: str | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    defaults: bool = False,
    exact: bool = False,
) -> StepResult:
    """Make the project's `.venv` and install exactly what its lock file says, and pip.

    `lock` names the lock file, relative to the project: poetry.lock, uv.lock, pylock.toml, requirements.txt,
    environment.yml, or a script or notebook with a `# /// script` block (PEP 723). By default the first of these that is
    there, requirements.txt and environment.yml only where pyproject.toml has no dependencies; then the block of a cell that
    has run. With none, Poetry makes a lock, and a missing pyproject.toml is written, minimal; one that exists is only
    completed.

    `extras` are names of extras; `groups` names of dependency groups, exactly these, by default those that the lock
    file's own tool takes. `installer` is "uv" or, for poetry.lock, "poetry"; by default uv, and where that cannot be had
    Poetry or pip. What is given here is the environment's own until something else is given: a later call without it means
    the same again. Another `lock` starts from the defaults, and so does `defaults=True`. What somebody has installed into
    `.venv` by hand is named, and removed with `exact`.

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
    machine = Machine.detect()
    options = InstallOptions.from_arguments(lock=lock, installer=installer, extras=extras, groups=groups, keep=keep)
    specifier = python if isinstance(python, str) else None
    request = Request.read(
        project,
        machine,
        options=options,
        python=specifier,
        system_site_packages=system_site_packages,
        defaults=defaults,
        exact=exact,
    )
    chosen = python_for(request, python if isinstance(python, Interpreter) else None)
    # Without Poetry nothing can make the lock: said before the environment is touched.
    if request.lock.format.is_made_by_tool:
        poetry_lock.require_poetry(machine)
    return virtual_environment(request, chosen)


def virtual_environment(
    request: Request,
    python: Interpreter,
    *,
    ready: Callable[[], object] = lambda: None,
    anew: str | None = None,
) -> StepResult:
    """Do what `configure_venv` says, for a request that is known; `ready` returns when Poetry can be asked.

    `anew` is the reason for which it is made anew in any case.
    """
    machine, work = request.machine, Environment(request, python, ready=ready, anew=anew)
    step = Step(
        name="configure_venv",
        title="Setting up the virtual environment",
        machine=machine,
        lock=project_lock(machine, request.project),
        check=work.check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    )
    try:
        result = step.run()
    except CommandError as error:
        from colab_env import native

        advice = native.wheel_advice(error.lines, python.version, machine)
        error.hint = "; ".join(filter(None, (error.hint, advice)))
        raise
    if result.action == "done":
        # In the background, so that the first imports need not compile what is new.
        venv.start_compiling(result.where, python.path, machine=machine, lock=project_lock(machine, request.project))
    interpreter_sources.remember(machine, python, project=request.project)
    if (machine.data / environment_yml.HOME).is_dir():
        environment_yml.remove_others(request.project, python.path, machine)
    return result


@_report.ends_in_card
def register_kernel(name: str | None = None, *, project: str | Path | None = None) -> StepResult:
    """Try the environment's kernel, then register it for Jupyter as `name`.

    By default that is the name that the project's kernel has, else one such as "py312" or "py312-lesson" that is free.

    The kernel is started as the notebook server would start it and must answer; the best tier that passes is
    registered. On Colab these are "full", "plain with google.colab" and "plain"; elsewhere there is "plain" only.
    `project` is by default the one set up last. Raises KernelNameError, KernelTakenError, MissingStepError, or
    PreflightError with the kernel's last lines; then nothing is registered.
    """
    machine = Machine.detect()
    directory = project_directory(project or choice.path(machine, "project") or ".")
    python = venv.recorded_python(directory)
    if python is None:
        msg = f"{short(directory)} has no virtual environment"
        raise MissingStepError(msg, hint="run configure_venv() first, or setup() for all steps")
    return kernel_of(directory, python, machine, name=name)


def kernel_of(project: Path, python: Interpreter, machine: Machine, *, name: str | None = None) -> StepResult:
    """Do what `register_kernel` says, for an environment that is known."""
    if name is not None:
        kernelspec.check_free(machine, name, project)  # before a kernel's packages are installed
    work = ProjectKernel(name=name or "", project=project, python=python, machine=machine)
    if reason := colab_layer.health_check(work.layer):
        around = colab_layer.unfit(venv.versions(work.environment), python=python, machine=machine)
        if not around:
            raise MissingStepError(reason, hint="run install_colab_packages() first")
        work.notes.extend(kernel_packages(python, machine, around=around).notes)

    def check() -> str | None:
        # Each time it is asked, under the lock too: another project's set-up may have taken the name meanwhile.
        work.name = name or kernelspec.default_name(machine, project, python)
        kernelspec.check_free(machine, work.name, project)
        return work.check()

    return Step(
        name="register_kernel",
        title="Trying the kernel",
        machine=machine,
        lock=_lock(machine, "kernels"),
        check=check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    ).run()


@_report.ends_in_card
def remove_kernel(name: str) -> StepResult:
    """Take away a kernel that colab-env registered; its environment stays.

    Raises KernelNameError or KernelTakenError.
    """
    machine = Machine.detect()
    began = time.monotonic()
    # What an earlier run was stopped in deleting goes, also where there is nothing to remove any more.
    _transactions.recover(kernelspec.directory(machine, kernelspec.check_kernel_name(name)), wait=False)
    kernelspec.removable(machine, name)  # refused before anything is written
    with changing("remove_kernel", machine, _lock(machine, "kernels")):
        where = kernelspec.remove(machine, name)
    seconds = time.monotonic() - began
    return StepResult(
        step="remove_kernel", what=f"Kernel {name!r} removed", where=where, action="done", seconds=seconds
    )


def _installer(machine: Machine) -> WheelInstaller:
    uv.obtain(machine)  # a second or two, and everything after it is several times faster
    return uv.tool_installer(machine, index.settings(machine))


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


def _lock(machine: Machine, name: str) -> Path:
    return machine.data / "locks" / name


def python_for(request: Request, interpreter: Interpreter | None = None) -> Interpreter:
    """Return the Python that an environment is made with: the `interpreter` given or the one named, else the one chosen last."""
    machine, chosen = request.machine, interpreter or choice.python(request.machine)
    if request.lock.format.brings_python:
        # The Python of the environment that conda makes from an environment.yml, which it does where needed.
        request = replace(
            request,
            source=chosen.source if chosen is not None else "none",
            prefix=environment_yml_source.base_prefix(request.machine),
            python=request.python,
        )
        source = interpreter_sources.source_for(request)
        if chosen is not None and environment_yml_source.is_made(request, chosen):
            return chosen
        return chosen_python(source.ensure(request))
    if interpreter is not None:
        return interpreter
    if request.python is None and chosen is not None and chosen.path.is_file():
        # One that a file of another project brought is that project's.
        is_of_file = environment_yml.prefix_of(chosen.path, machine) is not None
        return conda.python(environment_yml_source.base_prefix(machine), chosen.source) if is_of_file else chosen
    return system_source.System().find(request)


def chosen_python(result: StepResult) -> Interpreter:
    """Return the Python that a step chose; a step that chooses none has none."""
    if result.python is None:
        msg = f"{result.step} chooses no Python"
        raise MissingStepError(msg, hint="run install_python() first")
    return result.python
