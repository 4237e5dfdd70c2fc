"""Links on PATH to programs of environments, and the words that start a shell in one."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import content

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment

_PYTHONS = re.compile(r"(?:python|pip|pydoc|idle)[0-9.]*|activate.*|Activate.*|deactivate.*")


def directory(machine: Machine) -> Path:
    """Return where links go: a directory on PATH that no package manager of the machine uses."""
    return Path("/usr/local/bin") if os.geteuid() == 0 else machine.home / ".local/bin"


def is_pythons(program: str) -> bool:
    """Say whether a program is Python's own: it would not find its environment, or act on it, through a link."""
    return _PYTHONS.fullmatch(program) is not None


def leads_to(link: Path, place: NamedEnvironment) -> bool:
    """Say whether a link leads to the program of its name in an environment, whether that is there or not."""
    try:
        return os.readlink(link) == str(place.path / "bin" / link.name)  # noqa: PTH115  (its text)
    except OSError:
        return False


def links(place: NamedEnvironment, where: Path) -> list[Path]:
    """Return the links in a directory that lead to an environment's programs."""
    return sorted(path for path in where.iterdir() if leads_to(path, place)) if where.is_dir() else []


def offered(place: NamedEnvironment) -> list[str]:
    """Return the programs of the packages that an environment was made of by name; where there are none, of all."""
    receipt = place.receipt
    names = {name for each in (*receipt.recipe.packages, *receipt.added) if (name := _name(each))} if receipt else set()
    own = {info: _programs(info) for info in place.directory.glob("lib/python3*/site-packages/*.dist-info")}
    asked = [program for info, programs in own.items() if content.name_of(info.name) in names for program in programs]
    every = [program for programs in own.values() for program in programs]
    there = set(place.programs())
    return sorted({each for each in asked or every if each in there and not is_pythons(each)})


def shell_arguments(shell: str, *, directory: Path, name: str) -> list[str]:
    """Return the arguments with which a shell has an environment's programs first, whatever its own settings do to PATH."""
    commands = shlex.quote(str(directory / "bin"))
    if shell == "bash":
        lines = ["[ ! -r ~/.bashrc ] || . ~/.bashrc", f"PATH={commands}:$PATH", f'PS1="({name}) ${{PS1-}}"', "hash -r"]
        return ["--rcfile", f"/dev/fd/{_readable(lines)}", "-i"]
    if shell == "fish":
        return ["--init-command", f"set -gx PATH {commands} $PATH"]
    return ["-i"]


def _readable(lines: list[str]) -> int:
    """Return a descriptor that the next program reads these lines from."""
    reader, writer = os.pipe()
    os.write(writer, "".join(f"{line}\n" for line in lines).encode())  # less than a pipe holds
    os.close(writer)
    fcntl.fcntl(reader, fcntl.F_SETFD, 0)
    return reader


def _programs(info: Path) -> list[str]:
    import csv

    try:
        rows = list(csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [os.path.basename(row[0]) for row in rows if row and re.fullmatch(r"(?:\.\./)+bin/[^/]+", row[0])]  # noqa: PTH119


def _name(requirement: str) -> str | None:
    from packaging.utils import canonicalize_name

    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", os.path.basename(requirement))  # noqa: PTH119
    return canonicalize_name(re.sub(r"-\d.*\.whl$", "", found[0])) if found else None
