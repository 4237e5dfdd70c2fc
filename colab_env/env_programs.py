"""The programs of named environments at hand: a shell in one, and links on PATH."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from colab_env import _files, _process, envs
from colab_env.errors import NoSuchProgramError, NotOursError, UsageError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, exposing, inventory
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.named_env.inventory import NamedEnvironment

Base = str | Path | None


@dataclass(frozen=True, kw_only=True)
class ExposedProgram:
    """A link on PATH to a program: `action` is "done", "already there" or "removed"."""

    name: str
    program: str
    link: Path
    action: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what = f"{short(self.link)} → {self.program} of {self.name!r} ({self.action})"
        return "\n  ".join([f"{'-' if self.action == 'removed' else '✓'} {what}", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "link": str(self.link)}


def shell(name: str, *, base: Base = None) -> NoReturn:
    """Become the shell that SHELL names, with the environment's programs first on PATH and its name in the prompt.

    Its own settings are read, and `exit` leads back. Raises NoSuchEnvironmentError with near matches.
    """
    machine = Machine.detect()
    place = inventory.find(name, base_dirs.bases(machine, base))
    program = Path(machine.environ.get("SHELL") or "/bin/sh")
    if not os.access(program, os.X_OK):
        msg = f"SHELL names {program}, which cannot be run"
        raise UsageError(msg, hint="set SHELL to a shell, such as /bin/bash")
    environ = envs.environ(name, base=place.base)
    arguments = exposing.shell_arguments(program.name, directory=Path(environ["VIRTUAL_ENV"]), name=name)
    _process.become(program, arguments, environ)


def expose(
    name: str, *programs: str, remove: bool = False, directory: str | Path | None = None, base: Base = None
) -> list[ExposedProgram]:
    """Make links to an environment's programs in a directory on PATH, or `remove` them; return one result for each.

    Without `programs`, those of the packages that it was made of. The directory is by default /usr/local/bin for root and
    ~/.local/bin for others. A link leads to the name, so `upgrade` and `rollback` count at once. Nobody's file is replaced:
    NotOursError. Raises UsageError for Python itself, which a link would take out of its environment; NoSuchProgramError.
    """
    machine = Machine.detect()
    place = inventory.find(name, base_dirs.bases(machine, base))
    where = _files.named_path(directory).absolute() if directory else exposing.directory(machine)
    if remove:
        links = [each for each in exposing.links(place, where) if not programs or each.name in programs]
        for link in links:
            _files.unlink(link)
        return [ExposedProgram(name=name, program=each.name, link=each, action="removed") for each in links]
    wanted = programs or exposing.offered(place)
    if not wanted:
        msg = f"the environment {name!r} has no programs but Python's own"
        raise NoSuchProgramError(msg, hint=f"run Python with colab-env run {name} python")
    for program in wanted:
        place.program(program)
        _require_free(where / program, place, program)
    on_path = str(where) in machine.environ.get("PATH", "").split(os.pathsep)
    notes = () if on_path else (f"{short(where)} is not on PATH",)
    return [_link(where / program, place, program, notes=notes) for program in wanted]


def _require_free(link: Path, place: NamedEnvironment, program: str) -> None:
    if exposing.is_pythons(program):
        msg = f"a link to {program} would leave its environment"
        raise UsageError(msg, hint=f"run it with: colab-env run {place.name} {program}")
    if os.path.lexists(link) and not exposing.leads_to(link, place):
        kind = f"a link to {short(link.readlink())}" if link.is_symlink() else "somebody's own"
        msg = f"{short(link)} is {kind}"
        raise NotOursError(msg, hint="move it away, or name another directory with --dir")


def _link(link: Path, place: NamedEnvironment, program: str, *, notes: tuple[str, ...]) -> ExposedProgram:
    is_there = os.path.lexists(link)
    if not is_there:
        _files.put_back_link(link, str(place.path / "bin" / program))
    action = "already there" if is_there else "done"
    return ExposedProgram(name=place.name, program=program, link=link, action=action, notes=notes)
