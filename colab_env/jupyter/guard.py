"""Kernels that start through `_guard.py`: how a kernelspec holds it, which starts have failed."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files
from colab_env.errors import DiskFullError, NotWritableError
from colab_env.standalone import _guard

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
exec({source!r} + {call!r}, {{"__name__": "colab_env_guard"}})
"""


def source() -> str:
    """Return the guard's text, which stands whole wherever a kernel is started: no file of ours can be missing there.

    Jupyter puts values of its own in the place of each `{name}` in a kernelspec; an f-string takes a blank as well.
    """
    return re.sub(r"\{(\w+)\}", r"{\1 }", _SCRIPT.read_text(encoding="utf-8"))


def guarded(spec: Mapping[str, Any], *, name: str, machine: Machine) -> dict[str, Any]:
    """Return a kernelspec that starts the same kernel through the guard.

    The guard sets the variables, so that the machine's own kernel, if it comes to that, starts with the server's.
    """
    python = str(machine.machine_python)
    variables = [f"{key}={value}" for key, value in {**spec["env"], MACHINE_PYTHON: python}.items()]
    argv = [python, "-IS", "-c", source(), name, "{connection_file}", *variables, *spec["argv"]]
    return {**spec, "argv": argv, "env": {}}


def announce(machine: Machine, name: str, connection_file: Path) -> dict[str, str]:
    """Prepare the message for the case that the kernel dies when this process becomes it; return variables for it.

    The notebook server knows nothing of such a kernel and starts the one of before, which reads a startup file of
    IPython's: that shows the message and removes itself. A kernel that comes up removes it, too (see `_launch.py`).
    """
    notice = startup_directory(machine) / f"colab-env-{connection_file.stem}.py"
    pid = machine.environ.get(PROCESS) or os.getpid()
    call = f"\ntell_of_failure(*{(name, str(connection_file), int(pid), str(notice))!r})\n"
    with contextlib.suppress(DiskFullError, NotWritableError):
        _files.write_text(notice, _NOTICE.format(source=source(), call=call))
    return {"COLAB_ENV_NOTICE": str(notice)}


def startup_directory(machine: Machine) -> Path:
    """Return the directory of the files that IPython runs when a kernel has come up."""
    ipython = Path(machine.environ.get("IPYTHONDIR") or machine.home / ".ipython")
    return ipython / "profile_default" / "startup"


def forget_failures() -> None:
    """Let every kernel be tried again."""
    for directory in map(Path, _guard.DIRECTORIES):
        for record in directory.glob("*.log*"):
            _files.unlink(record)
        _files.remove_if_empty(directory)
