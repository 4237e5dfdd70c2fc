"""All the steps in order, in one call: what is independent side by side, and a cache of snapshots where one is named."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _process, _report, interpreter_sources, poetry, steps, venv
from colab_env.environment import require_python
from colab_env.errors import PreflightError, UsageError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.machine import Machine
from colab_env.request import PREFIX, InstallOptions, Request
from colab_env.results import SetupResult, StepResult
from colab_env.step import changing

if TYPE_CHECKING:
    from colab_env.snapshots import SetupCache

CACHE_VARIABLE = "COLAB_ENV_CACHE"


@_report.ends_in_card
def setup(  # noqa: PLR0913  each is a word of its own on the command line too
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    kernel: str | None = None,
    prefix: str | Path = PREFIX,
    conda_installer: str | None = None,
    conda_sha256: str | None = None,
    poetry_version: str | None = None,
    system_site_packages: bool | None = None,
    lock: str | Path | None = None,
    installer: str | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    defaults: bool = False,
    exact: bool = False,
    cache: str | Path | None = None,
    trust: str | None = None,
) -> SetupResult:
    """Give a project its own Python, its locked packages and a verified kernel; skip what is already fine.

    `python` is a version ("3.12"), a PEP 440 specifier (">=3.11,<3.13") or, with interpreter="system", a path; by
    default what pyproject.toml asks for. `interpreter` is "miniconda", "miniforge", "uv" or "system"; "auto" is
    miniconda on Colab and system elsewhere. `kernel` is the kernel's name, by default the one that the project's has,
    or one such as "py312". `prefix` is where Miniconda goes, from the pinned installer or from the one at the address
    `conda_installer`, with its `conda_sha256`. `lock`, `installer`, `extras`, `groups`, `keep`, `defaults` and `exact`
    are those of `configure_venv`; Poetry is installed where it locks the project. `cache` is a
    directory, or an fsspec address, where snapshots are looked for and saved (by default what COLAB_ENV_CACHE says);
    what fails there is a note of the result. `trust` is the name or the SHA-256 of the one snapshot that is taken
    although no key of this machine signed it. Independent steps run side by side. Raises a ColabEnvError; the step
    that failed leaves what was before.
    """
    began, machine = time.monotonic(), Machine.detect()
    source, prefix = interpreter_sources.named(
        interpreter, machine, project=project, python=python, prefix=prefix, defaults=defaults
    )
    request = Request.read(
        project,
        machine,
        options=InstallOptions.from_arguments(lock=lock, installer=installer, extras=extras, groups=groups, keep=keep),
        python=python,
        source=source,
        prefix=prefix,
        conda_installer=conda_installer,
        conda_sha256=conda_sha256,
        system_site_packages=system_site_packages,
        defaults=defaults,
        exact=exact,
    )
    _require_sensible(request, kernel=kernel, poetry_version=poetry_version)
    snapshots = _open_cache(cache, request, trust=trust)
    if snapshots is None:  # a snapshot may bring the Python that the machine does not have
        interpreter_sources.source_for(request).require(request)
    with _undo_waits(machine):
        restored = snapshots.restore() if snapshots else None
        # A snapshot brings files that the request has read already, the environment's receipt above all.
        request = request.reread() if restored else request
        try:
            done = _do_steps(request, kernel=kernel, poetry_version=poetry_version)
        except PreflightError:
            # What the kernel dies of may have come with the snapshot: once more, without it.
            if snapshots is None or not snapshots.discard():
                raise
            done = _do_steps(request.reread(), kernel=kernel, poetry_version=poetry_version)
        if snapshots:
            snapshots.save()
    _load_magics()
    return SetupResult(
        steps=(*([restored] if restored else []), *done),
        kernel=done[-1].where.name,
        display_name=kernelspec.display_name(steps.chosen_python(done[0]), request.project),
        seconds=time.monotonic() - began,
        notes=tuple(snapshots.notes) if snapshots else (),
    )


def _require_sensible(request: Request, *, kernel: str | None, poetry_version: str | None) -> None:
    """Raise for what later steps would refuse, before anything is installed."""
    poetry.require_version(poetry_version)
    # Reading it raises for what is no version: said now, not after minutes of installing.
    _ = request.specifier
    if request.python is not None and re.fullmatch(r"3\.\d+(\.\d+)?", request.python, re.ASCII):
        require_python(request, Interpreter(path=Path("python"), version=request.python, source="system"))
    if kernel is not None:
        kernelspec.check_free(request.machine, kernel, request.project)
    if request.receipt is None or request.receipt.inputs != request.inputs:
        # Only where it will be read: a set-up with nothing to do takes 0.2 seconds.
        request.lock.format.require_whole(request.lock)


def _open_cache(cache: str | Path | None, request: Request, *, trust: str | None) -> SetupCache | None:
    """Return the cache that is named; without one, nothing of snapshots is imported. Raises UsageError."""
    where = cache or request.machine.environ.get(CACHE_VARIABLE) or None
    if where is not None:
        from colab_env.snapshots import SetupCache

        return SetupCache(where, request, trust=trust)
    if trust is not None:
        msg = f"trust={trust!r} names a snapshot, and no cache is given"
        raise UsageError(msg, hint=f"give cache= too, or set {CACHE_VARIABLE}")
    return None


def _do_steps(request: Request, *, kernel: str | None, poetry_version: str | None) -> list[StepResult]:
    """Do the five steps; once the Python is known, the packages of its kernel and the environment are independent."""
    machine, source = request.machine, interpreter_sources.source_for(request)
    chosen = source.ensure(request)
    python = steps.chosen_python(chosen)
    require_python(request, python)  # before a kernel's packages are installed for it
    _foretell_builds(request, python)
    # What the kernel's packages will have to be resolved around, as far as that is known before the
    # environment is. What really is installed decides.
    is_filled = request.receipt is not None and request.receipt.inputs == request.inputs
    versions = venv.versions(request.project / venv.NAME) if is_filled else request.lock.versions
    around = colab_layer.unfit(versions, python=python, machine=request.machine)
    # A list that names not everything would have them built twice.
    waits = around and request.lock.format.is_loose and not source.has_packages

    def early() -> StepResult | None:
        return None if waits else steps.kernel_packages(python, machine, around=around)

    if source.has_packages:  # the environment sees what conda installs
        packages, tool = _process.run_parallel(early, lambda: _poetry(request, poetry_version))
        environment = steps.virtual_environment(request, python)
    else:
        packages, (tool, environment) = _process.run_parallel(early, lambda: _fill(request, python, poetry_version))
    installed = colab_layer.unfit(venv.versions(request.project / venv.NAME), python=python, machine=machine)
    if packages is None or installed != around:
        packages = steps.kernel_packages(python, machine, around=installed)
    registered = steps.kernel_of(request.project, python, machine, name=kernel)
    return [chosen, packages, *tool, environment, registered]


def _foretell_builds(request: Request, python: Interpreter) -> None:
    """Say what will be built, before minutes of compiling may end in a missing header, and which system packages are not there."""
    if request.pyproject.at("tool", "colab-env", "apt"):
        from colab_env import native

        if absent := native.absent_packages(request.pyproject):
            listed = ", ".join(absent)
            _report.keep(f"the project asks for {listed}, which this system does not have: colab-env native mend --yes")
    # Only where something will be installed.
    if request.lock.is_there and (request.receipt is None or request.receipt.inputs != request.inputs):
        from colab_env import native

        for line in native.foretell(request.lock, python.version):
            _report.keep(line)


def _poetry(request: Request, version: str | None) -> list[StepResult]:
    """Install Poetry where it reads the lock file, or makes the first."""
    return [steps.poetry_itself(request.machine, version=version)] if request.lock.format.is_made_by_tool else []


def _fill(request: Request, python: Interpreter, version: str | None) -> tuple[list[StepResult], StepResult]:
    """Fill the environment while Poetry, where it is needed, is being installed; few lock files wait for it."""
    is_over = threading.Event()

    def tool() -> list[StepResult]:
        try:
            return _poetry(request, version)
        finally:
            is_over.set()  # also when it failed: whoever waits says then that Poetry is missing, and this says why

    return _process.run_parallel(tool, lambda: steps.virtual_environment(request, python, ready=is_over.wait))


def _undo_waits(machine: Machine) -> contextlib.AbstractContextManager[object]:
    """Let `undo` wait for all of a set-up, not only for the step at work; where nothing can be written, for none."""
    home = next(parent for parent in machine.data.parents if parent.is_dir())
    return changing("setup", machine) if os.access(home, os.W_OK) else contextlib.nullcontext()


def _load_magics() -> None:
    """Do what `%load_ext colab_env` does, in a notebook."""
    if _report.in_notebook():
        from IPython import get_ipython

        manager = get_ipython().extension_manager
        manager.load_extension("colab_env")
        # A later `%load_ext colab_env` is in the README's words, and would be answered with advice to reload it.
        manager.loaded.discard("colab_env")
