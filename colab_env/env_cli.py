"""The parsers of `colab-env env ...`, and of the short forms that read well in a first line; env_commands does the work."""

from __future__ import annotations

import argparse
import os
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from colab_env import env_commands

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

    Command = Callable[..., Any]
    Argument = tuple[tuple[str, ...], Mapping[str, Any]]

_SHORT_FORMS = ("run", "which", "script", "unit")
_TAKES_VALUE = (
    "--base",
    "--user",
    "--python",
    "--project",
    "--requirements",
    "-r",
    "--wheels",
    "--keep",
    "--dir",
    "--output",
    "-o",
    "--on-calendar",
)
_BASE_HELP = "the directory of environments (default: COLAB_ENV_BASE, the configuration files, this machine's)"


def split_command_line(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into colab-env's own words and those of the program that it runs, for nobody else to read.

    A kernel passes all words of `#!/usr/bin/colab-env run NAME PROGRAM` as one; they are words again where the next one
    is a file.
    """
    words = list(argv)
    if len(words) > 1 and words[0].startswith("run ") and os.path.isfile(words[1]):  # noqa: PTH113  (pathlib would be as long as argparse)
        words = [*words[0].split(), *words[1:]]
    if words[:2] in (["native", "explain"], ["native", "mend"]) and "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
    if words[:1] == ["open"] and "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
    if words[:1] in (["add"], ["remove"]):
        return [*words[:1], *_options_first(words[1:])], []
    start = 1 if words[:1] == ["env"] else 0
    verb = words[start : start + 1]
    if words[:1] == ["env"] and verb in (["create"], ["purge"], ["remove"], ["add"], ["expose"]):
        return [*words[:2], *_options_first(words[2:])], []
    if verb not in (["run"], ["unit"]):
        return words, []
    end = _end_of_own(words, start + 1)
    return words[:end], words[end:]


def _options_first(words: list[str]) -> list[str]:
    # argparse takes the names before the first option as all there are.
    options: list[str] = []
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            options += [word, *(islice(rest, 1) if word in _TAKES_VALUE else ())]
        else:
            names.append(word)
    return [*options, *names]


def _end_of_own(words: list[str], index: int) -> int:
    missing = 2  # NAME PROGRAM
    while index < len(words) and missing:
        if words[index] == "--script":
            missing = 1  # FILE
        elif words[index] in _TAKES_VALUE:
            index += 1
        elif not words[index].startswith("-"):
            missing -= 1
        index += 1
    return index


# How one command is parsed: its help `text`, an `example` without the command's own name, what it takes. No class: typing
# and dataclasses would be a third of the time of `--help`.
_Parser = namedtuple("_Parser", "text example run arguments usage", defaults=((), None))  # noqa: PYI024


def _argument(*names: str, **options: Any) -> Argument:
    return names, options


def _flag(name: str, text: str) -> Argument:
    return _argument(name, action="store_true", help=text)


_NAME = _argument("name", metavar="NAME")
_PROGRAM = _argument("program", metavar="PROGRAM")
_BASE = _argument("--base", metavar="DIR", help=_BASE_HELP)
_KEEP = _argument("--keep", metavar="N", type=int, help="how many earlier builds stay, from now on (default: 1)")
_FORCE = _flag("--force", "even while programs run from it")
_FORCE_NO_MORE = _flag("--force", argparse.SUPPRESS)  # needed once, and taken still
_PURGE = (
    _argument("names", nargs="+", metavar="NAME"),
    _FORCE,
    _flag("--if-exists", "do not fail if it does not exist"),
)
_REMOVING = "remove environments, their kernels, and links to their programs"

_PARSERS: Mapping[str, _Parser] = {
    "create": _Parser(
        text="make an environment",
        example="env create web --python 3.12 flask gunicorn",
        run=env_commands.create,
        arguments=(
            _NAME,
            _argument("packages", nargs="*", metavar="PACKAGE"),
            _argument("--python", metavar="SPEC", help="3.12, '>=3.11,<3.13', or a path"),
            _argument("--project", metavar="DIR", help="install the project in DIR as its lock file says"),
            _argument("--requirements", "-r", metavar="FILE", help="install what the file lists"),
            _argument("--wheels", metavar="DIR", help="take packages from this directory only; needs no network"),
            _flag("--system-site-packages", "see the interpreter's own packages"),
            _flag("--kernel", "register it for Jupyter under its name"),
            _KEEP,
        ),
    ),
    "list": _Parser(
        text="list the environments",
        example="env list --json",
        run=env_commands.list_environments,
        arguments=(_flag("--sizes", "measure the sizes anew"),),
    ),
    "path": _Parser(
        text="print an environment's directory", example="env path web", run=env_commands.path, arguments=(_NAME,)
    ),
    "purge": _Parser(text=_REMOVING, example="env purge web", run=env_commands.purge, arguments=_PURGE),
    "remove": _Parser(text=_REMOVING, example="env remove web", run=env_commands.purge, arguments=_PURGE),
    "adopt": _Parser(
        text="take over a virtual environment, moving it",
        example="env adopt web /srv/web/venv",
        run=env_commands.adopt,
        arguments=(_NAME, _argument("directory", metavar="PATH"), _FORCE),
    ),
    "rename": _Parser(
        text="give an environment another name",
        example="env rename web site",
        run=env_commands.rename,
        arguments=(_NAME, _argument("new_name", metavar="NEW"), _FORCE_NO_MORE),
    ),
    "upgrade": _Parser(
        text="make an environment anew; what runs goes on",
        example="env upgrade web --python 3.13",
        run=env_commands.upgrade,
        arguments=(
            _argument("name", metavar="NAME", nargs="?"),
            _flag("--all", "every one in which a version is newer"),
            _flag("--dry-run", "show which versions would change, and change nothing"),
            _argument("--python", metavar="SPEC", help="another Python (default: what was asked for before)"),
            _KEEP,
            _FORCE_NO_MORE,
        ),
    ),
    "history": _Parser(
        text="list an environment's builds, and what runs from them",
        example="env history web",
        run=env_commands.history,
        arguments=(_NAME,),
    ),
    "rollback": _Parser(
        text="let an environment be an earlier build again",
        example="env rollback web",
        run=env_commands.rollback,
        arguments=(
            _NAME,
            _argument("number", metavar="N", type=int, nargs="?", help="default: the one before the current one"),
        ),
    ),
    "diff": _Parser(
        text="show which versions differ in two builds",
        example="env diff web 3 4",
        run=env_commands.diff,
        arguments=(
            _NAME,
            _argument("first", metavar="A", type=int, nargs="?", help="default: the one before the current one"),
            _argument("second", metavar="B", type=int, nargs="?", help="default: the current one"),
        ),
    ),
    "check": _Parser(
        text="compare environments with what was installed",
        example="env check --deep",
        run=env_commands.check,
        arguments=(
            _argument("names", nargs="*", metavar="NAME", help="default: all"),
            _flag("--deep", "read every file"),
            _flag("--repair", "make anew what has problems"),
        ),
    ),
    "run": _Parser(
        text="run a program from an environment",
        example="run web gunicorn --workers 2 shop:app",
        run=env_commands.run,
        usage="colab-env run [--base DIR] [--keep-pythonpath] (NAME PROGRAM | --script FILE) [ARGUMENT...]",
        arguments=(
            _flag("--keep-pythonpath", "pass PYTHONPATH on to the program"),
            _argument("--script", metavar="FILE", help="run a script in the environment of its PEP 723 block"),
            _argument("name", metavar="NAME", nargs="?"),
            _argument("program", metavar="PROGRAM", nargs="?"),
        ),
    ),
    "which": _Parser(
        text="print the path of a program",
        example="which web gunicorn",
        run=env_commands.which,
        arguments=(_NAME, _PROGRAM),
    ),
    "script": _Parser(
        text="write the first line that runs a script in an environment",
        example="script report.py --name web",
        run=env_commands.script,
        arguments=(
            _argument("file", metavar="FILE"),
            _argument("--name", metavar="NAME", help="default: an environment by the script's PEP 723 block"),
            _argument("--program", default="python3", metavar="PROGRAM", help="default: python3"),
            _flag("--one-argument", "a line for systems whose `env` knows no -S"),
        ),
    ),
    "unit": _Parser(
        text="print a systemd service file for a program",
        example="unit web gunicorn shop:app > /etc/systemd/system/web.service",
        run=env_commands.unit,
        arguments=(
            _argument("--user", metavar="NAME", help="the account it runs as (default: one that systemd invents)"),
            _argument("--output", "-o", metavar="DIR", help="write NAME.service there, and print its path"),
            _argument("--try", dest="is_tried", action="store_true", help="start the service for some seconds first"),
            _argument("--on-calendar", metavar="WHEN", help="and NAME.timer, such as daily; see man systemd.time"),
            _NAME,
            _PROGRAM,
        ),
    ),
    "export": _Parser(
        text="write an environment as one file, to be imported elsewhere",
        example="env export web -o web.env.zip",
        run=env_commands.export,
        arguments=(_NAME, _argument("--output", "-o", metavar="FILE", help="default: NAME.env.zip")),
    ),
    "import": _Parser(
        text="make an environment of an exported one",
        example="env import web.env.zip --name web2",
        run=env_commands.import_environment,
        arguments=(
            _argument("file", metavar="FILE"),
            _argument("--name", metavar="NAME", help="default: the one that it was exported under"),
        ),
    ),
    "sync": _Parser(
        text="make a machine's environments what a manifest says",
        example="env sync envs.toml --dry-run",
        run=env_commands.sync,
        arguments=(
            _argument("file", metavar="FILE"),
            _flag("--prune", "remove those that it does not name"),
            _flag("--dry-run", "change nothing, say what would be done"),
        ),
    ),
    "shell": _Parser(
        text="start a shell with an environment's programs first",
        example="env shell web",
        run=env_commands.shell,
        arguments=(_NAME,),
    ),
    "add": _Parser(
        text="put more packages into an environment",
        example="env add web requests",
        run=env_commands.add,
        arguments=(_NAME, _argument("packages", nargs="+", metavar="PACKAGE")),
    ),
    "expose": _Parser(
        text="make links on PATH to an environment's programs",
        example="env expose web flask",
        run=env_commands.expose,
        arguments=(
            _NAME,
            _argument("programs", nargs="*", metavar="PROGRAM", help="default: those of the packages it was made of"),
            _flag("--remove", "take the links away"),
            _argument(
                "--dir", dest="directory", metavar="DIR", help="default: /usr/local/bin for root, else ~/.local/bin"
            ),
        ),
    ),
    "prune": _Parser(
        text="remove environments of scripts that no script has used for long",
        example="env prune --dry-run",
        run=env_commands.prune,
        arguments=(
            _argument("--older-than", type=float, default=30, metavar="DAYS", help="default: 30"),
            _flag("--dry-run", "remove nothing, say what would go"),
        ),
    ),
}


def verb(words: Sequence[str]) -> str | None:
    """Return the command about environments that begins a command line, or None."""
    group, name = [*words, "", ""][:2]
    name = name if group == "env" else group if group in _SHORT_FORMS else ""
    return name if name in _PARSERS else None


def add_commands(commands: Any, command: Command, *, show: Command, verbs: Sequence[str] = tuple(_PARSERS)) -> None:
    """Add `env` with its commands, and the short forms; `command` makes a parser, `show` prints a value."""
    group = commands.add_parser("env", help="named environments: create, list, run, purge, ...")
    environments = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in verbs:
        _add(environments, name, command, show)
        if name in _SHORT_FORMS:
            _add(commands, name, command, show)


def _add(group: Any, name: str, command: Command, show: Command) -> None:
    spec = _PARSERS[name]

    def run(arguments: argparse.Namespace) -> int:
        value = env_commands.printable(spec.run(arguments))
        return 0 if value is None else int(show(value, arguments)) or int(getattr(value, "exit_code", 0))

    parser = command(group, name, spec.text, run, example=f"colab-env {spec.example}", synopsis=spec.usage)
    for names, options in (_BASE, *spec.arguments):
        parser.add_argument(*names, **options)
