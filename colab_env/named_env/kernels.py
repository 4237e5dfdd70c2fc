"""The kernel of a named environment: registered, tried and guarded like a project's, under the environment's name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from colab_env import _files, index, uv, venv
from colab_env.errors import KernelNameError, KernelTakenError
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment


def register(place: NamedEnvironment, *, machine: Machine) -> None:
    """Try and register the kernel if the environment's recipe asks for one. Raises KernelTakenError, PreflightError."""
    work = _work(place, machine)
    if work is None or work.check() is None:
        return
    kernelspec.check_free(machine, place.name)
    with _files.locked(machine.data / "locks" / "conda"):
        if colab_layer.health_check(work.layer):
            installer = uv.tool_installer(machine, index.settings(machine))
            around = colab_layer.unfit(venv.versions(work.environment), python=work.python, machine=machine)
            colab_layer.build(work.layer, machine=machine, python=work.python, installer=installer, around=around)
    with _files.locked(machine.data / "locks" / "kernels"):
        if work.check():
            work.build()


def health_check(place: NamedEnvironment, *, machine: Machine) -> str | None:
    """Return why the kernel has to be registered, or None when it is or none is asked for."""
    work = _work(place, machine)
    return work.check() if work else None


def remove(place: NamedEnvironment, *, machine: Machine) -> None:
    """Take the kernel away if it is this environment's."""
    found = {kernel.directory.name: kernel for kernel in kernelspec.registered(machine)}.get(place.name)
    if found is not None and found.project == place.path:
        with contextlib.suppress(KernelNameError, KernelTakenError):
            kernelspec.remove(machine, place.name)


def _work(place: NamedEnvironment, machine: Machine) -> ProjectKernel | None:
    receipt = place.receipt
    if receipt is None or not receipt.recipe.kernel:
        return None
    return ProjectKernel(name=place.name, project=place.path, python=receipt.python, machine=machine)
