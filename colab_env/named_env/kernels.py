"""The kernel of an environment that was made with `--kernel`: tried, registered, and taken away with it.

What tries and registers is imported only for such an environment.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from colab_env import _file_locks
from colab_env.errors import KernelNameError, KernelTakenError

if TYPE_CHECKING:
    from colab_env.kernel import ProjectKernel
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment


def register(env: NamedEnvironment, *, machine: Machine) -> None:
    """Try and register the kernel if the environment's recipe asks for one. Raises KernelTakenError, PreflightError."""
    work = _project_kernel(env, machine)
    if work is None or work.check() is None:
        return
    from colab_env import index, uv, venv
    from colab_env.jupyter import colab_layer, kernelspec

    kernelspec.check_free(machine, env.name, env.path)
    with _file_locks.locked(machine.data / "locks" / "conda"):
        if colab_layer.health_check(work.layer):
            installer = uv.tool_installer(machine, index.settings(machine))
            around = colab_layer.unfit(venv.versions(work.environment), python=work.python, machine=machine)
            colab_layer.build(work.layer, machine=machine, python=work.python, installer=installer, around=around)
    with _file_locks.locked(machine.data / "locks" / "kernels"):
        if work.check():
            work.build()


def fault(env: NamedEnvironment, *, machine: Machine) -> str | None:
    """Return why the kernel has to be registered, or None when it is or none is asked for."""
    work = _project_kernel(env, machine)
    return work.check() if work else None


def remove(env: NamedEnvironment, *, machine: Machine) -> None:
    """Take the kernel away if it is this environment's."""
    if not (machine.jupyter / "kernels" / env.name).is_dir():
        return  # without importing what knows kernels
    from colab_env.jupyter import kernelspec

    kernel = {kernel.directory.name: kernel for kernel in kernelspec.registered(machine)}.get(env.name)
    if kernel is not None and kernel.project == env.path:
        with contextlib.suppress(KernelNameError, KernelTakenError):
            kernelspec.remove(machine, env.name)


def _project_kernel(env: NamedEnvironment, machine: Machine) -> ProjectKernel | None:
    receipt = env.receipt
    if receipt is None or not receipt.recipe.kernel:
        return None
    from colab_env.kernel import ProjectKernel

    return ProjectKernel(name=env.name, project=env.path, python=receipt.python, machine=machine)
