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
from colab_env.miniconda import conda, environment_yml
from colab_env.miniconda.environment_yml import CondaEnvironment
from colab_env.results import StepResult, short
from colab_env.runtime import Runtime
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
    runtime = Runtime.detect()
    source = _source(interpreter)
    asked = python or projects.asked_python(projects.directory(project), lock, runtime)
    if file := projects.environment_yml(projects.directory(project), lock, runtime):
        work = CondaEnvironment(project=projects.directory(project), lock=file, distribution=source, runtime=runtime)
        return _on_conda(work, asked, prefix=prefix)
    if source in CONDA:
        return install_miniconda(asked, prefix=prefix, distribution=source)
    kept = None if python else venv.recorded_python(projects.directory(project))
    if kept is not None and kept.source == source:
        _remember(runtime, kept)
    return _choosing(asked, source, runtime).run()


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
    runtime, target = Runtime.detect(), Path(prefix).expanduser().absolute()
    specifier = parse_specifier(python or "*")
    source = conda.Source(distribution=distribution, installer=installer, sha256=sha256, mirror=mirror)

    def build() -> None:
        conda.install(source, prefix=target, specifier=specifier, runtime=runtime)

    def describe() -> Found:
        chosen = conda.python(target, distribution)
        return Found(what=f"{distribution.capitalize()} with Python {chosen.version}", where=target, python=chosen)

    result = Step(
        name="install_miniconda",
        title=f"Installing {distribution.capitalize()}",
        runtime=runtime,
        lock=_lock(runtime, "conda"),
        check=lambda: conda.health_check(target, specifier=specifier),
        build=build,
        describe=describe,
    ).run()
    if result.python is not None:
        _remember(runtime, result.python, prefix=target)
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
    runtime = Runtime.detect()
    chosen = python or choice.required_python(runtime)
    layer = colab_layer.directory(runtime, chosen)
    on_conda = chosen.source in CONDA and environment_yml.prefix_of(chosen.path, runtime) is None

    prefix = chosen.path.parents[1] if on_conda else None

    def check() -> str | None:
        reason = _conda_packages_missing(prefix, packages, runtime) if prefix else None
        return reason or colab_layer.health_check(layer)

    def build() -> None:
        if prefix:
            _install_conda_packages(prefix, packages, channels, runtime)
        if colab_layer.health_check(layer):
            colab_layer.build(layer, runtime=runtime, python=chosen, installer=_installer(runtime))

    return Step(
        name="install_colab_packages",
        title="Installing the kernel's packages",
        runtime=runtime,
        lock=_lock(runtime, "conda"),
        check=check,
        build=build,
        describe=lambda: Found(what=f"Kernel packages ({_versions(layer)})", where=layer),
    ).run()


def install_poetry(*, version: str | None = None) -> StepResult:
    """Install Poetry, for this notebook too; `version` such as "2.5.1", by default the one that was tested.

    It lives in an environment of its own and its command is put on this process's PATH, so that `!poetry add numpy`
    works in the next cell. Raises CommandError when there is no such version or the package index is not reached.
    """
    runtime = Runtime.detect()

    result = Step(
        name="install_poetry",
        title="Installing Poetry",
        runtime=runtime,
        lock=_lock(runtime, "poetry"),
        check=lambda: poetry.health_check(runtime, version=version),
        build=lambda: poetry.install(runtime, version=version, installer=_installer(runtime)),
        describe=lambda: Found(what=f"Poetry {poetry.installed_version(runtime)}", where=poetry.home(runtime)),
    ).run()
    _put_on_path(runtime.bin)
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
    runtime, directory = Runtime.detect(), projects.directory(project)
    chosen = _python_for(directory, python, wish.lock, runtime)
    work = Environment(
        directory, chosen, runtime, system_site_packages=system_site_packages, wish=wish, ready=ready or (lambda: None)
    )
    if work.is_poetrys and ready is None:
        locked.require_poetry(runtime)
    result = Step(
        name="configure_venv",
        title="Setting up the virtual environment",
        runtime=runtime,
        lock=project_lock(runtime, directory),
        check=work.check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    ).run()
    _remember(runtime, chosen, project=directory)
    environment_yml.remove_others(directory, chosen.path, runtime)
    return result


def register_kernel(name: str | None = None, *, project: str | Path | None = None) -> StepResult:
    """Try the environment's kernel, then register it for Jupyter as `name` (by default such as "py312").

    The kernel is started as the notebook server would start it and must answer; the best tier that passes is
    registered. On Colab these are "full", "plain with google.colab" and "plain"; elsewhere there is "plain" only.
    `project` is by default the one set up last. Raises KernelNameError, KernelTakenError, MissingStepError, or
    PreflightError with the kernel's last lines; then nothing is registered.
    """
    runtime = Runtime.detect()
    directory = projects.directory(project or choice.place(runtime, "project") or ".")
    python = venv.recorded_python(directory)
    if python is None:
        msg = f"{short(directory)} has no virtual environment"
        raise MissingStepError(msg, hint="run configure_venv() first")
    name = name or "py" + python.short_version.replace(".", "")
    kernelspec.check_free(runtime, name)
    work = ProjectKernel(name=name, project=directory, python=python, runtime=runtime)
    if reason := colab_layer.health_check(work.layer):
        raise MissingStepError(reason, hint="run install_colab_packages() first")
    return Step(
        name="register_kernel",
        title="Trying the kernel",
        runtime=runtime,
        lock=_lock(runtime, "kernels"),
        check=work.check,
        build=work.build,
        describe=work.describe,
        notes=work.notes,
    ).run()


def remove_kernel(name: str) -> StepResult:
    """Take away a kernel that colab-env registered; its environment stays.

    Raises KernelNameError or KernelTakenError.
    """
    runtime = Runtime.detect()
    began = time.monotonic()
    with changing("remove_kernel", runtime, _lock(runtime, "kernels")):
        where = kernelspec.remove(runtime, name)
    seconds = time.monotonic() - began
    return StepResult(
        step="remove_kernel", what=f"Kernel {name!r} removed", where=where, action="done", seconds=seconds
    )


def _on_conda(work: CondaEnvironment, asked: str | None, *, prefix: str | Path) -> StepResult:
    """Let conda make what an environment.yml says, installing conda first where it is needed, and choose its Python."""
    runtime, specifier = work.runtime, parse_specifier(asked or "*")
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
        runtime=runtime,
        lock=_lock(runtime, "conda-env"),
        check=lambda: work.check(specifier),
        build=lambda: work.build(base, specifier),
        describe=describe,
    ).run()
    _remember(runtime, _of(result))
    return result


def _of(result: StepResult) -> Interpreter:
    return cast("Interpreter", result.python)  # the step that chooses a Python names it


def _source(interpreter: str) -> str:
    return choice.source(interpreter, Runtime.detect())


def _choosing(asked: str | None, source: str, runtime: Runtime) -> Step:
    by_path = asked is not None and "/" in asked
    named = Path(asked or "").expanduser()
    specifier = parse_specifier("*" if by_path or asked is None else asked)

    def check() -> str | None:
        known = choice.python(runtime)
        if known is None or known.source != source or not known.path.is_file():
            return "none is chosen yet"
        fits = known.path.resolve() == named.resolve() if by_path else specifier.contains(known.version)
        return None if fits else f"Python {known.version} was chosen, {asked} is asked for"

    def build() -> None:
        if source == "uv":
            found = uv.install_python(uv.ensure(runtime), specifier, runtime=runtime, index=index.settings(runtime))
        elif by_path:
            found = system.at_path(named, runtime=runtime)
        else:
            found = system.find(specifier, runtime=runtime)
        choice.remember(runtime, found)

    def describe() -> Found:
        found = choice.required_python(runtime)
        return Found(what=f"Python {found.version}", where=found.path, python=found)

    return Step(
        name="install_python",
        title="Choosing a Python",
        runtime=runtime,
        lock=_lock(runtime, "python"),
        check=check,
        build=build,
        describe=describe,
    )


def _remember(runtime: Runtime, python: Interpreter, **places: Path) -> None:
    if not choice.is_remembered(runtime, python, **places):
        with changing("install_python", runtime):
            choice.remember(runtime, python, **places)


def _installer(runtime: Runtime) -> WheelInstaller:
    uv.obtain(runtime)  # a second or two, and everything after it is several times faster
    return uv.installer(runtime, index.settings(runtime))


def _conda_packages_missing(prefix: Path, packages: Sequence[str], runtime: Runtime) -> str | None:
    """Return why conda has to install something into its prefix, or None."""
    if reason := conda.interrupted(prefix):
        return reason
    if absent := conda.packages_missing(prefix, packages):
        return f"conda packages are missing: {', '.join(absent)}"
    if runtime.is_colab and conda.hides_google(prefix):
        return "conda's google-colab hides this machine's own"
    return None


def _install_conda_packages(prefix: Path, packages: Sequence[str], channels: Sequence[str], runtime: Runtime) -> None:
    conda.recover(prefix, runtime)
    if absent := conda.packages_missing(prefix, packages):
        conda.install_packages(prefix, absent, channels=tuple(channels), runtime=runtime)
    if runtime.is_colab and (hidden := conda.hides_google(prefix)):
        _files.remove(hidden)


def _versions(layer: Path) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(colab_layer.versions(layer).items()))


def _put_on_path(directory: Path) -> None:
    # The one documented exception to leaving os.environ alone: this step's purpose is the notebook's own PATH.
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if str(directory) not in parts:
        os.environ["PATH"] = os.pathsep.join([str(directory), *parts])


def _lock(runtime: Runtime, name: str) -> Path:
    return runtime.data / "locks" / name


def _python_for(project: Path, python: str | Interpreter | None, lock: str | None, runtime: Runtime) -> Interpreter:
    known = python if isinstance(python, Interpreter) else choice.python(runtime)
    if file := projects.environment_yml(project, lock, runtime):
        return _python_of(file, project, known, python if isinstance(python, str) else None, runtime)
    if isinstance(python, Interpreter):
        return python
    if python is None and known is not None and known.path.is_file():
        is_of_file = environment_yml.prefix_of(known.path, runtime) is not None  # another project's, or another file's
        return conda.python(_conda_base(runtime), known.source) if is_of_file else known
    if python is not None and "/" in python:
        return system.at_path(Path(python).expanduser(), runtime=runtime)
    return system.find(parse_specifier(python or projects.asked_python(project, lock, runtime) or "*"), runtime=runtime)


def _python_of(
    file: LockFile, project: Path, known: Interpreter | None, asked: str | None, runtime: Runtime
) -> Interpreter:
    """Return the Python of the environment that conda makes from an environment.yml, which it does where needed."""
    source = known.source if known is not None else "none"
    work = CondaEnvironment(project=project, lock=file, distribution=source, runtime=runtime)
    if known is not None and known.path.parents[1] == work.prefix and work.check(parse_specifier(asked or "*")) is None:
        return known
    return _of(_on_conda(work, asked, prefix=_conda_base(runtime)))


def _conda_base(runtime: Runtime) -> Path:
    return choice.place(runtime, "prefix") or Path(PREFIX)
