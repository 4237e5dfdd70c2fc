"""The commands about what packages need from the operating system: `colab-env native ...`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add `native` with its commands; `command` makes a parser, `shown` prints a value."""
    group = commands.add_parser("native", help="what packages need from the operating system: check, explain, mend")
    natives = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_explain(natives, command, shown)


def _add_explain(group: Any, command: Command, shown: Command) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from colab_env import native

        return int(shown(native.explain(Path(arguments.log).read_text(errors="replace")), arguments))

    parser = command(
        group, "explain", "say what a failed build or import was missing", run, example="colab-env native explain LOG"
    )
    parser.add_argument("log", metavar="LOG", help="what it printed: a file")
