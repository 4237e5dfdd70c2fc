"""Starts of the stock kernel, diverted: which notebook has chosen which kernel of ours, kept where Python's start finds it.

The code that acts on it is `standalone/_divert.py`; here its file, with the table of choices in it, is written and read.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _ledger, _state
from colab_env.errors import DiskFullError, NotOursError, NotWritableError
from colab_env.jupyter import guard
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine

MODULE = "colab_kernel_launcher"
NAME = "usercustomize.py"
_SCRIPT = Path(__file__).parents[1] / "standalone" / "_divert.py"
_MARK = "# Made by colab-env"
_TABLE = "TABLE = "
_KEPT = ".colab-env-original"  # the first version replaced Colab's launcher, and kept the original beside it


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """How a notebook is told from others: the kernel's id outlives a restart, the session's name a new server."""

    kernel_id: str | None = None
    session: str | None = None

    @property
    def is_known(self) -> bool:
        return bool(self.kernel_id or self.session)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one notebook has chosen, or what is for all others: a kernel's `name` and kernel.json, or the machine's own."""

    name: str | None = None
    kernel: Path | None = None
    kernel_id: str | None = None
    session: str | None = None

    def is_of(self, notebook: Notebook) -> bool:
        """Say whether this is that notebook's, by either sign."""
        by_id = bool(self.kernel_id) and self.kernel_id == notebook.kernel_id
        return by_id or (bool(self.session) and self.session == notebook.session)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the notebooks of this machine have chosen, and `default`, which is for all that have not."""

    notebooks: tuple[Choice, ...] = ()
    default: Choice | None = None

    def changed(self, notebook: Notebook, name: str | None, kernel: Path | None) -> Choices:
        """Return the choices after this one, in which the notebook stands once or, without need, not at all."""
        others = tuple(each for each in self.notebooks if not each.is_of(notebook))
        if name is None and self.default is None:
            return replace(self, notebooks=others)
        chosen = Choice(name=name, kernel=kernel, kernel_id=notebook.kernel_id, session=notebook.session)
        return replace(self, notebooks=(*others, chosen))

    def of(self, notebook: Notebook) -> Choice | None:
        """Return what a start of this notebook's kernel will look at."""
        return next((each for each in self.notebooks if each.is_of(notebook)), self.default)


def place(machine: Machine) -> Path | None:
    """Return where the file is to stand; None: no start comes by it here, or one of somebody else's stands there."""
    packages = machine.colab_packages
    if packages is None or not (packages / f"{MODULE}.py").is_file():
        return None
    file = packages / NAME
    # The user's own packages come first on the path.
    other = machine.home / ".local/lib" / packages.parent.name / "site-packages" / NAME
    return None if other.exists() or (file.exists() and not is_ours(file)) else file


def is_ours(file: Path) -> bool:
    """Say whether colab-env wrote this file, whatever has come to it since: nobody else's is empty or no text."""
    try:
        content = file.read_bytes() if file.is_file() else b""
        return content.startswith(_MARK.encode()) or not content.strip() or not content.decode()
    except ValueError:
        return True
    except OSError:
        return False


def read(machine: Machine) -> Choices:
    """Return what the file says; nothing where it is missing or damaged."""
    file = place(machine)
    content = _files.content(file) if file is not None and file.is_file() else None
    lines = (content or b"").decode(errors="replace").splitlines()
    line = next((line for line in lines if line.startswith(_TABLE)), "")
    try:
        found: Choices = _state.typed(Choices, ast.literal_eval(line.removeprefix(_TABLE)))
    except (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return Choices()
    return found


def write(machine: Machine, choices: Choices) -> None:
    """Keep the choices: in the place of the first version's shim, too, whose original is put back."""
    file = place(machine)
    if file is None:
        return
    remove_shim(machine)
    # Python compares seconds and sizes only, which two switches in a row may have in common.
    tag = "cpython-3" + file.parents[1].name.removeprefix("python3.")
    bytecode = file.parent / "__pycache__" / f"usercustomize.{tag}.pyc"
    watch = _watch(machine)
    if choices == Choices():
        for each in (file, watch, bytecode):
            _files.remove(each)
        return
    _files.write_text(file, text(choices))
    _files.remove(bytecode)
    _ledger.made_by_tool(bytecode, parents=_ledger.missing_parents(bytecode))
    with contextlib.suppress(DiskFullError, NotWritableError):
        _files.write_text(watch, _startup(choices))


def text(choices: Choices) -> str:
    """Return the file's content."""
    head = f"{_MARK}: colab_env.switch(None) takes a notebook out of it, `colab-env undo switch` removes it.\n"
    return f"{head}{_TABLE}{_plain(choices)!r}\nGUARD = {guard.source()!r}\n{_SCRIPT.read_text(encoding='utf-8')}"


def remove_shim(machine: Machine) -> bool:
    """Put back the launcher that the first version diverted; say whether there was one.

    Raises NotOursError when the original that was kept beside it has been changed.
    """
    launcher = machine.colab_packages / f"{MODULE}.py" if machine.colab_packages else None
    if launcher is None or not (launcher.is_file() and launcher.read_bytes().startswith(_MARK.encode())):
        return False
    kept = launcher.with_name(launcher.name + _KEPT)
    second = [*launcher.read_bytes().splitlines(), b""][1]
    if not kept.is_file() or f"# {hashlib.sha256(kept.read_bytes()).hexdigest()}".encode() != second:
        msg = f"{short(kept)} is not the launcher that was kept there"
        raise NotOursError(msg, hint=f"put Colab's own launcher back as {short(launcher)} yourself")
    _files.move(kept, launcher)
    return True


def _watch(machine: Machine) -> Path:
    return guard.startup_directory(machine) / "colab-env-switch.py"


def _startup(choices: Choices) -> str:
    # Startup files run in the user's namespace: one expression, which leaves no name behind.
    head = f"{_MARK}: it says so when the kernel that a notebook was switched to is not what starts.\n"
    return f'{head}exec({text(choices)!r}, {{"__name__": "colab_env_watch"}})\n'


def _plain(choices: Choices) -> dict[str, Any]:
    def values(choice: Choice | None) -> Mapping[str, str | None] | None:
        if choice is None:
            return None
        return {**vars(choice), "kernel": str(choice.kernel) if choice.kernel else None}

    return {"notebooks": [dict(values(each) or {}) for each in choices.notebooks], "default": values(choices.default)}
