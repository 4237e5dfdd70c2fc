"""The commands of the steps, and of `plan`, with their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

    Command = Callable[..., Any]


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add the steps and `plan`; `command` makes a parser, `shown` prints a value."""

    def add(name: str, text: str, do: Command, *, example: str) -> argparse.ArgumentParser:
        def run(arguments: argparse.Namespace) -> int:
            value = do(arguments)
            return 0 if value is None else int(shown(value, arguments))

        parser: argparse.ArgumentParser = command(commands, name, text, run, example=f"colab-env {example}")
        return parser

    _add_steps(add)
    _add_plan(add)


def _add_steps(add: Command) -> None:
    setup = add(
        "setup",
        "do all steps in order, skipping what is fine",
        _setup,
        example="setup --python 3.12",
    )
    _python_options(setup)
    help_text = "install conda from this file, not from the pinned one; with --conda-sha256"
    setup.add_argument("--conda-installer", metavar="URL", help=help_text)
    setup.add_argument("--conda-sha256", metavar="HEX", help="its checksum")
    setup.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    setup.add_argument("--kernel", metavar="NAME", help="the kernel's name (default: such as py312)")
    setup.add_argument("--poetry-version", metavar="VERSION", help="the Poetry to install (default: a tested one)")
    setup.add_argument("--cache", metavar="DIR", help="look for a snapshot there, and save one (see docs/snapshots.md)")
    help_text = "the name or SHA-256 of a snapshot to take there although no key of yours signed it"
    setup.add_argument("--trust", metavar="SNAPSHOT", help=help_text)
    _view_option(setup)
    _lock_options(setup)
    _installer_option(setup)
    python = add(
        "install-python", "choose a Python, and install it if need be", _install_python,
        example="install-python --python '>=3.11,<3.13' --interpreter uv",
    )  # fmt: skip
    _python_options(python)
    python.add_argument(
        "--project", default=".", metavar="DIR", help="the project whose pyproject.toml says which Python"
    )
    conda = add(
        "install-miniconda", "install Miniconda or Miniforge", _install_miniconda,
        example="install-miniconda --python 3.12 --prefix /opt/conda",
    )  # fmt: skip
    _conda_options(conda)
    packages = add(
        "install-colab-packages",
        "install what a kernel needs",
        _install_colab_packages,
        example="install-colab-packages",
    )
    packages.add_argument("--channel", action="append", metavar="NAME", help="a conda channel (default: conda-forge)")
    poetry = add(
        "install-poetry",
        "install Poetry",
        _install_poetry,
        example="install-poetry --version 2.5.1",
    )
    poetry.add_argument("--version", metavar="VERSION", help="default: a tested one")
    venv = add(
        "configure-venv", "make the project's .venv and install what its lock file says", _configure_venv,
        example="configure-venv ~/lesson --python 3.12",
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
    parser.add_argument("--extra", action="append", metavar="NAME", help="an extra; may be repeated")
    help_text = "a dependency group, exactly these; may be repeated (default: those that the lock file's tool takes)"
    parser.add_argument("--group", action="append", metavar="NAME", help=help_text)
    parser.add_argument("--no-groups", dest="group", action="store_const", const=[], help="only the main dependencies")
    help_text = "use the machine's own build of a package, such as torch, and of what it needs; may be repeated"
    parser.add_argument("--keep", action="append", metavar="PACKAGE", help=help_text)
    help_text = "forget the options that the environment was made with; else they count until others are given"
    parser.add_argument("--defaults", action="store_true", help=help_text)


def _installer_option(parser: argparse.ArgumentParser) -> None:
    help_text = "remove what was installed into .venv by hand (default: it stays, and is named)"
    parser.add_argument("--exact", action="store_true", help=help_text)
    parser.add_argument("--installer", choices=("uv", "poetry"), help="default: uv where it can be had")


def _python_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", metavar="SPEC", help="3.12, '>=3.11,<3.13', or a path with --interpreter system")
    # Which sources there are, the library says: it finds them.
    help_text = (
        "where it comes from, such as uv, miniforge or system (default: auto, miniconda on Colab and system elsewhere)"
    )
    parser.add_argument("--interpreter", default="auto", metavar="SOURCE", help=help_text)
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
        "--system-site-packages",
        action=argparse.BooleanOptionalAction,
        help="see the interpreter's own packages, or hide them (default: see them)",
    )


def _add_plan(add: Command) -> None:
    plan = add(
        "plan",
        "say what a set-up would bring, hide and clash with; nothing is changed",
        _plan,
        example="plan --python 3.12 --keep torch",
    )
    _python_options(plan)
    plan.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    _view_option(plan)
    _lock_options(plan)


def _setup(arguments: argparse.Namespace) -> Any:
    from colab_env import setting_up

    result = setting_up.setup(
        arguments.python,
        interpreter=arguments.interpreter,
        project=arguments.project,
        kernel=arguments.kernel,
        prefix=arguments.prefix,
        conda_installer=arguments.conda_installer,
        conda_sha256=arguments.conda_sha256,
        poetry_version=arguments.poetry_version,
        system_site_packages=arguments.system_site_packages,
        **_wish(arguments),
        installer=arguments.installer,
        exact=arguments.exact,
        cache=arguments.cache,
        trust=arguments.trust,
    )
    return result if arguments.json else repr(result).splitlines()[-1]


def _install_python(arguments: argparse.Namespace) -> Any:
    from colab_env import steps

    options = {key: getattr(arguments, key) for key in ("interpreter", "project", "prefix")}
    return _result(steps.install_python(arguments.python, **options), arguments)


def _install_miniconda(arguments: argparse.Namespace) -> Any:
    from colab_env import steps

    options = {key: getattr(arguments, key) for key in ("prefix", "distribution", "installer", "sha256", "mirror")}
    return _result(steps.install_miniconda(arguments.python, **options), arguments)


def _install_colab_packages(arguments: argparse.Namespace) -> Any:
    from colab_env import steps

    return _result(steps.install_colab_packages(channels=arguments.channel or ("conda-forge",)), arguments)


def _install_poetry(arguments: argparse.Namespace) -> Any:
    from colab_env import steps

    return _result(steps.install_poetry(version=arguments.version), arguments)


def _configure_venv(arguments: argparse.Namespace) -> Any:
    from colab_env import steps

    options = {key: getattr(arguments, key) for key in ("python", "system_site_packages")}
    wish = {**_wish(arguments), "installer": arguments.installer, "exact": arguments.exact}
    return _result(steps.configure_venv(arguments.project, **options, **wish), arguments)


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "lock": arguments.lock,
        "extras": arguments.extra,
        "groups": arguments.group,
        "keep": arguments.keep,
        "defaults": arguments.defaults,
    }


def _plan(arguments: argparse.Namespace) -> Any:
    from colab_env import planning

    options = {key: getattr(arguments, key) for key in ("interpreter", "project", "prefix", "system_site_packages")}
    return planning.plan(arguments.python, **options, **_wish(arguments))


def _result(result: Any, arguments: argparse.Namespace) -> Any:
    # Without --json the screen has shown the step's line already.
    return result if arguments.json else None
