"""The commands that make files of named environments, and environments of files: export, import, sync."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Add = Callable[..., Any]
NAMES = ("export", "import", "sync")


def add_to(group: Any, name: str, add: Add) -> None:
    """Add one of the commands; `add` makes a parser whose command's value is shown."""
    {"export": _add_export, "import": _add_import, "sync": _add_sync}[name](group, add)


def _add_export(group: Any, add: Add) -> None:
    parser = add(
        group, "export", "write an environment as one file, to be imported elsewhere", _export,
        example="env export web -o web.env.zip",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--output", "-o", metavar="FILE", help="default: NAME.env.zip")


def _add_import(group: Any, add: Add) -> None:
    parser = add(
        group, "import", "make an environment of an exported one", _import, example="env import web.env.zip --name web2"
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--name", metavar="NAME", help="default: the one that it was exported under")


def _add_sync(group: Any, add: Add) -> None:
    parser = add(
        group,
        "sync",
        "make a machine's environments what a manifest says",
        _sync,
        example="env sync envs.toml --dry-run",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--prune", action="store_true", help="remove those that it does not name")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")


def _export(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    return env_files.export(arguments.name, arguments.output, base=arguments.base)


def _import(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    result = env_files.import_environment(arguments.file, name=arguments.name, base=arguments.base)
    return result if arguments.json else None  # the screen has shown the step's line already


def _sync(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    options = {key: getattr(arguments, key) for key in ("prune", "dry_run", "base")}
    return env_files.sync(arguments.file, **options)
