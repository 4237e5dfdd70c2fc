"""The kernel of a named environment: registered, tried and guarded like a project's, under the environment's name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from colab_env import _files, index, uv
from colab_env.errors import KernelNameError, KernelTakenError
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.kernel import ProjectKernel

if TYPE_CHECKING:
    from colab_env.named_env.inventory import NamedEnvironment
    from colab_env.runtime import Runtime


def register(place: NamedEnvironment, *, runtime: Runtime) -> None:
    """Try and register the kernel if the environment's recipe asks for one. Raises KernelTakenError, PreflightError."""
    work = _work(place, runtime)
    if work is None:
        return
    kernelspec.check_free(runtime, place.name)
    with _files.locked(runtime.data / "locks" / "conda"):
        if colab_layer.health_check(work.layer):
            installer = uv.installer(runtime, index.settings(runtime))
            colab_layer.build(work.layer, runtime=runtime, python=work.python, installer=installer)
    with _files.locked(runtime.data / "locks" / "kernels"):
        if work.check():
            work.build()


def health_check(place: NamedEnvironment, *, runtime: Runtime) -> str | None:
    """Return why the kernel has to be registered, or None when it is or none is asked for."""
    work = _work(place, runtime)
    return work.check() if work else None


def remove(place: NamedEnvironment, *, runtime: Runtime) -> None:
    """Take the kernel away if it is this environment's."""
    found = {kernel.directory.name: kernel for kernel in kernelspec.registered(runtime)}.get(place.name)
    if found is not None and found.project == place.path:
        with contextlib.suppress(KernelNameError, KernelTakenError):
            kernelspec.remove(runtime, place.name)


def _work(place: NamedEnvironment, runtime: Runtime) -> ProjectKernel | None:
    receipt = place.receipt
    if receipt is None or not receipt.recipe.kernel:
        return None
    return ProjectKernel(name=place.name, project=place.path, python=receipt.python, runtime=runtime)
