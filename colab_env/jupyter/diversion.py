"""Starts of the stock kernel, diverted: which notebook has chosen which kernel of ours, kept where Python's start finds it.

The code that acts on it is `standalone/_divert.py`; here its file, with the table of choices in it, is written and read.
Kernels of ours start through `standalone/_guard.py`: here is how a kernelspec holds it, and which starts have failed.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _ledger, _state
from colab_env.errors import DiskFullError, NotOursError, NotWritableError
from colab_env.results import short
from colab_env.standalone import _divert, _guard

if TYPE_CHECKING:
    from colab_env.machine import Machine


_GUARD_SCRIPT = Path(__file__).parents[1] / "standalone" / "_guard.py"
MACHINE_PYTHON = "COLAB_ENV_MACHINE_PYTHON"  # in the environment of every kernel of ours; see Runtime.machine_python
TRIAL = {"COLAB_ENV_TRIAL": "1"}  # in the environment of a kernel: start it, and nothing else in its stead

PROCESS = "COLAB_ENV_PROCESS"  # tells a helper process the id of the kernel that it works for
# Startup files run in the user's namespace: one expression, which leaves no name behind.
_NOTICE = """\
# Made by colab-env when a kernel was to continue on another Python in place. It removes itself.
exec({source!r} + {call!r}, {{"__name__": "colab_env_guard"}})
"""


def guard_source() -> str:
    """Return the guard's text, which stands whole wherever a kernel is started: no file of ours can be missing there.

    Jupyter puts values of its own in the place of each `{name}` in a kernelspec; an f-string takes a blank as well. What only
    a start that goes wrong needs is a constant in it, which is compiled then.
    """
    text = re.sub(r"\{(\w+)\}", r"{\1 }", _GUARD_SCRIPT.read_text(encoding="utf-8"))
    first, _, rest = text.partition("\n# Later: ")
    later, main, last = rest.partition('\nif __name__ == "__main__":')
    return f"{first}\nLATER = {'# ' + later!r}\n{main}{last}"


def guarded(spec: Mapping[str, Any], *, name: str, machine: Machine) -> dict[str, Any]:
    """Return a kernelspec that starts the same kernel through the guard.

    The guard sets the variables, so that the machine's own kernel, if it comes to that, starts with the server's.
    """
    python = str(machine.machine_python)
    variables = [f"{key}={value}" for key, value in {**spec["env"], MACHINE_PYTHON: python}.items()]
    argv = [python, "-IS", "-c", guard_source(), name, "{connection_file}", *variables, *spec["argv"]]
    return {**spec, "argv": argv, "env": {}}


def announce_start(machine: Machine, name: str, connection_file: Path) -> dict[str, str]:
    """Prepare the message for the case that the kernel dies when this process becomes it; return variables for it.

    The notebook server knows nothing of such a kernel and starts the one of before, which reads a startup file of
    IPython's: that shows the message and removes itself. A kernel that comes up removes it, too (see `_launch.py`).
    """
    notice = startup_directory(machine) / f"colab-env-{connection_file.stem}.py"
    pid = machine.environ.get(PROCESS) or os.getpid()
    call = f"\nlater()\ntell_of_failure(*{(name, str(connection_file), int(pid), str(notice))!r})\n"
    with contextlib.suppress(DiskFullError, NotWritableError):
        _files.write_text(notice, _NOTICE.format(source=guard_source(), call=call))
    return {"COLAB_ENV_NOTICE": str(notice)}


def startup_directory(machine: Machine) -> Path:
    """Return the directory of the files that IPython runs when a kernel has come up."""
    ipython = Path(machine.environ.get("IPYTHONDIR") or machine.home / ".ipython")
    return ipython / "profile_default" / "startup"


def forget_failures(connection_file: Path | None, *, others: bool = False) -> None:
    """Let the kernel with this connection file be tried again; with `others` every notebook's, but for a start of just now.

    That one may still be running: without its note it would fail unseen, and be tried once more.
    """
    for directory in filter(_guard.is_own, _guard.DIRECTORIES):
        for record in Path(directory).glob("*.log*"):
            is_asked_for = connection_file is not None and record.name.startswith(f"{connection_file.name}.log")
            if is_asked_for or (others and not _is_of_now(record)):
                _files.delete(record)
        _files.remove_if_empty(Path(directory))


def _is_of_now(record: Path) -> bool:
    """Say whether a start may still be on its way: it was noted, or has printed, within the time that a start has."""
    try:
        last = record.stat().st_mtime
    except OSError:
        return False
    # The guard notes a start by the clock that nobody sets; what the kernel prints, the system notes by the other.
    return any(0 <= now - last < _guard.LIMIT for now in (time.monotonic(), time.time()))


MODULE = "colab_kernel_launcher"
NAME = "usercustomize.py"
_SCRIPT = Path(__file__).parents[1] / "standalone" / "_divert.py"
_MARK = "# Made by colab-env"
_TABLE = "TABLE = "
_ORIGINAL = ".colab-env-original"  # the first version replaced Colab's launcher, and kept the original beside it


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """How a notebook is told from others: the kernel's id outlives a restart, the session's name a new server."""

    kernel_id: str | None = None
    session: str | None = None

    @property
    def is_identified(self) -> bool:
        return bool(self.kernel_id or self.session)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one notebook has chosen, or what is for all others: a kernel's `name` and kernel.json, or the machine's own."""

    name: str | None = None
    kernel: Path | None = None
    kernel_id: str | None = None
    session: str | None = None

    def is_of(self, notebook: Notebook) -> bool:
        """Say whether this is that notebook's: by its kernel, or by its name if the kernel that chose has ended."""
        if self.kernel_id and self.kernel_id == notebook.kernel_id:
            return True
        is_named_so = bool(self.session) and self.session == notebook.session
        return is_named_so and (notebook.kernel_id is None or not _divert.runs(self.kernel_id))


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the notebooks of this machine have chosen, and `default`, which is for all that have not."""

    notebooks: tuple[Choice, ...] = ()
    default: Choice | None = None

    def changed(self, notebook: Notebook, name: str | None, kernel: Path | None) -> Choices:
        """Return the choices after this one, in which the notebook stands once or, without need, not at all."""
        others = tuple(choice for choice in self.notebooks if not choice.is_of(notebook))
        if name is None and self.default is None:
            return replace(self, notebooks=others)
        chosen = Choice(name=name, kernel=kernel, kernel_id=notebook.kernel_id, session=notebook.session)
        return replace(self, notebooks=(*others, chosen))

    def of(self, notebook: Notebook) -> Choice | None:
        """Return what a start of this notebook's kernel will look at."""
        choices = [choice for choice in self.notebooks if choice.is_of(notebook)]
        return next(
            (choice for choice in choices if choice.kernel_id == notebook.kernel_id),
            choices[0] if choices else self.default,
        )


def usable_file(machine: Machine) -> Path | None:
    """Return where the file can be made to work; None: no start of the stock kernel comes by it here."""
    packages, file = machine.colab_packages, own_file(machine)
    if packages is None or file is None or not (packages / f"{MODULE}.py").is_file():
        return None
    # The user's own packages come first on the path, and the user's own kernelspec before the machine's.
    other = machine.home / ".local/lib" / packages.parent.name / "site-packages" / NAME
    stock = machine.jupyter / "kernels/python3/kernel.json"
    spec = _files.read_json(stock)
    starts_otherwise = isinstance(spec, dict) and MODULE not in str(spec.get("argv"))
    return None if other.exists() or starts_otherwise else file


def own_file(machine: Machine) -> Path | None:
    """Return where the file stands, or could; None where one of somebody else's does."""
    file = machine.colab_packages / NAME if machine.colab_packages else None
    if file is None or not os.path.lexists(file) or _is_marked(file):
        return file
    # Ours, damaged: what was written together with it still stands, and this is no module that somebody wrote.
    return file if _is_marked(_watch(machine)) and not _is_text(file) else None


def _is_marked(file: Path) -> bool:
    try:
        return file.is_file() and file.read_bytes().startswith(_MARK.encode())
    except OSError:
        return False


def _is_text(file: Path) -> bool:
    try:
        return file.is_file() and bool(file.read_bytes().decode().strip("\0\n\t "))
    except (OSError, ValueError):
        return False


def read(machine: Machine) -> Choices:
    """Return what the file says; nothing where it is missing or damaged."""
    file = own_file(machine)
    content = _files.content(file) if file is not None and file.is_file() else None
    # Read, never run: the table is one line of a file that Python starts with.
    lines = (content or b"").decode(errors="replace").splitlines()
    line = next((line for line in lines if line.startswith(_TABLE)), "")
    try:
        choices: Choices = _state.typed(Choices, ast.literal_eval(line.removeprefix(_TABLE)))
    except (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return Choices(default=_of_shim(machine))
    return choices


def write(machine: Machine, choices: Choices) -> None:
    """Keep the choices: in the place of the first version's shim, too, whose original is put back."""
    file = own_file(machine)
    if file is None:
        return
    remove_shim(machine)
    # Python compares seconds and sizes only, which two switches in a row may have in common.
    tag = "cpython-3" + file.parents[1].name.removeprefix("python3.")
    bytecode = file.parent / "__pycache__" / f"usercustomize.{tag}.pyc"
    watch = _watch(machine)
    if choices == Choices():
        for path in (file, watch, bytecode):
            _files.remove(path)
        return
    if file.is_dir():
        _files.remove(file)  # a file does not replace a directory
    _files.write_text(file, text(choices))
    _files.remove(bytecode)
    _ledger.made_by_tool(bytecode, parents=_ledger.missing_parents(bytecode))
    with contextlib.suppress(DiskFullError, NotWritableError):
        _files.write_text(watch, _startup(choices))


def text(choices: Choices) -> str:
    """Return the file's content."""
    head = f"{_MARK}: colab_env.switch(None) takes a notebook out of it, `colab-env undo switch` removes it.\n"
    return f"{head}{_TABLE}{_plain(choices)!r}\nGUARD = {guard_source()!r}\n{_SCRIPT.read_text(encoding='utf-8')}"


def remove_shim(machine: Machine) -> bool:
    """Put back the launcher that the first version diverted; say whether there was one.

    Raises NotOursError when the original that was kept beside it has been changed.
    """
    launcher = _launcher(machine)
    if launcher is None:
        return False
    original = launcher.with_name(launcher.name + _ORIGINAL)
    # The shim's second line is the checksum of the launcher that it replaced.
    second = [*launcher.read_bytes().splitlines(), b""][1]
    if not original.is_file() or f"# {hashlib.sha256(original.read_bytes()).hexdigest()}".encode() != second:
        msg = f"{short(original)} is not the launcher that was kept there"
        raise NotOursError(msg, hint=f"put Colab's own launcher back as {short(launcher)} yourself")
    _files.move(original, launcher)
    return True


def _launcher(machine: Machine) -> Path | None:
    """Return Colab's launcher where the first version's shim stands in its place, else None."""
    launcher = machine.colab_packages / f"{MODULE}.py" if machine.colab_packages else None
    return launcher if launcher is not None and _is_marked(launcher) else None


def _of_shim(machine: Machine) -> Choice | None:
    """Return what the first version's shim starts: that was for every notebook."""
    launcher = _launcher(machine)
    lines = launcher.read_text(encoding="utf-8", errors="replace").splitlines() if launcher else []
    line = next((line for line in lines if line.startswith("KERNEL = ")), "")
    try:
        kernel = Path(_state.typed(str, ast.literal_eval(line.removeprefix("KERNEL = "))))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return Choice(name=kernel.parent.name, kernel=kernel)


def _watch(machine: Machine) -> Path:
    return startup_directory(machine) / "colab-env-switch.py"


def _startup(choices: Choices) -> str:
    # Startup files run in the user's namespace: one expression, which leaves no name behind.
    head = f"{_MARK}: it says so when the kernel that a notebook was switched to is not what starts.\n"
    return f'{head}exec({text(choices)!r}, {{"__name__": "colab_env_watch"}})\n'


def _plain(choices: Choices) -> dict[str, Any]:
    def values(choice: Choice | None) -> Mapping[str, str | None] | None:
        if choice is None:
            return None
        return {**vars(choice), "kernel": str(choice.kernel) if choice.kernel else None}

    return {
        "notebooks": [dict(values(choice) or {}) for choice in choices.notebooks],
        "default": values(choices.default),
    }
