"""`%%colab_env`: cells that run in an environment's own kernel while the notebook stays on its own; `%colab_env` for the rest."""

from __future__ import annotations

import argparse
import atexit
import difflib
import functools
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.magic import Magics, line_cell_magic, magics_class

from colab_env import _report, adding, choice, diagnose, switching, usage
from colab_env.errors import ColabEnvError, MissingStepError, UsageError
from colab_env.jupyter import kernelspec
from colab_env.jupyter.background import BackgroundKernel
from colab_env.machine import Machine

_HINT = "%%colab_env [NAME] [--push x,y] [--pull x,y], or %colab_env status | switch [NAME] | add PACKAGE..."


@magics_class
class ColabEnvMagics(Magics):
    """The magics, and the kernels that they started."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._kernels: dict[str, BackgroundKernel] = {}
        atexit.register(self.close)  # they would outlive the notebook's own kernel
        if hasattr(shell, "kernel"):
            _serve(shell.kernel, self._kernels)

    @line_cell_magic
    def colab_env(self, line: str, cell: str | None = None) -> Any:
        """Run the cell in an environment's kernel; or show its status, switch to it, add packages to its project.

        %%colab_env [NAME] [--push x,y] [--pull x,y]
        %colab_env status | switch [NAME] | add PACKAGE...
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            msg = f"{line!r} has a quote that is not closed"
            raise UsageError(msg, hint=_HINT) from error
        return self._command(words) if cell is None else self._run(words, cell)

    def close(self) -> None:
        """End the kernels."""
        for kernel in self._kernels.values():
            kernel.close()

    def _run(self, words: list[str], cell: str) -> None:
        options = _options(words)
        kernel = self._kernel(options.name or _only_kernel())
        space = kernel.shell.user_ns
        kernel.push({name: _looked_up(space, name) for name in options.push})
        kernel.run(cell)
        if options.pull:
            space.update(kernel.pull(options.pull))

    def _kernel(self, name: str) -> BackgroundKernel:
        if name not in self._kernels:
            _require_kernel(name)
        kernel = self._kernels.setdefault(name, BackgroundKernel(name, self.shell))
        if not kernel.is_alive:
            with _report.activity(f"Starting kernel {name}"):
                kernel.start()
        return kernel

    def _command(self, words: list[str]) -> Any:
        match words:
            case [] | ["status"]:
                return diagnose.status(choice.path(Machine.detect(), "project") or Path.cwd())
            case ["switch"]:
                return switching.switch(None)
            case ["switch", name]:
                return switching.switch(name)
            case ["add", *packages] if packages:
                return adding.add(packages)
        msg = f"%colab_env does not know {' '.join(words)!r}"
        near = difflib.get_close_matches(words[0], {"status", "switch", "add"} - {words[0]}, n=1)
        raise UsageError(msg, hint=f"did you mean %colab_env {' '.join([*near, *words[1:]])}?" if near else _HINT)


def load(shell: Any) -> None:
    """Add the magics to a shell that does not have them yet, and nothing else."""
    if "colab_env" not in shell.magics_manager.magics["cell"]:
        shell.register_magics(ColabEnvMagics(shell))


def load_ipython_extension(shell: Any) -> None:
    """Do what `%load_ext colab_env` asks for."""
    load(shell)


def _serve(kernel: Any, others: dict[str, BackgroundKernel]) -> None:
    """Let the notebook's own kernel pass on what is asked of it and is for one of the `others`.

    Completions and inspections in a `%%colab_env` cell, channels that the page opens, and functions that it calls by name.
    """
    opened = kernel.shell_handlers["comm_open"]

    def comm_open(stream: Any, identity: Any, message: Any) -> Any:
        alive = [kernel for kernel in others.values() if kernel.is_alive]
        if message["content"]["target_name"] in kernel.comm_manager.targets or not alive:
            return opened(stream, identity, message)
        return alive[-1].adopt(message)

    def aside(kind: str) -> Any:
        handler = kernel.shell_handlers[kind]

        def answer(stream: Any, identity: Any, message: Any) -> Any:
            content = message["content"]
            first, _, cell = content["code"].partition("\n")
            at = content["cursor_pos"] - len(first) - 1
            other = _named_in(first, others) if at >= 0 else None
            if other is None or not other.is_alive:
                return handler(stream, identity, message)
            reply = other.ask(kind, content | {"code": cell, "cursor_pos": at}, metadata=message["metadata"])
            moved = {name: reply[name] + len(first) + 1 for name in ("cursor_start", "cursor_end") if name in reply}
            kernel.session.send(stream, kind.replace("request", "reply"), reply | moved, message, identity)
            return None

        return answer

    kernel.shell_handlers["comm_open"] = comm_open
    for kind in ("complete_request", "inspect_request"):
        kernel.shell_handlers[kind] = aside(kind)
    if "google.colab" in sys.modules:
        try:
            from google.colab.output import _js  # type: ignore[import-not-found]
        except ImportError:
            return
        _js._functions = _Callbacks(_js._functions, others)  # noqa: SLF001 - it has no public name


def _named_in(line: str, others: dict[str, BackgroundKernel]) -> BackgroundKernel | None:
    """Return the kernel that a cell with this first line runs in, if that is another one and has been started."""
    magic, _, rest = line.partition(" ")
    if magic != "%%colab_env":
        return None
    try:
        return others.get(_options(shlex.split(rest)).name or _only_kernel())
    except (ColabEnvError, ValueError):
        return None


class _Callbacks(dict[str, Any]):
    """Functions that the page may call: the notebook's own, then those of the other kernels."""

    def __init__(self, own: dict[str, Any], others: dict[str, BackgroundKernel]) -> None:
        super().__init__(own)
        self._others = others

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            return self[name]
        other = next((kernel for kernel in self._others.values() if kernel.has_callback(name)), None)
        return default if other is None else functools.partial(other.call, name)


class _Parser(usage.Parser):
    def _refuse(self, message: str, hint: str) -> NoReturn:
        raise UsageError(message, hint=_HINT if "--help" in hint else hint)  # a magic has no such option


def _options(words: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="%%colab_env", add_help=False)  # help prints and exits: here, in a kernel
    parser.add_argument("name", nargs="?")
    for option in ("--push", "--pull"):
        parser.add_argument(option, type=_names, default=[])
    chosen: argparse.Namespace = parser.parse_args(words)
    return chosen


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(name.isidentifier() for name in names):
        msg = f"{text!r} is not a list of names such as x,y"
        raise argparse.ArgumentTypeError(msg)
    return names


def _looked_up(space: dict[str, Any], name: str) -> Any:
    if name not in space:
        msg = f"there is no {name} in this notebook"
        raise UsageError(msg, hint="run the cell that defines it first")
    return space[name]


def _require_kernel(name: str) -> None:
    """Raise MissingStepError for a kernel that Jupyter does not find."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel as error:
        names = ", ".join(kernel.name for kernel in kernelspec.registered(Machine.detect()) if kernel.ours) or "none"
        msg = f"there is no kernel {name!r}"
        raise MissingStepError(msg, hint=f"registered kernels: {names}; setup() registers one") from error


def _only_kernel() -> str:
    machine = Machine.detect()
    ours = [kernel for kernel in kernelspec.registered(machine) if kernel.ours and kernel.problem is None]
    project_kernels = [kernel for kernel in ours if kernel.project == choice.path(machine, "project")]
    for candidates in (project_kernels, ours):
        if len(candidates) == 1:
            return candidates[0].name
    if not ours:
        raise MissingStepError("colab-env has registered no kernel", hint="run setup() first")
    names = ", ".join(kernel.name for kernel in ours)
    raise UsageError("there are several kernels", hint=f"name one: %%colab_env NAME, of {names}")
