"""What the command says of itself, and of a command line that is not one: overview, near matches, hints as a shell types them."""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # as typing has it, whose import would be an eighth of the time of `--help`
if TYPE_CHECKING:
    from typing import Any, NoReturn

# Every command is in one of them, which a test holds.
GROUPS = (
    ("a notebook file", ("open", "add", "remove", "lock", "notebook", "badge")),
    ("a project", ("setup", "plan", "status", "verify", "kernel", "switch", "undo")),
    (
        "its steps",
        ("install-python", "install-miniconda", "install-colab-packages", "install-poetry", "configure-venv"),
    ),
    ("named environments", ("env", "run", "which", "script", "unit")),
    ("moving on", ("save", "cache", "container")),
    ("when something is wrong", ("doctor", "native")),
    ("the command itself", ("completion",)),
)
FIRST = """\
  colab-env open lesson.ipynb     open a notebook, on its own Python with its own packages
  colab-env setup --python 3.12   give the project in this directory its own Python and a kernel
  colab-env status                show what is there, and whether it is healthy"""
# What people type who know other tools; the commands are those that do what these do there.
_ELSEWHERE = {
    "install": "`colab-env add FILE PACKAGE` for a notebook, `colab-env setup` for a project",
    "sync": "`colab-env setup`",
    "init": "`colab-env setup` for a project, `colab-env add FILE PACKAGE` for a notebook",
    "create": "`colab-env env create NAME`",
    "list": "`colab-env env list`, or `colab-env kernel list`",
    "update": "`colab-env env upgrade NAME`, or `colab-env lock FILE --upgrade`",
    "upgrade": "`colab-env env upgrade NAME`, or `colab-env lock FILE --upgrade`",
    "uninstall": "`colab-env undo`, or `colab-env env remove NAME`",
    "activate": "nothing has to be activated: `colab-env run NAME PROGRAM`",
    "jupyter": "`colab-env open FILE`",
    "lab": "`colab-env open FILE --lab`",
    "help": "`colab-env --help`",
}
# Inside a group: what other tools call the same thing.
_WORDS = {
    "delete": "purge",
    "del": "purge",
    "rm": "remove",
    "uninstall": "remove",
    "ls": "list",
    "new": "create",
    "update": "upgrade",
}
_SHORT = {
    "-p": "--python",
    "-l": "--lock",
    "-k": "--kernel",
    "-i": "--interpreter",
    "-o": "--output",
    "-e": "--extra",
    "-g": "--group",
}


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse finds out how wide for every argument, and loads the archive formats for that."""

    def __init__(self, prog: str, **options: Any) -> None:
        if options.get("width") is None:
            options["width"] = _columns() - 2
        super().__init__(prog, **options)


@functools.cache
def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError: what is wrong in one line, and what may have been meant.

    A command line has one command of about sixty: a parser waits until something is asked of it.
    """

    def __init__(self, **options: Any) -> None:
        options = {"formatter_class": Help, **options}
        self._waiting: list[Callable[[], Any]] = [lambda: super(Parser, self).__init__(**options)]

    def __getattr__(self, name: str) -> Any:
        waiting = self.__dict__.pop("_waiting", None)
        if waiting is None:
            raise AttributeError(name)
        for make in waiting:
            make()
        return getattr(self, name)

    def add_argument(self, *names: Any, **options: Any) -> Any:
        """Add an argument, as argparse does; it is returned where the parser is in use already."""
        if "_waiting" not in self.__dict__:
            return super().add_argument(*names, **options)
        return self._waiting.append(lambda: super(Parser, self).add_argument(*names, **options))

    def set_defaults(self, **options: Any) -> None:
        """Set defaults, as argparse does."""
        if "_waiting" not in self.__dict__:
            super().set_defaults(**options)
        else:
            self._waiting.append(lambda: super(Parser, self).set_defaults(**options))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  (argparse shows it nowhere else)
            words = (
                _ELSEWHERE
                if self.prog == "colab-env"
                else {typed: f"did you mean {meant}?" for typed, meant in _WORDS.items() if meant in names}
            )
            small = f"did you mean {value.lower()}?" if value.lower() in names else None
            hint = small or words.get(value) or self._near(value, names)
            self._refuse(f"{self.prog} has no command {value!r}", hint)
        option = "/".join(action.option_strings) or action.metavar or action.dest
        self._refuse(f"{self.prog}: {option} cannot be {value!r}", self._near(str(value), names))

    def error(self, message: str) -> NoReturn:
        """Raise UsageError for what argparse calls wrong, in its own words where they are plain."""
        commands = next((action for action in self._actions if isinstance(action, argparse._SubParsersAction)), None)  # noqa: SLF001
        if commands is not None and "required: COMMAND" in message:
            self._refuse(f"{self.prog} needs a command", f"one of {', '.join(commands.choices)}")
        message = message.replace("the following arguments are required: ", "it needs ").removeprefix("argument ")
        self._refuse(f"{self.prog}: {message}", f"see `{self.prog} --help`")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a whole command line. Raises UsageError for an option or a word that nobody knows."""
        parsed, unknown = self.parse_known_args(args, namespace)
        parser: Parser = getattr(parsed, "parser", self)
        if unknown:
            word = unknown[0].partition("=")[0]
            if word.startswith("-"):
                options = [name for name in parser._option_string_actions if name.startswith("--")]
                near = f"did you mean {_SHORT[word]}?" if _SHORT.get(word) in options else parser._near(word, options)
                parser._refuse(f"{parser.prog} has no option {word}", near)
            is_python = "--python" in parser._option_string_actions and re.fullmatch(r"\d+(\.\d+)*", word)
            hint = f"did you mean --python {word}?" if is_python else f"see `{parser.prog} --help`"
            parser._refuse(f"{parser.prog} has no use for {unknown[0]!r}", hint)
        return parsed

    def _near(self, word: str, names: Iterable[str]) -> str:
        from colab_env.results import suggest

        return suggest(word, names, otherwise=f"see `{self.prog} --help`")

    def _refuse(self, message: str, hint: str) -> NoReturn:
        from colab_env.errors import UsageError

        raise UsageError(message, hint=hint)


class Overview(Parser):
    """The parser of the command itself, whose help has the commands by what they are about."""

    def format_help(self) -> str:
        """Return the help: what to do first, the commands by group, the options, examples."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        self._add_groups(formatter)
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def first_words(self) -> str:
        """Return what the command says where nothing was asked of it."""
        formatter = self._get_formatter()
        self._add_groups(formatter)
        about = "`colab-env COMMAND --help` says what a command takes."
        return f"{self.description}\n\n{FIRST}\n\n{formatter.format_help()}\n{about}\n"

    def _add_groups(self, formatter: argparse.HelpFormatter) -> None:
        (commands,) = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
        by_name = {action.dest: action for action in commands._choices_actions}  # noqa: SLF001
        for title, names in GROUPS:
            formatter.start_section(title)
            formatter.add_arguments([by_name[name] for name in names])
            formatter.end_section()


# The functions that are commands under another name than their own with dashes.
_COMMANDS = {
    "register_kernel": "kernel register",
    "remove_kernel": "kernel remove",
    "check_kernel": "kernel check",
    "set_notebook_kernel": "notebook set-kernel",
    "restore_notebook": "notebook restore",
}
_FUNCTIONS = (
    *("setup", "plan", "status", "verify", "undo", "save", "switch", "badge", "doctor", "install_python"),
    *("install_miniconda", "install_colab_packages", "install_poetry", "configure_venv", *_COMMANDS),
)
_CALL = re.compile(rf"`?(?:\bcolab_env\.|\b)({'|'.join(_FUNCTIONS)})\(([^()]*)\)`?")
_OPTIONS = (
    *(
        "python",
        "interpreter",
        "installer",
        "lock",
        "extras",
        "groups",
        "keep",
        "older_than",
        "repository",
        "branch",
        "trust",
        "tool",
    ),
    *("kind", "write", "fix", "output", "overwrite", "defaults", "exact", "project", "kernel", "cache", "prefix"),
    *("system_site_packages", "base"),
)
_ARGUMENT = re.compile(
    rf"\b({'|'.join(_OPTIONS)})=(?:'([^']*)'|\"([^\"]*)\"|\['([^']*)'\]|(True|False|[A-Z]+\b|\d+\b|\.\.\.))"
)
_SAID_TWICE = re.compile(r"(--[\w-]+(?: [\w./>=<~*-]+)?),(?: or)? \1(?=\W|$),?|(--[\w-]+) \.\.\., (?=\2 )")


def in_shell(text: str) -> str:
    """Return a message or a hint as somebody at a shell reads it: `colab-env setup` for `setup()`, `--lock F` for `lock='F'`.

    The functions raise errors that speak to whoever called them in Python; the command shows the same errors.
    """
    text = _ARGUMENT.sub(_option, _CALL.sub(_command, text))
    return _SAID_TWICE.sub(lambda match: match[1] or "", text)


def _command(match: re.Match[str]) -> str:
    name = match[1]
    words = f"colab-env {_COMMANDS.get(name) or name.replace('_', '-')} {_ARGUMENT.sub(_option, match[2])}"
    return f"`{words.strip()}`"


def _option(match: re.Match[str]) -> str:
    name, single, double, item, plain = match.groups()
    # `--extra NAME` is said once for each of `extras`.
    option = {"extras": "extra", "groups": "group"}.get(name, name).replace("_", "-")
    value = next((text for text in (single, double, item, plain) if text is not None), "")
    if value in ("True", "False"):
        return f"--{option}" if value == "True" else f"--no-{option}"
    return f"--{option} '{value}'" if re.search(r"[<>*~ ,;|&$!]", value) else f"--{option} {value}"
