"""Programs of named environments, started from outside: by a shell, a link on PATH, a script's first line, a systemd unit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from colab_env import _files, _process
from colab_env.errors import (
    NoSuchProgramError,
    NotOursError,
    ScriptError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, programs, scripts
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.reports import (
    ExposedProgram,
)
from colab_env.results import short

Base = str | Path | None


def shell(name: str, *, base: Base = None) -> NoReturn:
    """Become the shell that SHELL names, with the environment's programs first on PATH and its name in the prompt.

    Its own settings are read, and `exit` leads back. Raises NoSuchEnvironmentError with near matches.
    """
    machine = Machine.detect()
    env = inventory.find(name, base_dirs.bases(machine, base))
    program = Path(machine.environ.get("SHELL") or "/bin/sh")
    if not os.access(program, os.X_OK):
        msg = f"SHELL names {program}, which cannot be run"
        raise UsageError(msg, hint="set SHELL to a shell, such as /bin/bash")
    directory = env.directory  # read once: the name may stand for another build a moment later
    arguments, environ = programs.shell_start(program.name, machine.environ, directory=directory, name=name)
    _process.become(program, arguments, environ)


def expose(
    name: str, *selected: str, remove: bool = False, directory: str | Path | None = None, base: Base = None
) -> list[ExposedProgram]:
    """Make links to an environment's programs in a directory on PATH, or `remove` them; return one result for each.

    Without `selected` ones, those of the packages that it was made of. The directory is by default /usr/local/bin for root and
    ~/.local/bin for others. A link leads to the name, so `upgrade` and `rollback` count at once. Nobody's file is replaced:
    NotOursError. Raises UsageError for Python itself, which a link would take out of its environment; NoSuchProgramError.
    """
    machine = Machine.detect()
    env = inventory.find(name, base_dirs.bases(machine, base))
    where = _files.named_path(directory).absolute() if directory else programs.link_directory(machine)
    if remove:
        links = [link for link in programs.links(env, where) if not selected or link.name in selected]
        for link in links:
            _files.unlink(link)
        return [ExposedProgram(name=name, program=link.name, link=link, action="removed") for link in links]
    names = selected or tuple(programs.offered(env))
    if not names:
        msg = f"the environment {name!r} has no programs but Python's own"
        raise NoSuchProgramError(msg, hint=f"run Python with colab-env run {name} python")
    for program in names:  # all are checked before the first link is made
        env.program(program)
        _require_free(where / program, env)
    if where != programs.link_directory(machine):
        programs.note_links(env, where)
    on_path = str(where) in machine.environ.get("PATH", "").split(os.pathsep)
    notes, results = () if on_path else (f"{short(where)} is not on PATH",), []
    for program in names:
        link = where / program
        action = "already there" if os.path.lexists(link) else "done"
        if action == "done":
            _files.put_back_link(link, str(env.path / "bin" / program))
        results.append(ExposedProgram(name=name, program=program, link=link, action=action, notes=notes))
    return results


def _require_free(link: Path, env: NamedEnvironment) -> None:
    if programs.is_pythons(link.name):
        msg = f"a link to {link.name} would leave its environment"
        raise UsageError(msg, hint=f"run it with: colab-env run {env.name} {link.name}")
    if os.path.lexists(link) and not programs.leads_to(link, env):
        kind = f"a link to {short(link.readlink())}" if link.is_symlink() else "somebody's own"
        msg = f"{short(link)} is {kind}"
        raise NotOursError(msg, hint="move it away, or name another directory with --dir")


def script(
    file: str | Path,
    *,
    name: str | None = None,
    program: str = "python3",
    one_argument: bool = False,
    base: Base = None,
) -> str:
    """Write the first line that runs a script in the environment `name`, or in that of its PEP 723 block; return it.

    The file becomes executable. With `one_argument` the line also works where `env` knows no `-S`. A line that names an
    environment of the machine's own base says so, that nobody's own one of that name is taken. Raises ScriptError.
    """
    named_base = Path(base) if base else None
    if name is not None:
        env = inventory.find(name, base_dirs.bases(Machine.detect(), base))
        env.program(program)
        named_base = named_base or (env.base if env.base == base_dirs.SYSTEM else None)
    elif scripts.recipe(Path(file)) is None:
        msg = f"{short(file)} has no block `# /// script` (PEP 723) that says what it needs"
        raise ScriptError(msg, hint="add one, or give the name of an environment")
    command = str(scripts.command()) if one_argument else None
    line = scripts.first_line(name, program, command=command, base=named_base)
    scripts.write_first_line(Path(file), line)
    return line


def unit(
    name: str,
    program: str,
    *arguments: str,
    user: str | None = None,
    is_timed: bool = False,
    is_tried: bool = False,
    base: Base = None,
) -> str:
    """Return a hardened systemd service file that runs a program of the environment, as `user` or as nobody else.

    One that `is_timed` is for a timer: it does not start with the machine, and ends. One that `is_tried` is started first, for
    some seconds, by the systemd of this machine, and its file is taken away again. Raises NoSuchProgramError with near
    matches; PreflightError, with what the program printed, for a service that does not run.
    """
    from colab_env.named_env import units

    env = inventory.find(name, base_dirs.bases(Machine.detect(), base))
    env.program(program)
    command, path = scripts.command(), env.path
    text = units.unit_text(
        name=name, program=program, arguments=arguments, path=path, command=command, user=user, is_timed=is_timed
    )
    if is_tried:
        units.try_unit(text, units.unit_name(name, program, arguments), machine=Machine.detect())
    return text


def write_unit(
    directory: str | Path,
    name: str,
    program: str,
    *arguments: str,
    user: str | None = None,
    on_calendar: str | None = None,
    is_tried: bool = False,
    base: Base = None,
) -> list[Path]:
    """Write the service file into a directory, and with `on_calendar`, such as "daily", its timer; return their paths.

    With `is_tried`, only once the service has run, as by `unit`.
    """
    from colab_env.named_env import units

    is_timed, where = on_calendar is not None, _files.named_path(directory).absolute()
    texts = {}
    if on_calendar is not None:
        texts["timer"] = units.timer_text(
            name=name, program=program, arguments=arguments, calendar=on_calendar, machine=Machine.detect()
        )
    stem = units.unit_name(name, program, arguments)
    paths = {suffix: _files.output_path(where / f"{stem}.{suffix}") for suffix in ("service", *texts)}
    # Last: nothing is started for what cannot be written.
    texts["service"] = unit(name, program, *arguments, user=user, is_timed=is_timed, is_tried=is_tried, base=base)
    for suffix, path in paths.items():
        _files.write_text(path, texts[suffix])
    return list(paths.values())
