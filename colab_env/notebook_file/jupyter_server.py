"""Which Jupyter opens a notebook, and with which kernel: one that this server alone sees, by the name that the notebook has."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from colab_env import _file_locks, _files, _process, _report, _state, _transactions, index, uv, venv
from colab_env.errors import KernelNameError, MissingStepError
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel
from colab_env.notebook_file import block_cell
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine

_PROGRAMS = {"lab": "jupyter-lab", "notebook": "jupyter-notebook"}
_PACKAGES = {"lab": "jupyterlab>=4.2,<5", "notebook": "notebook>=7.2,<8"}
_NATIVE = "python3"  # what Jupyter takes for a notebook that names no kernel


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in the environment of a Jupyter of our own: what was asked of the index, such as "jupyterlab>=4.2,<5"."""

    schema: ClassVar[str] = "jupyter"
    version: ClassVar[int] = 1

    requirement: str


def find(interface: str | None, machine: Machine) -> Path | None:
    """Return the program of the Jupyter that is there: on PATH, beside the Python that runs this, or our own.

    `interface` is "lab" or "notebook"; None takes either, JupyterLab first.
    """
    scripts = sysconfig.get_path("scripts")
    for kind in [interface] if interface else _PROGRAMS:
        program = shutil.which(_PROGRAMS[kind], path=os.pathsep.join([machine.environ.get("PATH", ""), scripts]))
        if program is not None and _has_interpreter(Path(program)):
            return Path(program)
    homes = {kind: _home(kind, machine) for kind in ([interface] if interface else _PROGRAMS)}
    programs = (home / "bin" / _PROGRAMS[kind] for kind, home in homes.items() if _state.receipt(home, Receipt))
    return next((program for program in programs if _has_interpreter(program)), None)


def ensure(interface: str | None, machine: Machine) -> Path:
    """Return the program of a Jupyter, installing one into an environment of its own where there is none."""
    if program := find(interface, machine):
        return program
    kind = interface or "lab"
    home, requirement = _home(kind, machine), _PACKAGES[kind]
    uv.obtain(machine)
    installer = uv.tool_installer(machine, index.settings(machine))
    with _file_locks.locked(machine.data / "locks" / "jupyter"):
        if not (_state.receipt(home, Receipt) and _has_interpreter(home / "bin" / _PROGRAMS[kind])):
            with _report.activity(f"Installing {requirement.partition('>')[0]}, once"), _transactions.replacing(home):
                _files.empty(home)
                installer.make_venv(home, machine.machine_python)
                installer.install([requirement], python=home / "bin/python")
                _state.complete(home, Receipt(requirement=requirement))
    return home / "bin" / _PROGRAMS[kind]


def kernel_name(content: Mapping[str, Any], path: Path) -> str:
    """Return the name by which the notebook asks for its kernel. Raises UsageError for a notebook of another language."""
    spec = content.get("metadata", {}).get("kernelspec")
    spec = spec if isinstance(spec, dict) else {}
    block_cell.require_python(content, path)
    try:
        return kernelspec.check_kernel_name(str(spec.get("name") or _NATIVE)).lower()
    except KernelNameError:
        return _NATIVE  # Jupyter, too, finds no kernel of such a name, and asks for another


def offer_kernel(name: str, *, label: str, environment: Path, python: Interpreter, machine: Machine) -> Path:
    """Make the kernel `name` of an environment, tried once, where only a server that is told of it looks; return that directory.

    Nothing is registered on the machine: two notebooks that both ask for "python3" each get their own.
    """
    private = replace(machine, jupyter=machine.data / "opened" / f"{environment.name}-{name}")
    kernel = ProjectKernel(name=name, project=environment, python=python, machine=private, label=label)
    if kernel.check() is not None:
        with _file_locks.locked(machine.data / "locks" / "conda"):
            if colab_layer.health_check(kernel.layer):
                installer = uv.tool_installer(machine, index.settings(machine))
                around = colab_layer.unfit(venv.versions(kernel.environment), python=python, machine=machine)
                with _report.activity(f"Installing what a kernel of Python {python.short_version} needs, once"):
                    colab_layer.build(kernel.layer, machine=machine, python=python, installer=installer, around=around)
        with _file_locks.locked(machine.data / "locks" / "kernels"), _report.activity("Trying the notebook's kernel"):
            kernel.build()
    return private.jupyter


def command_line(
    program: Path,
    notebook: Path,
    *,
    kernel: str,
    kernels: Path,
    machine: Machine,
    options: Sequence[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Return the words after the program, and the environment, of a server for one notebook."""
    # The name of the file decides where the server's files begin: in the notebook's own directory.
    words = [str(notebook), f"--MultiKernelManager.default_kernel_name={kernel}", *options]
    if os.geteuid() == 0 and "--allow-root" not in options:
        words.append("--allow-root")  # who works as root has run as root already; Jupyter would only refuse
    # A Jupyter of our own has nothing to do with what another Python's variables say.
    is_own = machine.data in program.parents
    environ = _process.child_environ(machine.environ) if is_own else dict(machine.environ)
    earlier = environ.get("JUPYTER_PATH")
    return words, {**environ, "JUPYTER_PATH": os.pathsep.join([str(kernels), *([earlier] if earlier else [])])}


def require_program(program: Path) -> None:
    """Raise MissingStepError for a program that went away since it was found."""
    if not program.is_file():
        msg = f"{short(program)} is not there any more"
        raise MissingStepError(msg, hint="run the same command again")


def _home(kind: str, machine: Machine) -> Path:
    return machine.data / "jupyter" / kind


def _has_interpreter(program: Path) -> bool:
    """Say whether a script's first line names a program that is there: an environment may have moved, or lost its Python."""
    try:
        with program.open("rb") as file:
            head = file.readline(1024)
    except OSError:
        return False
    words = head[2:].split() if head.startswith(b"#!") else []
    # A longer path than Linux takes stands in a second line, behind `#!/bin/sh`: that is not looked into.
    return not words or Path(os.fsdecode(words[0])).exists()
