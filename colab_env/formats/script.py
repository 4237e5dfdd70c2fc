"""A Python file or a notebook with a block `# /// script` (PEP 723): uv reads the block."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files
from colab_env.locks import installing, script_block
from colab_env.locks.lock_format import LockFile, LockFormat

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine


class Script(LockFormat):
    """The block of a script or of a notebook; what `uv lock --script` wrote beside a script counts."""

    name = "script"
    rank = 80
    file_names = ()
    suffixes = (".py", ".ipynb")
    options = frozenset({"keep", "isolated"})
    names_python = True

    def described(self, lock: LockFile) -> str:
        return f"the block in {lock.path.name}"

    def requires_python(self, lock: LockFile) -> str | None:
        return script_block.read(script_block.block(lock.path), lock.path).requires_python

    def digest(self, lock: LockFile) -> str:
        return _digest(script_block.block(lock.path))

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        path = lock.path if lock.path.suffix == ".py" else write_block(script_block.block(lock.path), machine)
        return installing.installer(machine, pyproject=lock.pyproject).script(path, python=python)


def write_block(block: str, machine: Machine) -> Path:
    """Write the block of a notebook where uv can read it, and return the path: one for each content."""
    path = machine.data / "scripts" / f"{_digest(block)[:16]}.py"
    if not path.is_file():
        _files.write_text(path, block, mode=0o600)  # an address in it may hold a password
    return path


def _digest(block: str) -> str:
    return hashlib.sha256(block.encode("utf-8", "surrogatepass")).hexdigest()
