"""Programs of named environments: which run now, read from /proc, which links on PATH lead to them, how a shell starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _report, content
from colab_env.errors import EnvironmentInUseError, NotWritableError
from colab_env.named_env.inventory import BUILDS
from colab_env.named_env.reports import Process

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment

_LINKS = ".links"  # in a base: for each environment, which directories have links to its programs
_SHOWN = 4  # processes that a message names
_ZSH_FILES = Path(__file__).parents[1] / "zsh"
_PYTHONS = re.compile(r"(?:python|pip|pydoc|idle)[0-9.]*|activate.*|Activate.*|deactivate.*")


def users(bases: Iterable[Path]) -> Mapping[Path, list[Process]]:
    """Return the processes that use each environment in the bases, by the directory of the build, or by the name.

    A process does when its program, its directory or a file that it has mapped lies there, or when its first two
    words or its VIRTUAL_ENV name it: the Python of an environment is a link, so its program may lie elsewhere. Whose own
    the base is not, to him it is no more than a directory that he is in. Processes of other people are seen by root only.
    """
    processes: dict[Path, list[Process]] = {}
    bases = tuple(bases)
    spellings = {os.fsencode(path): base for base in bases for path in (base.resolve(), base)}
    within = rb")/(" + re.escape(os.fsencode(BUILDS)) + rb"/[^/\0\n]+/[0-9]+|[^/\0\n]+)"
    pattern = re.compile(rb"(?:^|[\0\n ])(" + b"|".join(map(re.escape, spellings)) + within)
    owners = _owners(bases)
    for entry in Path("/proc").iterdir() if spellings else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        traces = b"\n".join(_traces(entry, is_own=_uid(entry) in owners))
        # The pattern looks at each byte of a megabyte of maps; most processes have nothing to do with any base.
        matches = pattern.finditer(traces) if any(spelling in traces for spelling in spellings) else ()
        for directory in {spellings[match[1]] / os.fsdecode(match[2]) for match in matches}:
            processes.setdefault(directory, []).append(_process(entry))
    return processes


def of(env: NamedEnvironment, used: Mapping[Path, list[Process]]) -> list[Process]:
    """Return those of the `users` that use one environment, whatever build of it."""
    directories = (path for path in used if path == env.path or path.parent == env.builds)
    return sorted({process for path in directories for process in used[path]}, key=lambda process: process.pid)


def require_unused(env: NamedEnvironment) -> None:
    """Raise EnvironmentInUseError, naming the processes, while programs of those who may change it run from it.

    Nobody else can keep an environment from its owner.
    """
    owners = _owners([env.base])
    running = [process for process in of(env, users([env.base])) if process.uid in owners]
    if not running:
        return
    listed = "; ".join(f"{process.pid} {process.command}" for process in running[:_SHOWN])
    more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
    msg = f"the environment {env.name!r} is in use by {listed}{more}"
    raise EnvironmentInUseError(msg, hint="end these first, or use force; nothing was changed")


def _owners(bases: Iterable[Path]) -> set[int]:
    return {0, os.geteuid(), *(base.stat().st_uid for base in bases if base.is_dir())}


def _uid(entry: Path) -> int:
    try:
        return entry.stat().st_uid
    except OSError:
        return -1


def _traces(entry: Path, *, is_own: bool = True) -> Iterator[bytes]:
    # Any of these may be forbidden, or gone with the process.
    try:
        yield os.fsencode((entry / "exe").readlink())
    except FileNotFoundError:
        return  # a thread of the kernel, or one that has ended
    except OSError:
        pass
    with contextlib.suppress(OSError):
        if is_own:
            yield os.fsencode((entry / "cwd").readlink())
    with contextlib.suppress(OSError):
        yield b"\0".join(word for word in (entry / "cmdline").read_bytes().split(b"\0")[:2] if b"/bin/" in word)
    with contextlib.suppress(OSError):
        words = (entry / "environ").read_bytes().split(b"\0")
        yield from (word.partition(b"=")[2] for word in words if word.startswith(b"VIRTUAL_ENV="))
    with contextlib.suppress(OSError):
        yield (entry / "maps").read_bytes()


def _process(entry: Path) -> Process:
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []
    return Process(pid=int(entry.name), command=_report.clean(" ".join(words).strip())[:60], uid=_uid(entry))


def link_directory(machine: Machine) -> Path:
    """Return where links go: a directory on PATH that no package manager of the machine uses."""
    return Path("/usr/local/bin") if os.geteuid() == 0 else machine.home / ".local/bin"


def is_pythons(program: str) -> bool:
    """Say whether a program is Python's own: it would not find its environment, or act on it, through a link."""
    return _PYTHONS.fullmatch(program) is not None


def leads_to(link: Path, env: NamedEnvironment) -> bool:
    """Say whether a link leads to the program of its name in an environment, whether that is there or not."""
    try:
        return os.readlink(link) == str(env.path / "bin" / link.name)  # noqa: PTH115  (its text)
    except OSError:
        return False


def links(env: NamedEnvironment, where: Path) -> list[Path]:
    """Return the links in a directory that lead to an environment's programs."""
    return sorted(path for path in where.iterdir() if leads_to(path, env)) if where.is_dir() else []


def every_link(env: NamedEnvironment, machine: Machine) -> list[Path]:
    """Return the links to an environment's programs, wherever `expose` has made them."""
    noted = (Path(os.fsdecode(path)) for path in (_files.content(_note(env)) or b"").split(b"\0") if path)
    return [link for where in dict.fromkeys((link_directory(machine), *noted)) for link in links(env, where)]


def note_links(env: NamedEnvironment, where: Path) -> None:
    """Write down that a directory has links to an environment's programs, if this account may."""
    noted = _files.content(_note(env)) or b""
    if os.fsencode(where) not in noted.split(b"\0"):
        with contextlib.suppress(NotWritableError):
            _files.write_bytes(_note(env), noted + os.fsencode(where) + b"\0")


def _note(env: NamedEnvironment) -> Path:
    return env.base / _LINKS / env.name


def forget_links(env: NamedEnvironment, *, heir: NamedEnvironment | None = None) -> None:
    """Delete what `note_links` wrote down, or hand it on."""
    if os.path.lexists(_note(env)):
        if heir is not None:
            _files.write_bytes(_note(heir), _files.content(_note(env)) or b"")
        _files.unlink(_note(env))
        _files.remove_if_empty(_note(env).parent)


def offered(env: NamedEnvironment) -> list[str]:
    """Return the programs of the packages that an environment was made of by name; where there are none, of all."""
    receipt = env.receipt
    requirements = (*receipt.recipe.packages, *receipt.added) if receipt else ()
    names = {name for requirement in requirements if (name := _name(requirement))}
    present = {program for program in env.programs() if not is_pythons(program)}
    infos = env.directory.glob("lib/python3*/site-packages/*.dist-info")
    by_distribution = {info: present.intersection(_programs(info)) for info in infos}
    requested = (programs for info, programs in by_distribution.items() if content.name_of(info.name) in names)
    return sorted(set().union(*requested) or set().union(*by_distribution.values()))


def shell_start(
    shell: str, environ: Mapping[str, str], *, directory: Path, name: str
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and variables with which a shell has a build's programs first, whatever its settings do to PATH."""
    activated = activated_environ(directory, name, environ)
    commands = shlex.quote(str(directory / "bin"))
    if shell == "bash":
        lines = ["[ ! -r ~/.bashrc ] || . ~/.bashrc", f"PATH={commands}:$PATH", f'PS1="({name}) ${{PS1-}}"', "hash -r"]
        return ["--rcfile", f"/dev/fd/{_readable(lines)}", "-i"], activated
    if shell == "fish":
        return ["--init-command", f"set -gx PATH {commands} $PATH"], activated
    if shell == "zsh":  # it takes no file in the place of .zshrc, but another directory for all of them
        variables = {"COLAB_ENV_ZDOTDIR": environ.get("ZDOTDIR", ""), "ZDOTDIR": str(_ZSH_FILES)}
        return ["-i"], {**activated, **variables}
    return ["-i"], activated


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

    name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", os.path.basename(requirement))  # noqa: PTH119
    return canonicalize_name(re.sub(r"-\d.*\.whl$", "", name[0])) if name else None


def activated_environ(
    directory: Path, name: str, environ: Mapping[str, str], *, keep_pythonpath: bool = False
) -> dict[str, str]:
    """Return `environ` as an activated environment has it, without what another Python was told."""
    commands, path = str(directory / "bin"), environ.get("PATH", "")
    foreign = {"PYTHONHOME", "PYTHONSTARTUP", *(() if keep_pythonpath else ("PYTHONPATH",))}
    variables = {variable: value for variable, value in environ.items() if variable not in foreign}
    if path.split(os.pathsep)[0] != commands:
        variables["PATH"] = f"{commands}{os.pathsep}{path}" if path else commands
    return {**variables, "VIRTUAL_ENV": str(directory), "VIRTUAL_ENV_PROMPT": name}
