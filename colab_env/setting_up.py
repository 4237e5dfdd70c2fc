"""All the steps in order, in one call: what is independent side by side, and a cache of snapshots where one is named."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from colab_env import _process, _report, choice, projects
from colab_env.environment import Wish, fitting_lock
from colab_env.errors import PreflightError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine
from colab_env.results import SetupResult, StepResult
from colab_env.snapshot.contents import Asked
from colab_env.snapshots import SetupCache
from colab_env.step import changing
from colab_env.steps import (
    PREFIX,
    configured,
    install_colab_packages,
    install_poetry,
    install_python,
    register_kernel,
)


def setup(  # noqa: PLR0913  each is a word of its own on the command line too
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    kernel: str | None = None,
    prefix: str | Path = PREFIX,
    poetry_version: str | None = None,
    system_site_packages: bool = True,
    lock: str | Path | None = None,
    installer: str | None = None,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    cache: str | Path | None = None,
) -> SetupResult:
    """Give a project its own Python, its locked packages and a verified kernel; skip what is already fine.

    `python` is a version ("3.12"), a PEP 440 specifier (">=3.11,<3.13") or, with interpreter="system", a path; by
    default what pyproject.toml asks for. `interpreter` is "miniconda", "miniforge", "uv" or "system"; "auto" is
    miniconda on Colab and system elsewhere. `kernel` is the kernel's name, by default such as "py312". `prefix` is
    where Miniconda goes. `lock`, `installer`, `extras`, `groups` and `keep` are those of `configure_venv`; Poetry is installed
    where the lock file is Poetry's, or none is there yet. `cache` is a directory, or an fsspec address, where snapshots
    are looked for and saved (by default what COLAB_ENV_CACHE says); what fails there is a note of the result. Independent
    steps run side by side. Raises a ColabEnvError; the step that failed leaves what was before.
    """
    began, source = time.monotonic(), choice.source(interpreter, Machine.detect())
    with _report.screen():
        choose = functools.partial(
            install_python, python, interpreter=interpreter, project=project, prefix=prefix, lock=lock
        )
        get_poetry = (
            functools.partial(install_poetry, version=poetry_version) if projects.is_poetrys(project, lock) else None
        )
        wish = Wish.of(lock=lock, installer=installer, extras=extras, groups=groups, keep=keep)
        fitting_lock(projects.directory(project), wish, Machine.detect(), system_site_packages=system_site_packages)
        fill = functools.partial(configured, project, system_site_packages=system_site_packages, wish=wish)

        def build() -> tuple[list[StepResult], StepResult]:
            built = (_built_on_conda if source in choice.CONDA else _built)(choose, get_poetry, fill)
            return built, register_kernel(kernel, project=project)

        asked = _asked(python, source, project, prefix, visible=system_site_packages, wish=wish)
        cached = SetupCache(cache, Machine.detect(), asked)
        with _held():
            restored = cached.restore()
            try:
                built, registered = build()
            except PreflightError:
                if not cached.discard():
                    raise
                built, registered = build()
            cached.save()
    _load_magics()
    return SetupResult(
        steps=(*([restored] if restored else []), *built, registered),
        kernel=registered.where.name,
        display_name=kernelspec.display_name(_of(built[0]), projects.directory(project)),
        seconds=time.monotonic() - began,
        notes=tuple(cached.notes),
    )


def _held() -> contextlib.AbstractContextManager[object]:
    """Let `undo` wait for all of a set-up, not only for the step at work; where nothing can be written, for none."""
    machine = Machine.detect()
    home = next(parent for parent in machine.data.parents if parent.is_dir())
    return changing("setup", machine) if os.access(home, os.W_OK) else contextlib.nullcontext()


_Verb = Callable[..., StepResult]


def _load_magics() -> None:
    """Do what `%load_ext colab_env` does, in a notebook."""
    if _report.in_notebook():
        from IPython import get_ipython

        get_ipython().extension_manager.load_extension("colab_env")


def _built(choose: _Verb, get_poetry: _Verb | None, fill: _Verb) -> list[StepResult]:
    """Do the steps before the kernel; once the Python is known, its two sides are independent."""
    chosen = choose()
    python = _of(chosen)
    packages, environment = _process.together(
        lambda: install_colab_packages(python=python), lambda: _filled(get_poetry, fill, python)
    )
    return [chosen, packages, *environment]


def _filled(get_poetry: _Verb | None, fill: _Verb, python: Interpreter) -> list[StepResult]:
    """Fill the environment while Poetry, where it is needed, is being installed."""
    tool: list[StepResult] = []

    def ready() -> None:
        if get_poetry is not None and not tool:
            tool.append(get_poetry())

    filled = fill(python=python, ready=ready)
    ready()
    return [*tool, filled]


def _tool(get_poetry: _Verb | None) -> tuple[StepResult, ...]:
    return () if get_poetry is None else (get_poetry(),)


def _built_on_conda(choose: _Verb, get_poetry: _Verb | None, fill: _Verb) -> list[StepResult]:
    """Do the steps before the kernel; the environment sees conda's packages, so it waits until conda is done."""

    def base() -> tuple[StepResult, StepResult]:
        chosen = choose()
        return chosen, install_colab_packages(python=_of(chosen))

    (chosen, packages), tool = _process.together(base, lambda: _tool(get_poetry))
    return [chosen, packages, *tool, fill(python=_of(chosen))]


def _asked(
    python: str | None, source: str, project: str | Path, prefix: str | Path, *, visible: bool, wish: Wish
) -> Asked:
    """Say what a snapshot has to be, to be used for a set-up with these arguments."""
    directory = projects.directory(project)
    by_path = python is not None and "/" in python
    asked = None if by_path else python or projects.asked_python(directory, wish.lock, Machine.detect())
    return Asked(
        project=directory,
        source=source,
        specifier=parse_specifier(asked) if asked else None,
        path=Path(python).expanduser() if python is not None and by_path else None,
        prefix=Path(prefix).expanduser().absolute(),
        system_site_packages=visible,
        wish=wish,
    )


def _of(result: StepResult) -> Interpreter:
    return cast("Interpreter", result.python)  # the step that chooses a Python names it
