"""The commands about what packages need from the operating system: `colab-env native ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

    Command = Callable[..., Any]


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add `native` with its commands; `command` makes a parser, `shown` prints a value."""
    group = commands.add_parser("native", help="what packages need from the operating system: check, explain, mend")
    natives = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_check(natives, command, shown)
    _add_explain(natives, command, shown)
    _add_mend(natives, command, shown)
    _add_index(natives, command, shown)


def _add_check(group: Any, command: Command, shown: Command) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from colab_env import native

        passed_on = ("lock", "platform", "python", "sources")
        options = {key: getattr(arguments, key) for key in passed_on}
        return int(shown(native.check(arguments.project, **options), arguments))

    text = (
        "say which packages of the lock file have no wheel for a platform, and with --sources what building them needs"
    )
    parser = command(group, "check", text, run, example="colab-env native check --platform linux/arm64")
    parser.add_argument("--project", default=".", metavar="DIR")
    parser.add_argument("--lock", metavar="FILE", help="default: the one that counts in the project")
    parser.add_argument(
        "--platform", metavar="NAME", help="linux/amd64, linux/arm64, with -musl for Alpine (default: this one)"
    )
    parser.add_argument("--python", metavar="VERSION", help="such as 3.12 (default: the project's)")
    parser.add_argument(
        "--sources", action="store_true", help="download their source archives and look into them; nothing is run"
    )


def _add_explain(group: Any, command: Command, shown: Command) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from colab_env import native

        if not arguments.rest:
            return int(shown(native.explain(log=arguments.log or "-", fetch=arguments.fetch), arguments))
        screen = sys.stderr if arguments.json else sys.stdout
        explanation = native.explain_command(arguments.rest, show=lambda line: print(line, file=screen, flush=True))
        if explanation.returncode or arguments.json:
            shown(native.with_packages(explanation, fetch=arguments.fetch), arguments)
        return explanation.returncode or 0

    text = "say what a failed build or import was missing, from a log or by running a command (then the exit code is its own)"
    parser = command(group, "explain", text, run, example="colab-env native explain -- pip install fiona")
    log_help = "what it shown: a file, or - for a pipe; or -- and a command to run"
    parser.add_argument("log", nargs="?", metavar="LOG", help=log_help)
    parser.add_argument(
        "--no-fetch",
        action="store_false",
        dest="fetch",
        help="say which package brings it only where the distribution's index is here already",
    )


def _add_mend(group: Any, command: Command, shown: Command) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from colab_env import native

        screen = sys.stderr if arguments.json else sys.stdout
        result = native.mend(
            arguments.rest,
            log=arguments.log,
            yes=arguments.yes,
            project=arguments.project,
            imports=arguments.imports,
            show=lambda line: print(line, file=screen, flush=True),
            confirm=lambda mended: _is_confirmed(repr(mended)),
        )
        shown(result, arguments)
        return int(not result.ok)

    text = (
        "run a command, install the system packages it is missing, and run it again until it works; with a log, install what "
        "that names; without either, what [tool.colab-env] apt names"
    )
    parser = command(group, "mend", text, run, example="colab-env native mend --yes -- pip install fiona")
    parser.add_argument("log", nargs="?", metavar="LOG", help="what a failed command printed: a file, or - for a pipe")
    parser.add_argument("--yes", "-y", action="store_true", help="install without asking")
    parser.add_argument("--project", default=".", metavar="DIR", help="where the packages are written down")
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="imports",
        metavar="MODULE",
        help="what to import at the end (default: the modules of what the command installs)",
    )


def _add_index(group: Any, command: Command, shown: Command) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from colab_env import native

        return int(shown(native.index(refresh=arguments.refresh), arguments))

    text = "fetch the distribution's lists of which package has what, once for a release"
    parser = command(group, "index", text, run, example="colab-env native index")
    parser.add_argument("--refresh", action="store_true", help="do it anew")


def _is_confirmed(question: str) -> bool:
    """Ask in a terminal; where nobody can answer, the answer is no."""
    sys.stderr.write(f"{question}\n")
    if not sys.stdin.isatty():
        return False
    sys.stderr.write("Install it? [y/N] ")
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}
