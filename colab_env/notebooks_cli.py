"""The commands about one notebook file: `open`, `add`, `remove`, `lock`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

    Command = Callable[..., Any]


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add the commands; `command` makes a parser, `shown` prints a value."""

    def make(name: str, text: str, do: Command, *, example: str, **options: Any) -> argparse.ArgumentParser:
        def run(arguments: argparse.Namespace) -> int:
            return int(shown(do(arguments), arguments))

        parser: argparse.ArgumentParser = command(commands, name, text, run, example=f"colab-env {example}", **options)
        parser.add_argument("notebook", metavar="FILE", help="the notebook, such as lesson.ipynb")
        return parser

    opening = make(
        "open",
        "open a notebook in Jupyter, on its own Python with its own packages",
        _open,
        example="open lesson.ipynb",
        synopsis="colab-env open FILE [--lab | --notebook] [--no-browser] [--port N] [-- JUPYTER'S OPTION ...]",
    )
    kinds = opening.add_mutually_exclusive_group()
    kinds.add_argument("--lab", dest="interface", action="store_const", const="lab", help="in JupyterLab")
    kinds.add_argument(
        "--notebook", dest="interface", action="store_const", const="notebook", help="in Jupyter Notebook"
    )
    opening.add_argument("--no-browser", action="store_true", help="start no browser; the address is printed")
    opening.add_argument(
        "--port", type=int, metavar="N", help="where the server listens (default: 8888, or the next free one)"
    )

    adding = make(
        "add",
        "write packages into a notebook, for everybody who opens it",
        _add,
        example="add lesson.ipynb pandas 'rich>=13'",
    )
    adding.add_argument("packages", nargs="*", metavar="PACKAGE")
    adding.add_argument("--requirements", "-r", metavar="FILE", help="what a requirements file lists")
    adding.add_argument(
        "--from-cells", action="store_true", help="what its lines `!pip install ...` name; they become comments"
    )
    adding.add_argument(
        "--python", metavar="SPEC", help="the Python that a new block asks for (default: this one or newer)"
    )
    _undo_option(adding)
    removing = make("remove", "take packages out of a notebook again", _remove, example="remove lesson.ipynb pandas")
    removing.add_argument("packages", nargs="*", metavar="PACKAGE")
    _undo_option(removing)
    locking = make(
        "lock", "write the exact versions of its packages into a notebook", _lock, example="lock lesson.ipynb"
    )
    locking.add_argument("--upgrade", "-U", action="store_true", help="take the newest versions that fit")
    _undo_option(locking)


def _undo_option(parser: argparse.ArgumentParser) -> None:
    help_text = "put the notebook back, byte for byte, as it was before the last add, remove or lock"
    parser.add_argument("--undo", action="store_true", help=help_text)


def _open(arguments: argparse.Namespace) -> Any:
    from colab_env import _report, notebooks

    options = [*(["--no-browser"] if arguments.no_browser else []), *arguments.rest]
    if arguments.port is not None:
        options.append(f"--port={arguments.port}")
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    with _report.screen(_report.Silent() if arguments.quiet else _report.choose_screen()):
        notebooks.open(
            arguments.notebook, interface=arguments.interface, options=options, ask=input if is_terminal else None
        )


def _add(arguments: argparse.Namespace) -> Any:
    from colab_env import notebooks

    if arguments.undo:
        return _undo(arguments)
    return notebooks.add(
        arguments.notebook,
        *arguments.packages,
        python=arguments.python,
        requirements_file=arguments.requirements,
        from_cells=arguments.from_cells,
    )


def _remove(arguments: argparse.Namespace) -> Any:
    from colab_env import notebooks
    from colab_env.errors import UsageError

    if arguments.undo:
        return _undo(arguments)
    if not arguments.packages:
        msg = "which packages are to go?"
        raise UsageError(msg, hint=f"colab-env remove {arguments.notebook} PACKAGE ...")
    return notebooks.remove(arguments.notebook, *arguments.packages)


def _lock(arguments: argparse.Namespace) -> Any:
    from colab_env import notebooks

    return _undo(arguments) if arguments.undo else notebooks.lock(arguments.notebook, upgrade=arguments.upgrade)


def _undo(arguments: argparse.Namespace) -> Any:
    from colab_env import notebooks
    from colab_env.errors import UsageError

    options = ("packages", "requirements", "from_cells", "python", "upgrade")
    if any(getattr(arguments, name, None) for name in options):
        msg = "--undo takes the last change back, and goes with nothing else"
        raise UsageError(msg, hint=f"{arguments.parser.prog} {arguments.notebook} --undo")
    return notebooks.undo(arguments.notebook)
