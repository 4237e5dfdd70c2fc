"""The commands that bring an environment's programs to hand, and keep environments in order: shell, expose, add, prune."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Add = Callable[..., Any]
NAMES = ("shell", "add", "expose", "prune")


def add_to(group: Any, name: str, add: Add) -> None:
    """Add one of the commands; `add` makes a parser whose command's value is shown."""
    {"shell": _add_shell, "add": _add_add, "expose": _add_expose, "prune": _add_prune}[name](group, add)


def _add_shell(group: Any, add: Add) -> None:
    parser = add(group, "shell", "start a shell with an environment's programs first", _shell, example="env shell web")
    parser.add_argument("name", metavar="NAME")


def _add_add(group: Any, add: Add) -> None:
    parser = add(group, "add", "put more packages into an environment", _add, example="env add web requests")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")


def _add_expose(group: Any, add: Add) -> None:
    parser = add(
        group, "expose", "make links on PATH to an environment's programs", _expose, example="env expose web flask"
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="default: those of the packages it was made of")
    parser.add_argument("--remove", action="store_true", help="take the links away")
    parser.add_argument(
        "--dir", dest="directory", metavar="DIR", help="default: /usr/local/bin for root, else ~/.local/bin"
    )


def _add_prune(group: Any, add: Add) -> None:
    parser = add(
        group,
        "prune",
        "remove environments of scripts that no script has used for long",
        _prune,
        example="env prune --dry-run",
    )
    parser.add_argument("--older-than", type=float, default=30, metavar="DAYS", help="default: 30")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")


def _shell(arguments: argparse.Namespace) -> Any:
    from colab_env import env_programs

    env_programs.shell(arguments.name, base=arguments.base)


def _add(arguments: argparse.Namespace) -> Any:
    from colab_env import env_upkeep

    result = env_upkeep.add(arguments.name, *arguments.packages, base=arguments.base)
    return result if arguments.json else None  # the screen has shown the step's line already


def _expose(arguments: argparse.Namespace) -> Any:
    from colab_env import env_programs

    options = {key: getattr(arguments, key) for key in ("remove", "directory", "base")}
    return env_programs.expose(arguments.name, *arguments.programs, **options)


def _prune(arguments: argparse.Namespace) -> Any:
    from colab_env import env_upkeep

    options = {key: getattr(arguments, key) for key in ("older_than", "dry_run", "base")}
    return env_upkeep.prune(**options)
