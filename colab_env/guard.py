"""Kernels that start through `_guard.py`: where its copy lies, how a kernelspec calls it, which starts have failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from colab_env.runtime import Runtime

_SCRIPT = Path(__file__).with_name("_guard.py")
TRIAL = {"COLAB_ENV_TRIAL": "1"}  # in the environment of a kernel: start it, and nothing else in its stead


def script(runtime: Runtime) -> Path:
    """Return the guard's place, of its own, so that a package that is removed or updated breaks no kernel."""
    return runtime.data / "guard" / "guard.py"


def health_check(runtime: Runtime) -> str | None:
    """Return why the guard has to be written, or None."""
    there = script(runtime)
    is_current = there.is_file() and there.read_bytes() == _SCRIPT.read_bytes()
    return None if is_current else "the kernel's guard is missing, or of another version"


def install(runtime: Runtime) -> None:
    """Put the guard in its place."""
    _files.write_text(script(runtime), _SCRIPT.read_text(encoding="utf-8"))


def guarded(spec: Mapping[str, Any], *, name: str, runtime: Runtime) -> dict[str, Any]:
    """Return a kernelspec that starts the same kernel through the guard.

    The guard sets the variables, so that the machine's own kernel, if it comes to that, starts with the server's.
    """
    variables = [f"{key}={value}" for key, value in spec["env"].items()]
    python = str(runtime.machine_python)
    argv = [python, "-IS", str(script(runtime)), name, "{connection_file}", *variables, *spec["argv"]]
    return {**spec, "argv": argv, "env": {}}


def forget_failures(runtime: Runtime) -> None:
    """Let every kernel be tried again."""
    places = (script(runtime).parent / "boots", Path(f"/dev/shm/colab-env-{os.getuid()}"))  # noqa: S108
    for place in places:
        for record in place.glob("*.log"):
            _files.remove(record)
