"""The commands about named environments: `colab-env env ...`, and the short forms that read well in a first line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from colab_env import env_files_cli, env_programs_cli

_SHORT = ("run", "which", "script", "unit")
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

Command = Callable[..., Any]


def split_command_line(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into colab-env's own words and those of the program that it runs, for nobody else to read.

    A kernel passes all words of `#!/usr/bin/colab-env run NAME PROGRAM` as one; they are words again where the next one
    is a file.
    """
    words = list(argv)
    if len(words) > 1 and words[0].startswith("run ") and Path(words[1]).is_file():
        words = [*words[0].split(), *words[1:]]
    if words[:2] in (["native", "explain"], ["native", "mend"]) and "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
    if words[:1] == ["open"] and "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
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


def _end_of_own(words: list[str], here: int) -> int:
    wanted = 2  # NAME PROGRAM
    while here < len(words) and wanted:
        if words[here] == "--script":
            wanted = 1  # FILE
        elif words[here] in _TAKES_VALUE:
            here += 1
        elif not words[here].startswith("-"):
            wanted -= 1
        here += 1
    return here


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add `env` with its commands, and the short forms; `command` makes a parser, `shown` prints a value."""
    group = commands.add_parser("env", help="named environments: create, list, run, purge, ...")
    environments = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    adding = _Adding(command, shown)
    adding.all_to(environments)
    for name in _SHORT:
        adding.one_to(commands, name)


class _Adding:
    """The parsers of every command, each with the function that does it."""

    def __init__(self, command: Command, shown: Command) -> None:
        self._command = command
        self._shown = shown

    def all_to(self, group: Any) -> None:
        self._create(group)
        for name in (
            "list",
            "path",
            "purge",
            "remove",
            "adopt",
            "rename",
            "upgrade",
            "history",
            "rollback",
            "diff",
            "check",
            *_SHORT,
        ):
            self.one_to(group, name)
        for module in (env_files_cli, env_programs_cli):
            for name in module.NAMES:
                module.add_to(group, name, self._add)

    def one_to(self, group: Any, name: str) -> None:
        getattr(self, f"_{name}")(group)

    def _add(self, group: Any, name: str, text: str, do: Command, *, example: str) -> Any:
        def run(arguments: argparse.Namespace) -> int:
            return self._print(do(arguments), arguments)

        parser = self._command(group, name, text, run, example=f"colab-env {example}")
        parser.add_argument("--base", metavar="DIR", help=_BASE_HELP)
        return parser

    def _print(self, value: Any, arguments: argparse.Namespace) -> int:
        if value is None:
            return 0
        if isinstance(value, list) and not isinstance(value, _Lines):
            errors = [error for each in value if (error := getattr(each, "error", None))]
            value = _Lines(value, empty="nothing to do", exit_code=errors[0].exit_code if errors else 0)
        return int(self._shown(value, arguments)) or int(getattr(value, "exit_code", 0))

    def _create(self, group: Any) -> None:
        parser = self._add(
            group, "create", "make an environment", _create, example="env create web --python 3.12 flask gunicorn"
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("packages", nargs="*", metavar="PACKAGE")
        parser.add_argument("--python", metavar="SPEC", help="3.12, '>=3.11,<3.13', or a path")
        parser.add_argument("--project", metavar="DIR", help="install the project in DIR as its lock file says")
        parser.add_argument("--requirements", "-r", metavar="FILE", help="install what the file lists")
        parser.add_argument("--wheels", metavar="DIR", help="take packages from this directory only; needs no network")
        parser.add_argument("--system-site-packages", action="store_true", help="see the interpreter's own packages")
        parser.add_argument("--kernel", action="store_true", help="register it for Jupyter under its name")
        _add_keep(parser)

    def _list(self, group: Any) -> None:
        parser = self._add(group, "list", "list the environments", _list, example="env list --json")
        parser.add_argument("--sizes", action="store_true", help="measure the sizes anew")

    def _path(self, group: Any) -> None:
        self._add(group, "path", "print an environment's directory", _path, example="env path web").add_argument(
            "name", metavar="NAME"
        )

    def _which(self, group: Any) -> None:
        parser = self._add(group, "which", "print the path of a program", _which, example="which web gunicorn")
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("program", metavar="PROGRAM")

    def _run(self, group: Any) -> None:
        parser = self._add(
            group, "run", "become a program of an environment", _run, example="run web gunicorn --workers 2 site:app"
        )
        parser.usage = "colab-env run [--base DIR] [--keep-pythonpath] (NAME PROGRAM | --script FILE) [ARGUMENT...]"
        parser.add_argument("--keep-pythonpath", action="store_true", help="pass PYTHONPATH on to the program")
        parser.add_argument("--script", metavar="FILE", help="run a script in the environment of its PEP 723 block")
        parser.add_argument("name", metavar="NAME", nargs="?")
        parser.add_argument("program", metavar="PROGRAM", nargs="?")

    def _remove(self, group: Any) -> None:
        self._purge(group, name="remove")

    def _purge(self, group: Any, *, name: str = "purge") -> None:
        text = "remove environments, their kernels, and links to their programs"
        parser = self._add(group, name, text, _purge, example=f"env {name} web")
        parser.add_argument("names", nargs="+", metavar="NAME")
        parser.add_argument("--force", action="store_true", help="even while programs run from it")
        parser.add_argument("--if-exists", action="store_true", help="be content when it is gone already")

    def _adopt(self, group: Any) -> None:
        parser = self._add(
            group, "adopt", "take over a virtual environment, moving it", _adopt, example="env adopt web /srv/web/venv"
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("directory", metavar="PATH")
        parser.add_argument("--force", action="store_true", help="even while programs run from it")

    def _rename(self, group: Any) -> None:
        parser = self._add(group, "rename", "give an environment another name", _rename, example="env rename web site")
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("new_name", metavar="NEW")
        parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)  # needed once, and taken still

    def _upgrade(self, group: Any) -> None:
        parser = self._add(
            group, "upgrade", "make an environment anew; what runs goes on", _upgrade,
            example="env upgrade web --python 3.13",
        )  # fmt: skip
        parser.add_argument("name", metavar="NAME", nargs="?")
        parser.add_argument("--all", action="store_true", help="every one in which a version is newer")
        parser.add_argument(
            "--dry-run", action="store_true", help="show which versions would change, and change nothing"
        )
        parser.add_argument("--python", metavar="SPEC", help="another Python (default: what was asked for before)")
        _add_keep(parser)
        parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)  # needed once, and taken still

    def _history(self, group: Any) -> None:
        self._add(
            group,
            "history",
            "list an environment's builds, and what runs from them",
            _history,
            example="env history web",
        ).add_argument("name", metavar="NAME")

    def _rollback(self, group: Any) -> None:
        parser = self._add(
            group, "rollback", "let an environment be an earlier build again", _rollback, example="env rollback web"
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("number", metavar="N", type=int, nargs="?", help="default: the one before the current one")

    def _diff(self, group: Any) -> None:
        parser = self._add(group, "diff", "show which versions differ in two builds", _diff, example="env diff web 3 4")
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("first", metavar="A", type=int, nargs="?", help="default: the one before the current one")
        parser.add_argument("second", metavar="B", type=int, nargs="?", help="default: the current one")

    def _check(self, group: Any) -> None:
        parser = self._add(
            group, "check", "compare environments with what was installed", _check, example="env check --deep"
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
        parser.add_argument("--deep", action="store_true", help="read every file")
        parser.add_argument("--repair", action="store_true", help="make anew what has problems")

    def _script(self, group: Any) -> None:
        parser = self._add(
            group, "script", "write the first line that runs a script in an environment", _script,
            example="script report.py --name web",
        )  # fmt: skip
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--name", metavar="NAME", help="default: an environment by the script's PEP 723 block")
        parser.add_argument("--program", default="python3", metavar="PROGRAM", help="default: python3")
        parser.add_argument("--one-argument", action="store_true", help="a line for systems whose `env` knows no -S")

    def _unit(self, group: Any) -> None:
        parser = self._add(
            group, "unit", "print a systemd service file for a program", _unit,
            example="unit web gunicorn site:app > /etc/systemd/system/web.service",
        )  # fmt: skip
        parser.add_argument("--user", metavar="NAME", help="the account it runs as (default: one that systemd invents)")
        parser.add_argument("--output", "-o", metavar="DIR", help="write NAME.service there, and print its path")
        parser.add_argument("--on-calendar", metavar="WHEN", help="and NAME.timer, such as daily; see man systemd.time")
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("program", metavar="PROGRAM")


def _add_keep(parser: Any) -> None:
    parser.add_argument("--keep", metavar="N", type=int, help="how many earlier builds stay, from now on (default: 1)")


class _Lines(list[Any]):
    """Values that are shown one on a line, or `empty`."""

    def __init__(self, values: Sequence[Any], empty: str = "there are no environments", *, exit_code: int = 0) -> None:
        super().__init__(values)
        self._empty = empty
        self.exit_code = exit_code

    def __str__(self) -> str:
        return "\n".join(map(repr, self)) or self._empty

    def as_dict(self) -> list[dict[str, Any]]:
        return [each.as_dict() for each in self]


class _Text(str):
    __slots__ = ()

    def as_dict(self) -> str:
        return str(self)


def _create(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    named = ("python", "project", "requirements", "wheels", "system_site_packages", "kernel", "keep", "base")
    options = {key: getattr(arguments, key) for key in named}
    return _result(envs.create(arguments.name, *arguments.packages, **options), arguments)


def _list(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Lines(envs.list_environments(base=arguments.base, measure=arguments.sizes))


def _path(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Text(envs.path(arguments.name, base=arguments.base))


def _which(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Text(envs.which(arguments.name, arguments.program, base=arguments.base))


def _run(arguments: argparse.Namespace) -> Any:
    from colab_env import _report, envs
    from colab_env.errors import UsageError

    options = {key: getattr(arguments, key) for key in ("keep_pythonpath", "base")}
    if arguments.script:
        with _report.screen(_report.Silent() if arguments.quiet else _report.choose_screen()):  # stdout is the script's
            envs.run_script(arguments.script, *arguments.rest, **options)
    if arguments.program is None:
        msg = "a NAME and a PROGRAM are needed"
        raise UsageError(msg, hint="colab-env run NAME PROGRAM [ARGUMENT...]")
    with _report.screen(_report.Silent() if arguments.quiet else _report.choose_screen()):
        envs.run(arguments.name, arguments.program, *arguments.rest, **options)


def _purge(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    options = {key: getattr(arguments, key) for key in ("force", "if_exists", "base")}
    return _Lines(envs.purge(*arguments.names, **options)) or _Text("nothing to remove")


def _adopt(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    result = envs.adopt(arguments.name, arguments.directory, force=arguments.force, base=arguments.base)
    return _result(result, arguments)


def _rename(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    result = envs.rename(arguments.name, arguments.new_name, force=arguments.force, base=arguments.base)
    return _result(result, arguments)


def _upgrade(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import UsageError

    if arguments.all is not (arguments.name is None):
        msg = "one NAME is needed, or --all"
        raise UsageError(msg, hint="colab-env env upgrade NAME")
    if arguments.all:
        if arguments.python or arguments.keep is not None:
            msg = "--python and --keep are for one NAME"
            raise UsageError(msg, hint="say which environment is meant")
        found = envs.upgrade_all(dry_run=arguments.dry_run, base=arguments.base)
        failed = [each for each in found if each.error]
        code = failed[0].error.exit_code if failed and failed[0].error else 0
        # Without --json the screen has shown the others' lines already.
        return _Lines(found if arguments.json else failed, exit_code=code) if arguments.json or failed else None
    options = {key: getattr(arguments, key) for key in ("python", "keep", "dry_run", "base")}
    return _result(envs.upgrade(arguments.name, **options), arguments)


def _check(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import DamagedError

    found = envs.check(*arguments.names, deep=arguments.deep, repair=arguments.repair, base=arguments.base)
    return _Lines(found, exit_code=DamagedError.exit_code if any(each.problems for each in found) else 0)


def _history(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Lines(envs.history(arguments.name, base=arguments.base))


def _rollback(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _result(envs.rollback(arguments.name, arguments.number, base=arguments.base), arguments)


def _diff(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    changes = envs.diff(arguments.name, arguments.first, arguments.second, base=arguments.base)
    return _Lines(changes, empty="no versions differ")


def _script(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    options = {key: getattr(arguments, key) for key in ("name", "program", "base")}
    return _Text(envs.script(arguments.file, one_argument=arguments.one_argument, **options))


def _unit(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import UsageError

    options = {key: getattr(arguments, key) for key in ("user", "base")}
    words = (arguments.name, arguments.program, *arguments.rest)
    if arguments.output:
        written = envs.write_unit(arguments.output, *words, on_calendar=arguments.on_calendar, **options)
        return _Text("\n".join(map(str, written)))
    if arguments.on_calendar:
        msg = "a timer is a second file"
        raise UsageError(msg, hint="say where both go: colab-env unit --on-calendar daily --output DIR ...")
    return _Text(envs.unit(*words, **options))


def _result(result: Any, arguments: argparse.Namespace) -> Any:
    # Without --json the screen has shown the step's line already.
    return result if arguments.json else None
