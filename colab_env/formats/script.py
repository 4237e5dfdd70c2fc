"""A Python file or a notebook with a block `# /// script` (PEP 723): uv reads the block."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files
from colab_env.errors import ScriptError
from colab_env.locks import installing, script_block
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine


class Script(LockFormat):
    """The block of a script or of a notebook; what `uv lock --script` says of it counts, beside the file or in the notebook."""

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
        return _digest(script_block.block(lock.path) + (script_block.lock(lock.path) or ""))

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        path = lock.path if lock.path.suffix == ".py" else script_of(lock.path, machine)
        return installing.installer(machine, pyproject=lock.pyproject).script(path, python=python)


def script_of(notebook: Path, machine: Machine) -> Path:
    """Write the block of a notebook, and its lock, where uv can read them, and return the path. Raises ScriptError.

    uv looks for relative paths beside the script, which is not beside the notebook: they are refused.
    """
    block = script_block.block(notebook)
    script_block.read(block, notebook)
    sources = script_block.settings(block).get("uv", {})
    sources = sources.get("sources", {}) if isinstance(sources, dict) else {}
    for name, source in sources.items() if isinstance(sources, dict) else ():
        path = source.get("path", "/") if isinstance(source, dict) else "/"
        if isinstance(path, str) and not path.startswith("/"):
            msg = f"the block in {short(notebook)} takes {name} from {path!r}, a path that is not absolute"
            raise ScriptError(msg, hint=f"write it out: {(notebook.absolute().parent / path).resolve()}")
    return write_block(block, machine, lock=script_block.lock(notebook))


def write_block(block: str, machine: Machine, *, lock: str | None = None) -> Path:
    """Write the block of a notebook, and its lock, where uv can read them, and return the path: one for each content."""
    path = machine.data / "scripts" / f"{_digest(block + (lock or ''))[:16]}.py"
    for file, text in ((path, block), (path.with_name(f"{path.name}.lock"), lock)):
        if text is not None and not file.is_file():
            _files.write_text(file, text, mode=0o600)  # an address in it may hold a password
    return path


def _digest(block: str) -> str:
    return hashlib.sha256(block.encode("utf-8", "surrogatepass")).hexdigest()
