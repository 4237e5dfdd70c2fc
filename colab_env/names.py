"""The rule for kernel names, which both a kernel's directory and a notebook have to obey."""

from __future__ import annotations

import re

from colab_env.errors import KernelNameError

# jupyter_client.kernelspec._kernel_name_pat, whose `$` and IGNORECASE also let a final newline and a few non-ASCII
# letters through, and which takes "..", a directory of its own.
_ALLOWED = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")


def check_kernel_name(name: str) -> str:
    """Return the name if Jupyter takes it: ASCII letters, digits, dots, dashes and underscores. Else KernelNameError.

    Jupyter takes capitals too, but lists and finds every kernel by its name in lower case.
    """
    if _ALLOWED.fullmatch(name):
        return name
    msg = f"{name!r} is not a kernel name: Jupyter takes letters (a-z), digits, dots, dashes and underscores only"
    raise KernelNameError(msg, hint=f"use {_corrected(name)!r}, for example")


def _corrected(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "py312"
