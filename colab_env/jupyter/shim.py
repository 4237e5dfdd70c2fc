"""Colab's launcher module, diverted: every start of the stock kernel becomes a start of a kernel of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files
from colab_env.errors import NotOursError
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine

MODULE = "colab_kernel_launcher"
_MARK = "# Made by colab-env"
_KEPT = ".colab-env-original"
_TEXT = """\
{mark}: colab_env.switch(None) puts the original back. It is beside this file; its SHA-256 is
# {digest}
import os, sys

ORIGINAL = {original!r}
KERNEL = {kernel!r}


def divert():
    # Same process, so its id tells a start that shall go to the original from all others.
    if os.environ.pop("COLAB_ENV_STOCK", None) == str(os.getpid()):
        return
    import json

    try:
        with open(KERNEL, encoding="utf-8") as spec:
            words = json.load(spec)["argv"]
        given = sys.argv[1:]
        file = given[given.index("-f") + 1]
        argv = [word.replace("{{connection_file}}", file) for word in words]
        rest = [word for number, word in enumerate(given) if number not in (given.index("-f"), given.index("-f") + 1)]
        os.execve(argv[0], argv + rest, os.environ)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        print(f"colab-env: the stock kernel starts instead of {{KERNEL}}: {{error}}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    divert()
with open(ORIGINAL, encoding="utf-8") as _file:
    exec(compile(_file.read(), ORIGINAL, "exec"))
"""


def place(machine: Machine) -> Path | None:
    """Return the launcher's file, or None on a machine that has none."""
    found = machine.colab_packages / f"{MODULE}.py" if machine.colab_packages else None
    return found if found is not None and found.is_file() else None


def original(launcher: Path) -> Path:
    """Return the file with the machine's own launcher: the one kept beside a shim, else the launcher itself."""
    kept = launcher.with_name(launcher.name + _KEPT)
    return kept if is_shim(launcher) else launcher


def is_shim(launcher: Path) -> bool:
    """Say whether this file is ours."""
    return launcher.is_file() and launcher.read_bytes().startswith(_MARK.encode())


def text(launcher: Path, kernel: Path) -> str:
    """Return the shim's source, which starts the kernel of a kernel.json and falls back on the original."""
    source = original(launcher)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    kept = launcher.with_name(launcher.name + _KEPT) if source == launcher else source
    return _TEXT.format(mark=_MARK, digest=digest, original=str(kept), kernel=str(kernel))


def install(launcher: Path, kernel: Path) -> None:
    """Put the shim in the launcher's place; the original is kept beside it first."""
    content = text(launcher, kernel)
    kept = launcher.with_name(launcher.name + _KEPT)
    if not is_shim(launcher):
        _files.copy(launcher, kept)
    _files.write_text(launcher, content)


def remove(launcher: Path) -> bool:
    """Put the original back; say whether there was a shim. Raises NotOursError when the original has been changed."""
    if not is_shim(launcher):
        return False
    kept = original(launcher)
    second = [*launcher.read_bytes().splitlines(), b""][1]
    if not kept.is_file() or f"# {hashlib.sha256(kept.read_bytes()).hexdigest()}".encode() != second:
        msg = f"{short(kept)} is not the launcher that was kept there"
        raise NotOursError(msg, hint=f"put Colab's own launcher back as {short(launcher)} yourself")
    _files.move(kept, launcher)
    return True
