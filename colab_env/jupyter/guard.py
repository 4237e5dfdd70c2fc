"""Kernels that start through `_guard.py`: where its copy lies, how a kernelspec calls it, which starts have failed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files
from colab_env.errors import DiskFullError, NotWritableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from colab_env.machine import Machine

_SCRIPT = Path(__file__).parents[1] / "standalone" / "_guard.py"
MACHINE_PYTHON = "COLAB_ENV_MACHINE_PYTHON"  # in the environment of every kernel of ours; see Runtime.machine_python
TRIAL = {"COLAB_ENV_TRIAL": "1"}  # in the environment of a kernel: start it, and nothing else in its stead

PROCESS = "COLAB_ENV_PROCESS"  # tells a helper process the id of the kernel that it works for
# Startup files run in the user's namespace: one expression, which leaves no name behind.
_NOTICE = """\
# Made by colab-env when a kernel was to continue on another Python in place. It removes itself.
__import__("os").path.exists({guard!r}) and __import__("runpy").run_path({guard!r})["tell_of_failure"](*{told!r})
"""


def script(machine: Machine) -> Path:
    """Return the guard's place, of its own, so that a package that is removed or updated breaks no kernel."""
    return machine.data / "guard" / "guard.py"


def health_check(machine: Machine) -> str | None:
    """Return why the guard has to be written, or None."""
    there = script(machine)
    is_current = there.is_file() and there.read_bytes() == _SCRIPT.read_bytes()
    return None if is_current else "the kernel's guard is missing, or of another version"


def install(machine: Machine) -> None:
    """Put the guard in its place."""
    _files.write_text(script(machine), _SCRIPT.read_text(encoding="utf-8"))


def guarded(spec: Mapping[str, Any], *, name: str, machine: Machine) -> dict[str, Any]:
    """Return a kernelspec that starts the same kernel through the guard.

    The guard sets the variables, so that the machine's own kernel, if it comes to that, starts with the server's.
    """
    python = str(machine.machine_python)
    variables = [f"{key}={value}" for key, value in {**spec["env"], MACHINE_PYTHON: python}.items()]
    argv = [python, "-IS", str(script(machine)), name, "{connection_file}", *variables, *spec["argv"]]
    return {**spec, "argv": argv, "env": {}}


def announce(machine: Machine, name: str, connection_file: Path) -> dict[str, str]:
    """Prepare the message for the case that the kernel dies when this process becomes it; return variables for it.

    The notebook server knows nothing of such a kernel and starts the one of before, which reads a startup file of
    IPython's: that shows the message and removes itself. A kernel that comes up removes it, too (see `_launch.py`).
    """
    ipython = Path(machine.environ.get("IPYTHONDIR") or machine.home / ".ipython")
    place = ipython / "profile_default" / "startup" / f"colab-env-{connection_file.stem}.py"
    pid = machine.environ.get(PROCESS) or os.getpid()
    with contextlib.suppress(DiskFullError, NotWritableError):
        _files.write_text(
            place, _NOTICE.format(guard=str(script(machine)), told=(name, str(connection_file), int(pid), str(place)))
        )
    return {"COLAB_ENV_NOTICE": str(place)}


def forget_failures(machine: Machine) -> None:
    """Let every kernel be tried again."""
    places = (script(machine).parent / "boots", Path(f"/dev/shm/colab-env-{os.getuid()}"))  # noqa: S108
    for place in places:
        for record in place.glob("*.log"):
            _files.remove(record)
