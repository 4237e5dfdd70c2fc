"""The command `colab-env`: reads arguments, calls the public functions, prints, and chooses the exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from colab_env import container_cli, env_cli, native_cli, notebooks_cli, step_cli, usage

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

_EPILOG = """\
examples:
  colab-env open lesson.ipynb                   a notebook, on its own Python with its own packages
  colab-env setup --python 3.12                 everything, in this directory
  colab-env setup --interpreter uv --kernel lab a small Python instead of Miniconda
  colab-env setup --lock requirements.txt       the packages of another lock file
  colab-env plan --keep torch                   what it would bring, hide and clash with
  colab-env notebook set-kernel lesson.ipynb py312
  colab-env COMMAND --help                      what COMMAND takes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or the code of the error's class (see `colab_env.errors`)."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("stopped; what was there before is still there", file=sys.stderr)
        return 130
    except OSError as error:
        if error.filename is not None:
            raise  # of a file: what is written to the standard output has no name
        # Nobody reads what is left: without this, Python complains about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"colab-env: cannot write to the standard output: {error.strerror}", file=sys.stderr)
        return 7


def _run(words: Sequence[str]) -> int:
    words_of_ours, rest = env_cli.split_command_line(words)
    parser = _parser(words_of_ours)
    if not words_of_ours:
        print(parser.first_words(), end="")
        return 0
    # What is wrong with the words themselves is said as they ask for it, too.
    arguments = argparse.Namespace(json="--json" in words_of_ours, quiet=False)
    try:
        arguments = parser.parse_args(words_of_ours)
        arguments.rest = rest
        # Not before: `--help` does without.
        from pathlib import Path

        from colab_env import _files, _process, _screens

        _screens.with_marks(sys.stdout)
        _screens.with_marks(sys.stderr)
        with _files.translate_os_errors(Path.home()), _process.stoppable():
            code = _in_screen(arguments)
        sys.stdout.flush()
    except Exception as error:
        from colab_env import _screens
        from colab_env.errors import ColabEnvError

        if not isinstance(error, ColabEnvError):
            raise
        sys.stdout.flush()  # a full disk behind it is no fault of what was being done
        _screens.with_marks(sys.stdout)  # again: the words may have been wrong before the first time
        _screens.with_marks(sys.stderr)
        _show_error(error, arguments)
        return error.exit_code
    else:
        return code


def _in_screen(arguments: argparse.Namespace) -> int:
    from colab_env import _report

    quiet = arguments.quiet or arguments.json
    screen = _report.Silent() if quiet else _report.choose_screen(keep_to=sys.stdout)
    with _report.screen(screen, is_verbose=arguments.verbose and not quiet, wording=usage.in_shell):
        code: int = arguments.run(arguments)
    return code


def _show_error(error: Any, arguments: argparse.Namespace) -> None:
    message, hint = usage.in_shell(error.message), usage.in_shell(error.hint) if error.hint else None
    if arguments.json:
        log = {"log": str(error.log)} if error.log else {}
        _print_json({"error": type(error).__name__, "message": message, "hint": hint, **log})
    else:
        from colab_env import _screens

        print(_screens.painted_error(usage.in_shell(f"colab-env: {error}"), sys.stderr), file=sys.stderr)


def _print_json(value: Any) -> None:
    import json

    from colab_env import _report

    print(_report.clean(json.dumps(value, indent=2, ensure_ascii=False)))


def _parser(words: Sequence[str] = ()) -> usage.Overview:
    """Return the parser of the whole command, or of the one command about environments that these words are."""
    parser = usage.Overview(
        prog="colab-env",
        description="Give a notebook its own Python and its own locked packages, as a real kernel.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=usage.Parser)
    if verb := env_cli.verb(
        words
    ):  # a script of the machine's may call it often, and all parsers take as long as Python's start
        env_cli.add_commands(commands, _command, show=_shown, verbs=[verb])
        return parser
    notebooks_cli.add_commands(commands, _command, shown=_shown)
    step_cli.add_commands(commands, _command, shown=_shown)
    _add_status(commands)
    _add_cache(commands)
    _add_kernel(commands)
    _add_switch(commands)
    _add_notebook(commands)
    _add_badge(commands)
    container_cli.add_commands(commands, _command, shown=_shown)
    env_cli.add_commands(commands, _command, show=_shown)
    native_cli.add_commands(commands, _command, shown=_shown)
    _add_completion(commands)
    return parser


class _Version(argparse.Action):
    """Print the version. The metadata is read only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and end")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"colab-env {version('colab-bootstrap')}")
        except PackageNotFoundError:
            print("colab-env, run from a directory where it is not installed")
        parser.exit()


def _command(
    group: Any,
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
    *,
    example: str,
    synopsis: str | None = None,
) -> Any:
    parser = group.add_parser(
        name,
        usage=synopsis,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value, for programs")
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing but errors")
    parser.add_argument("--verbose", "-v", action="store_true", help="print what the tools print, too")
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_status(commands: Any) -> None:
    status = _command(
        commands, "status", "show what is there and whether it is healthy", _status, example="colab-env status --json"
    )
    status.add_argument("--project", default=".", metavar="DIR")
    status.add_argument("--exit-code", action="store_true", help="end with 1 when something is wrong")
    status.add_argument("--html", metavar="FILE", help="write it as a page, too")
    text = "start every kernel and report on the whole machine, to read or to paste into an issue; 1 when something is wrong"
    _command(commands, "doctor", text, _doctor, example="colab-env doctor")
    verify = _command(
        commands,
        "verify",
        "read every installed file and compare it with what was installed",
        _verify,
        example="colab-env verify --repair",
    )
    verify.add_argument("--project", default=".", metavar="DIR")
    verify.add_argument("--repair", action="store_true", help="build anew what is damaged")


def _add_cache(commands: Any) -> None:
    save = _command(
        commands,
        "save",
        "save what setup built, as one file that a new machine can start from",
        _save,
        example="colab-env save /content/drive/MyDrive/envs",
    )
    save.add_argument("directory", metavar="DIR", help="a directory, or an fsspec address such as gs://bucket/envs")
    save.add_argument("--project", metavar="DIR", help="default: the one set up last")
    group = commands.add_parser("cache", help="list, prune or verify saved snapshots, or show their key")
    caches = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb, text, run in (
        ("list", "list the snapshots, and which of them fit this machine", _cache_list),
        ("prune", "delete what killed saves left, and snapshots that are not wanted", _cache_prune),
        ("verify", "read every snapshot as a restore does, and write nothing", _cache_verify),
    ):
        parser = _command(caches, verb, text, run, example=f"colab-env cache {verb} /content/drive/MyDrive/envs")
        parser.add_argument("directory", metavar="DIR")
        if verb == "prune":
            parser.add_argument("--keep", type=int, metavar="N", help="keep the newest N only")
            parser.add_argument("--older-than", type=float, metavar="DAYS", help="delete what is older")
            parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would be")
        if verb == "verify":
            help_text = "the name or SHA-256 of a snapshot that counts although no key of yours signed it"
            parser.add_argument("--trust", metavar="SNAPSHOT", help=help_text)
    text = "print the key that signs this machine's snapshots, to keep it as the Colab secret COLAB_ENV_SNAPSHOT_KEY"
    _command(caches, "key", text, _cache_key, example="colab-env cache key")


def _add_kernel(commands: Any) -> None:
    group = commands.add_parser("kernel", help="list, register, remove or check kernels")
    kernels = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(kernels, "list", "list the kernels that Jupyter finds", _kernel_list, example="colab-env kernel list")
    register = _command(
        kernels,
        "register",
        "try the project's kernel and register it",
        _kernel_register,
        example="colab-env kernel register py312",
    )
    register.add_argument("name", nargs="?", metavar="NAME")
    register.add_argument("--project", metavar="DIR", help="default: the one set up last")
    remove = _command(
        kernels,
        "remove",
        "take away a kernel that colab-env registered",
        _kernel_remove,
        example="colab-env kernel remove py312",
    )
    remove.add_argument("name", metavar="NAME")
    check = _command(
        kernels,
        "check",
        "start a registered kernel and ask whether it answers",
        _kernel_check,
        example="colab-env kernel check py312",
    )
    check.add_argument("name", nargs="?", metavar="NAME", help="default: that of the project set up last")


def _add_switch(commands: Any) -> None:
    switch = _command(
        commands,
        "switch",
        "let a notebook's next restart on Colab come up on a kernel; without NAME, all on the machine's own again",
        _switch,
        example="colab-env switch py312 --default",
    )
    switch.add_argument("name", nargs="?", metavar="NAME")
    switch.add_argument("--default", action="store_true", help="for new notebooks, and those that were never switched")
    undo = _command(
        commands,
        "undo",
        "take back what colab-env changed on this machine",
        _undo,
        example="colab-env undo --dry-run",
    )
    undo.add_argument("steps", nargs="*", metavar="STEP", help="such as register_kernel (default: everything)")
    undo.add_argument("--project", metavar="DIR", help="only this project's files and kernels")
    undo.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")


def _add_notebook(commands: Any) -> None:
    group = commands.add_parser("notebook", help="choose the kernel that a notebook file asks for")
    notebooks = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb, text, run in (
        ("set-kernel", "make a notebook ask for a kernel", _notebook_set),
        ("check", "say which kernel a notebook asks for", _notebook_check),
    ):
        parser = _command(notebooks, verb, text, run, example=f"colab-env notebook {verb} lesson.ipynb py312")
        parser.add_argument("notebook", metavar="FILE")
        parser.add_argument("kernel", metavar="NAME")
    restore = _command(
        notebooks,
        "restore",
        "bring the notebook back as it was",
        _notebook_restore,
        example="colab-env notebook restore lesson.ipynb",
    )
    restore.add_argument("notebook", metavar="FILE")


def _add_badge(commands: Any) -> None:
    badge = _command(
        commands,
        "badge",
        "print the Open-in-Colab button for a notebook on GitHub",
        _badge,
        example="colab-env badge lesson.ipynb >> README.md",
    )
    badge.add_argument("notebook", nargs="?", default="colab_bootstrap.ipynb", metavar="FILE")
    badge.add_argument("--repository", metavar="OWNER/NAME", help="default: from the git remote")
    badge.add_argument("--branch", metavar="NAME", help="default: the remote's default branch")


def _add_completion(commands: Any) -> None:
    text = "print what a shell reads to complete commands, options, environments and programs"
    parser = _command(commands, "completion", text, _completion, example="colab-env completion bash")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _result(result: Any, arguments: argparse.Namespace) -> int:
    # Without --json the screen has shown the step's line already.
    if arguments.json:
        _print_json(result.as_dict())
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from colab_env import diagnose

    state = diagnose.status(arguments.project)
    if arguments.html:
        from colab_env import _files

        _files.write_text(_files.output_path(arguments.html), state.html())
    code = _shown(state, arguments)
    return code if state.ok or not arguments.exit_code else 1


def _doctor(arguments: argparse.Namespace) -> int:
    from colab_env.machine_report import doctor

    report = doctor()
    return _shown(report, arguments) or int(not report.ok)


def _verify(arguments: argparse.Namespace) -> int:
    from colab_env.errors import DamagedError
    from colab_env.verifying import verify

    result = verify(arguments.project, repair=arguments.repair)
    code = _shown(result, arguments)
    return code if result.ok else DamagedError.exit_code


def _save(arguments: argparse.Namespace) -> int:
    from colab_env import snapshots

    return _shown(snapshots.save(arguments.directory, project=arguments.project), arguments)


def _cache_list(arguments: argparse.Namespace) -> int:
    from colab_env import caches

    return _shown(caches.cache_list(arguments.directory), arguments)


def _cache_prune(arguments: argparse.Namespace) -> int:
    from colab_env import caches

    options = {key: getattr(arguments, key) for key in ("keep", "older_than", "dry_run")}
    return _shown(caches.cache_prune(arguments.directory, **options), arguments)


def _cache_verify(arguments: argparse.Namespace) -> int:
    from colab_env import caches
    from colab_env.errors import SnapshotError

    listing = caches.cache_verify(arguments.directory, trust=arguments.trust)
    _shown(listing, arguments)
    return 0 if listing.ok else SnapshotError.exit_code


def _cache_key(arguments: argparse.Namespace) -> int:
    from colab_env import caches

    return _shown(caches.cache_key(), arguments)


def _kernel_list(arguments: argparse.Namespace) -> int:
    from colab_env import kernels

    return _shown(kernels(), arguments)


def _kernel_register(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    return _result(steps.register_kernel(arguments.name, project=arguments.project), arguments)


def _kernel_remove(arguments: argparse.Namespace) -> int:
    from colab_env import remove_kernel

    return _shown(remove_kernel(arguments.name), arguments)


def _kernel_check(arguments: argparse.Namespace) -> int:
    from colab_env import check_kernel
    from colab_env.errors import PreflightError

    health = check_kernel(arguments.name)
    _shown(health, arguments)
    return 0 if health.ok else PreflightError.exit_code


def _switch(arguments: argparse.Namespace) -> int:
    from colab_env import switching

    plan = switching.planned(arguments.name, default=arguments.default)
    if arguments.json:
        _print_json({"message": plan["message"]})
    elif not arguments.quiet:
        print(plan["message"])
    return 0


def _undo(arguments: argparse.Namespace) -> int:
    from colab_env.undoing import INCOMPLETE, undo

    result = undo(arguments.steps or None, project=arguments.project, dry_run=arguments.dry_run)
    code = _shown(result, arguments)
    return code if result.complete or result.dry_run else INCOMPLETE


def _notebook_set(arguments: argparse.Namespace) -> int:
    from colab_env import notebook

    return _shown(notebook.set_notebook_kernel(arguments.notebook, arguments.kernel), arguments)


def _notebook_check(arguments: argparse.Namespace) -> int:
    from colab_env import notebook

    change = notebook.check_notebook_kernel(arguments.notebook, arguments.kernel)
    _shown(change, arguments)
    return 1 if change.needed else 0


def _notebook_restore(arguments: argparse.Namespace) -> int:
    from colab_env import notebook

    return _shown(notebook.restore_notebook(arguments.notebook), arguments)


def _completion(arguments: argparse.Namespace) -> int:
    from colab_env import completion

    text = completion.script(_parser(), arguments.shell)
    if arguments.json:
        _print_json({"script": text})
    elif not arguments.quiet:
        print(text, end="")
    return 0


def _badge(arguments: argparse.Namespace) -> int:
    from colab_env.open_in_colab import badge

    button = badge(arguments.notebook, repository=arguments.repository, branch=arguments.branch)
    if arguments.json:
        _print_json({"markdown": str(button)})
    elif not arguments.quiet:
        print(button)
    return 0


def _shown(value: Any, arguments: argparse.Namespace) -> int:
    from colab_env import _report

    if arguments.json:
        _print_json(value.as_dict())
    elif not arguments.quiet:
        _report.tell(usage.in_shell(str(value)))
    return 0
