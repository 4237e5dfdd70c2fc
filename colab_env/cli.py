"""The command `colab-env`: reads arguments, calls the public functions, prints, and chooses the exit code."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

from colab_env import env_cli

_EPILOG = """\
examples:
  colab-env setup --python 3.12                 everything, in this directory
  colab-env setup --interpreter uv --kernel lab a small Python instead of Miniconda
  colab-env setup --lock requirements.txt       the packages of another lock file
  colab-env plan --keep torch                   what it would bring, hide and clash with
  colab-env status                              what is there, and whether it is healthy
  colab-env notebook set-kernel lesson.ipynb py312
  colab-env COMMAND --help                      what COMMAND takes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or the code of the error's class (see `colab_env.errors`)."""
    own, rest = env_cli.divided(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(own)
    arguments.rest = rest
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✓ gets a question mark
    from colab_env.errors import ColabEnvError

    try:
        return _in_screen(arguments)
    except ColabEnvError as error:
        _show_error(error, arguments)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; what was there before is still there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _in_screen(arguments: argparse.Namespace) -> int:
    from colab_env import _report

    quiet = arguments.quiet or arguments.json
    with _report.screen(_report.Silent() if quiet else _report.choose_screen(keep_to=sys.stdout)):
        code: int = arguments.run(arguments)
    return code


def _show_error(error: Any, arguments: argparse.Namespace) -> None:
    if arguments.json:
        _print_json({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    else:
        print(f"colab-env: {error}", file=sys.stderr)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="colab-env",
        description="Give a notebook its own Python and its own locked packages, as a real kernel.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_steps(commands)
    _add_plan(commands)
    _add_status(commands)
    _add_cache(commands)
    _add_kernel(commands)
    _add_switch(commands)
    _add_notebook(commands)
    _add_badge(commands)
    env_cli.add_commands(commands, _command, shown=_shown)
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


def _command(group: Any, name: str, text: str, run: Callable[[argparse.Namespace], int], *, example: str) -> Any:
    parser = group.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value, for programs")
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)
    return parser


def _add_steps(commands: Any) -> None:
    setup = _command(
        commands,
        "setup",
        "do all steps in order, skipping what is fine",
        _setup,
        example="colab-env setup --python 3.12",
    )
    _python_options(setup)
    setup.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    setup.add_argument("--kernel", metavar="NAME", help="the kernel's name (default: such as py312)")
    setup.add_argument("--poetry-version", metavar="VERSION", help="the Poetry to install (default: a tested one)")
    setup.add_argument("--cache", metavar="DIR", help="look for a snapshot there, and save one (see docs/snapshots.md)")
    _view_option(setup)
    _lock_options(setup)
    _installer_option(setup)
    python = _command(
        commands, "install-python", "choose a Python, and install it if need be", _install_python,
        example="colab-env install-python --python '>=3.11,<3.13' --interpreter uv",
    )  # fmt: skip
    _python_options(python)
    python.add_argument(
        "--project", default=".", metavar="DIR", help="the project whose pyproject.toml says which Python"
    )
    conda = _command(
        commands, "install-miniconda", "install Miniconda or Miniforge", _install_miniconda,
        example="colab-env install-miniconda --python 3.12 --prefix /opt/conda",
    )  # fmt: skip
    _conda_options(conda)
    packages = _command(
        commands,
        "install-colab-packages",
        "install what a kernel needs",
        _install_colab_packages,
        example="colab-env install-colab-packages",
    )
    packages.add_argument("--channel", action="append", metavar="NAME", help="a conda channel (default: conda-forge)")
    poetry = _command(
        commands,
        "install-poetry",
        "install Poetry",
        _install_poetry,
        example="colab-env install-poetry --version 2.5.1",
    )
    poetry.add_argument("--version", metavar="VERSION", help="default: a tested one")
    venv = _command(
        commands, "configure-venv", "make the project's .venv and install what its lock file says", _configure_venv,
        example="colab-env configure-venv ~/lesson --python 3.12",
    )  # fmt: skip
    venv.add_argument("project", nargs="?", default=".", metavar="DIR")
    venv.add_argument("--python", metavar="SPEC", help="a version or a path (default: the one chosen last)")
    _view_option(venv)
    _lock_options(venv)
    _installer_option(venv)


def _lock_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock",
        metavar="FILE",
        help="such as requirements.txt, environment.yml or script.py (default: the one that is there)",
    )
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help="an extra; may be repeated")
    told = "a dependency group, exactly these; may be repeated (default: those that the lock file's tool takes)"
    parser.add_argument("--group", action="append", metavar="NAME", help=told)
    parser.add_argument("--no-groups", dest="group", action="store_const", const=[], help="only the main dependencies")
    told = "use the machine's own build of a package, such as torch, and of what it needs; may be repeated"
    parser.add_argument("--keep", action="append", default=[], metavar="PACKAGE", help=told)


def _installer_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--installer", choices=("uv", "poetry"), help="default: uv where it can be had")


def _python_options(parser: argparse.ArgumentParser) -> None:
    sources = ("auto", "miniconda", "miniforge", "uv", "system")
    parser.add_argument("--python", metavar="SPEC", help="3.12, '>=3.11,<3.13', or a path with --interpreter system")
    told = "auto: miniconda on Colab, system elsewhere"
    parser.add_argument("--interpreter", choices=sources, default="auto", help=told)
    parser.add_argument(
        "--prefix", default="/usr/local", metavar="DIR", help="where Miniconda goes (default: /usr/local)"
    )


def _conda_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", metavar="SPEC", help="the Python it comes with, such as 3.12")
    parser.add_argument("--prefix", default="/usr/local", metavar="DIR", help="default: /usr/local")
    parser.add_argument("--distribution", choices=("miniconda", "miniforge"), default="miniconda")
    parser.add_argument("--installer", metavar="URL", help="an installer of your own")
    parser.add_argument("--sha256", metavar="HEX", help="its checksum")
    parser.add_argument("--mirror", metavar="URL", help="a directory that has the published installers")


def _view_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-system-site-packages",
        dest="system_site_packages",
        action="store_false",
        help="hide the interpreter's own packages",
    )


def _add_plan(commands: Any) -> None:
    plan = _command(
        commands,
        "plan",
        "say what a set-up would bring, hide and clash with; nothing is changed",
        _plan,
        example="colab-env plan --python 3.12 --keep torch",
    )
    _python_options(plan)
    plan.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    _view_option(plan)
    _lock_options(plan)


def _add_status(commands: Any) -> None:
    status = _command(
        commands, "status", "show what is there and whether it is healthy", _status, example="colab-env status --json"
    )
    status.add_argument("--project", default=".", metavar="DIR")


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
    group = commands.add_parser("cache", help="list, prune or verify saved snapshots")
    caches = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb, text, run in (
        ("list", "list the snapshots, and which of them fit this machine", _cache_list),
        ("prune", "delete what killed saves left, and snapshots that are not wanted", _cache_prune),
        ("verify", "read every snapshot to its end and compare its checksum", _cache_verify),
    ):
        parser = _command(caches, verb, text, run, example=f"colab-env cache {verb} /content/drive/MyDrive/envs")
        parser.add_argument("directory", metavar="DIR")
        if verb == "prune":
            parser.add_argument("--keep", type=int, metavar="N", help="keep the newest N only")
            parser.add_argument("--older-than", type=float, metavar="DAYS", help="delete what is older")
            parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would be")


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
    for verb, text, run in (
        ("remove", "take away a kernel that colab-env registered", _kernel_remove),
        ("check", "start a registered kernel and ask whether it answers", _kernel_check),
    ):
        _command(kernels, verb, text, run, example=f"colab-env kernel {verb} py312").add_argument(
            "name", metavar="NAME"
        )


def _add_switch(commands: Any) -> None:
    switch = _command(
        commands,
        "switch",
        "let Colab's next restart come up on a kernel, or without NAME on its own again",
        _switch,
        example="colab-env switch py312",
    )
    switch.add_argument("name", nargs="?", metavar="NAME")
    undo = _command(
        commands,
        "undo",
        "take back what colab-env changed on this machine",
        _undo,
        example="colab-env undo --dry-run",
    )
    undo.add_argument("steps", nargs="*", metavar="STEP", help="such as register_kernel (default: everything)")
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


def _result(result: Any, arguments: argparse.Namespace) -> int:
    # Without --json the screen has shown the step's line already.
    if arguments.json:
        _print_json(result.as_dict())
    return 0


def _setup(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    result = steps.setup(
        arguments.python,
        interpreter=arguments.interpreter,
        project=arguments.project,
        kernel=arguments.kernel,
        prefix=arguments.prefix,
        poetry_version=arguments.poetry_version,
        system_site_packages=arguments.system_site_packages,
        **_wish(arguments),
        installer=arguments.installer,
        cache=arguments.cache,
    )
    if not arguments.json and not arguments.quiet:
        print(repr(result).splitlines()[-1])
    return _result(result, arguments)


def _install_python(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    named = {key: getattr(arguments, key) for key in ("interpreter", "project", "prefix")}
    return _result(steps.install_python(arguments.python, **named), arguments)


def _install_miniconda(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    named = {key: getattr(arguments, key) for key in ("prefix", "distribution", "installer", "sha256", "mirror")}
    return _result(steps.install_miniconda(arguments.python, **named), arguments)


def _install_colab_packages(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    return _result(steps.install_colab_packages(channels=arguments.channel or ("conda-forge",)), arguments)


def _install_poetry(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    return _result(steps.install_poetry(version=arguments.version), arguments)


def _configure_venv(arguments: argparse.Namespace) -> int:
    from colab_env import steps

    named = {key: getattr(arguments, key) for key in ("python", "system_site_packages")}
    wish = {**_wish(arguments), "installer": arguments.installer}
    return _result(steps.configure_venv(arguments.project, **named, **wish), arguments)


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "lock": arguments.lock,
        "extras": arguments.extra,
        "groups": arguments.group,
        "keep": arguments.keep,
    }


def _plan(arguments: argparse.Namespace) -> int:
    from colab_env import planning

    named = {key: getattr(arguments, key) for key in ("interpreter", "project", "prefix", "system_site_packages")}
    return _shown(planning.plan(arguments.python, **named, **_wish(arguments)), arguments)


def _status(arguments: argparse.Namespace) -> int:
    from colab_env import diagnose

    return _shown(diagnose.status(arguments.project), arguments)


def _save(arguments: argparse.Namespace) -> int:
    from colab_env import snapshots

    return _shown(snapshots.save(arguments.directory, project=arguments.project), arguments)


def _cache_list(arguments: argparse.Namespace) -> int:
    from colab_env import snapshots

    return _shown(snapshots.cache_list(arguments.directory), arguments)


def _cache_prune(arguments: argparse.Namespace) -> int:
    from colab_env import snapshots

    named = {key: getattr(arguments, key) for key in ("keep", "older_than", "dry_run")}
    return _shown(snapshots.cache_prune(arguments.directory, **named), arguments)


def _cache_verify(arguments: argparse.Namespace) -> int:
    from colab_env import snapshots
    from colab_env.errors import SnapshotError

    listing = snapshots.cache_verify(arguments.directory)
    _shown(listing, arguments)
    return 0 if listing.ok else SnapshotError.exit_code


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

    plan = switching.planned(arguments.name)
    if arguments.json:
        _print_json({"message": plan["message"]})
    elif not arguments.quiet:
        print(plan["message"])
    return 0


def _undo(arguments: argparse.Namespace) -> int:
    from colab_env.undoing import undo

    return _shown(undo(arguments.steps or None, dry_run=arguments.dry_run), arguments)


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


def _badge(arguments: argparse.Namespace) -> int:
    from colab_env.open_in_colab import badge

    button = badge(arguments.notebook, repository=arguments.repository, branch=arguments.branch)
    if arguments.json:
        _print_json({"markdown": str(button)})
    elif not arguments.quiet:
        print(button)
    return 0


def _shown(value: Any, arguments: argparse.Namespace) -> int:
    if arguments.json:
        _print_json(value.as_dict())
    elif not arguments.quiet:
        print(value)
    return 0
