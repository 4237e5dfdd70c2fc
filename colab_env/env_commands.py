"""What the commands about named environments do: each calls a public function, and returns what is to be shown, or None."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any


class _Lines(list["Any"]):
    """Values that are shown one on a line, or `empty`."""

    def __init__(self, values: Sequence[Any], empty: str = "there are no environments", *, exit_code: int = 0) -> None:
        super().__init__(values)
        self._empty = empty
        self.exit_code = exit_code

    def __str__(self) -> str:
        return "\n".join(map(repr, self)) or self._empty

    def as_dict(self) -> list[dict[str, Any]]:
        return [value.as_dict() for value in self]


class _Text(str):
    __slots__ = ()

    def as_dict(self) -> str:
        return str(self)


def printable(value: Any) -> Any:
    """Return what a command gave as something that can be shown: a list as lines, with the exit code of its first error."""
    if not isinstance(value, list) or isinstance(value, _Lines):
        return value
    errors = [error for result in value if (error := getattr(result, "error", None))]
    return _Lines(value, empty="nothing to do", exit_code=errors[0].exit_code if errors else 0)


def create(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    passed_on = ("python", "project", "requirements", "wheels", "system_site_packages", "kernel", "keep", "base")
    options = {key: getattr(arguments, key) for key in passed_on}
    return _result(envs.create(arguments.name, *arguments.packages, **options), arguments)


def list_environments(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Lines(envs.list_environments(base=arguments.base, measure=arguments.sizes))


def path(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Text(envs.path(arguments.name, base=arguments.base))


def which(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Text(envs.which(arguments.name, arguments.program, base=arguments.base))


def run(arguments: argparse.Namespace) -> Any:
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


def purge(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    options = {key: getattr(arguments, key) for key in ("force", "if_exists", "base")}
    return _Lines(envs.purge(*arguments.names, **options)) or _Text("nothing to remove")


def adopt(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    result = envs.adopt(arguments.name, arguments.directory, force=arguments.force, base=arguments.base)
    return _result(result, arguments)


def rename(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    result = envs.rename(arguments.name, arguments.new_name, force=arguments.force, base=arguments.base)
    return _result(result, arguments)


def upgrade(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import UsageError

    if arguments.all is not (arguments.name is None):
        msg = "one NAME is needed, or --all"
        raise UsageError(msg, hint="colab-env env upgrade NAME")
    if arguments.all:
        if arguments.python or arguments.keep is not None:
            msg = "--python and --keep are for one NAME"
            raise UsageError(msg, hint="say which environment is meant")
        results = envs.upgrade_all(dry_run=arguments.dry_run, base=arguments.base)
        # Without --json the screen has shown the lines of those that did not fail.
        return results if arguments.json else [result for result in results if result.error] or None
    options = {key: getattr(arguments, key) for key in ("python", "keep", "dry_run", "base")}
    return _result(envs.upgrade(arguments.name, **options), arguments)


def check(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import DamagedError

    results = envs.check(*arguments.names, deep=arguments.deep, repair=arguments.repair, base=arguments.base)
    return _Lines(results, exit_code=DamagedError.exit_code if any(result.problems for result in results) else 0)


def history(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _Lines(envs.history(arguments.name, base=arguments.base))


def rollback(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    return _result(envs.rollback(arguments.name, arguments.number, base=arguments.base), arguments)


def diff(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    changes = envs.diff(arguments.name, arguments.first, arguments.second, base=arguments.base)
    return _Lines(changes, empty="no versions differ")


def script(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    options = {key: getattr(arguments, key) for key in ("name", "program", "base")}
    return _Text(envs.script(arguments.file, one_argument=arguments.one_argument, **options))


def unit(arguments: argparse.Namespace) -> Any:
    from colab_env import envs
    from colab_env.errors import UsageError

    options = {key: getattr(arguments, key) for key in ("user", "is_tried", "base")}
    words = (arguments.name, arguments.program, *arguments.rest)
    if arguments.output:
        written = envs.write_unit(arguments.output, *words, on_calendar=arguments.on_calendar, **options)
        return _Text("\n".join(map(str, written)))
    if arguments.on_calendar:
        msg = "a timer is a second file"
        raise UsageError(msg, hint="say where both go: colab-env unit --on-calendar daily --output DIR ...")
    return _Text(envs.unit(*words, **options))


def export(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    return env_files.export(arguments.name, arguments.output, base=arguments.base)


def import_environment(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    result = env_files.import_environment(arguments.file, name=arguments.name, base=arguments.base)
    return _result(result, arguments)


def sync(arguments: argparse.Namespace) -> Any:
    from colab_env import env_files

    options = {key: getattr(arguments, key) for key in ("prune", "dry_run", "base")}
    return env_files.sync(arguments.file, **options)


def shell(arguments: argparse.Namespace) -> Any:
    from colab_env import env_programs

    env_programs.shell(arguments.name, base=arguments.base)


def add(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    result = envs.add(arguments.name, *arguments.packages, base=arguments.base)
    return _result(result, arguments)


def expose(arguments: argparse.Namespace) -> Any:
    from colab_env import env_programs

    options = {key: getattr(arguments, key) for key in ("remove", "directory", "base")}
    return env_programs.expose(arguments.name, *arguments.programs, **options)


def prune(arguments: argparse.Namespace) -> Any:
    from colab_env import envs

    options = {key: getattr(arguments, key) for key in ("older_than", "dry_run", "base")}
    return envs.prune(**options)


def _result(result: Any, arguments: argparse.Namespace) -> Any:
    # Without --json the screen has shown the step's line already.
    return result if arguments.json else None
