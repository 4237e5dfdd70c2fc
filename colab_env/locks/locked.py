"""What a lock file says, read by the tool that owns its format, and put into an environment."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process, index, poetry, pyproject, uv
from colab_env.errors import ColabEnvError, MissingStepError, UsageError
from colab_env.locks import lockfiles, poetry_lock, script_block
from colab_env.locks.lockfiles import LockFile
from colab_env.locks.uv_install import UvInstaller
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.locks import poetry_sources
    from colab_env.machine import Machine

INSTALLERS = ("uv", "poetry")
_TRUSTED = re.compile(r"(?m)^[ \t]*--trusted-host[ =]+(\S+)")
_TWICE = re.compile(r"://([^/@\s]+@)\1")  # how the export plugin writes a name and password that stand in the address
_PIP = re.compile(r"(?mi)^pip\b(?![-\w.\[])")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a lock file is wanted, and who installs it.

    `extras` besides the main dependencies; `groups`: None for those that the lock file's own tool takes by default, else
    exactly these. `installer` is "uv" or "poetry". `notes` collects what a person should read. `left_out` is shown
    the requirements that uv is about to install and returns the names that are not installed.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    installer: str = "uv"
    notes: list[str] = field(default_factory=list, compare=False)
    left_out: Callable[[str], Collection[str]] | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where it goes: the virtual environment `environment` of the directory `project`.

    `uv` is the program that installs, or None on a machine without it; with `pip`, the environment gets pip too;
    `editable` installs the project itself so that changes of its files count at once; `options` are added to uv's. `ready`
    returns when Poetry can be asked.
    """

    project: Path
    environment: Path
    uv: Path | None
    ready: Callable[[], object] = lambda: None
    pip: bool = True
    editable: bool = True
    options: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"


def requirements(
    lock: LockFile,
    *,
    python: Interpreter,
    machine: Machine,
    extras: tuple[str, ...] = (),
    groups: tuple[str, ...] | None = None,
) -> str:
    """Return what a lock file says in pip's requirements format: exact versions, with its hashes and markers.

    Relative paths in it start from the lock file's directory; passwords are left out. requirements.txt and scripts are
    resolved by uv where they are loose. Raises UsageError for what cannot be read so, MissingStepError without the tool
    that reads it, LockMismatchError for a lock file that its project has moved on from.
    """
    choice = Choice(extras=extras, groups=groups)
    check(lock, choice)
    if lock.kind == lockfiles.CONDA:
        msg = f"{short(lock.path)} is conda's: what it brings is known when conda has installed it"
        raise UsageError(msg, hint="run setup(interpreter='miniconda'), or name another lock file with lock=...")
    if lock.kind == "poetry.lock":
        return _of_poetry(lock.directory, choice, machine=machine)
    installer = _uv(uv.ensure(machine), machine)
    if lock.kind == "pylock.toml":
        return installer.pylock(lock.path, python=python.path, options=_uv_options(lock, choice))
    if lock.kind == "uv.lock":
        return installer.export(lock.path, python=python.path, options=_uv_options(lock, choice))
    if lock.kind == "script":
        return installer.script(_script(lock, machine), python=python.path)
    return installer.compile(lock.path, python=python.path)


def install(lock: LockFile | None, choice: Choice, *, place: Place, machine: Machine) -> None:
    """Make an environment hold what the lock file says, and pip; packages that it does not name are removed.

    Without a lock file, Poetry makes the project's first. Raises as `requirements` does, and HashMismatchError,
    BuildError, NetworkError, DiskFullError, CommandError.
    """
    if lock is not None:
        check(lock, choice)
    if lock is not None and lock.kind == lockfiles.CONDA:
        _pip_only(lock, place=place, machine=machine)
    elif lock is None or lock.kind == "poetry.lock":
        directory = lock.directory if lock else place.project
        if place.uv is None or choice.installer == "poetry":
            _poetry_install(directory, choice, place=place, machine=machine)
        else:
            _poetry_with_uv(directory, choice, place=place, machine=machine)
    elif place.uv is None:
        _pip_install(lock, place=place, machine=machine)
    else:
        _uv_install(lock, choice, place=place, machine=machine)


def _pip_only(lock: LockFile, *, place: Place, machine: Machine) -> None:
    # The packages of the file are the interpreter's own; without uv, pip came with the environment.
    if place.uv is not None and place.pip:
        _uv(place.uv, machine).install([*place.options, "--exact", "pip"], python=place.python, cwd=lock.directory)


def check(lock: LockFile, choice: Choice) -> None:
    """Raise UsageError for a choice that this kind of lock file does not have."""
    asked = [name for name, value in (("extras", choice.extras), ("groups", choice.groups)) if value]
    if asked and lock.kind in ("requirements.txt", "script", lockfiles.CONDA):
        msg = f"{short(lock.path)} has no {' and no '.join(asked)}"
        raise UsageError(msg, hint="leave them out, or name another lock file with lock=...")
    if choice.installer == "poetry" and lock.kind != "poetry.lock":
        msg = f"Poetry does not install {short(lock.path)}"
        owner = "conda" if lock.kind == lockfiles.CONDA else "uv"
        raise UsageError(msg, hint=f"leave installer='poetry' out: {owner} installs it")


def require_poetry(machine: Machine) -> None:
    """Raise MissingStepError unless Poetry is there with what is needed of it."""
    if reason := poetry.missing(machine):
        raise MissingStepError(reason, hint="run install_poetry() first, or `colab-env install-poetry`")


def _poetry_with_uv(directory: Path, choice: Choice, *, place: Place, machine: Machine) -> None:
    def answer() -> str:
        place.ready()
        return _of_poetry(directory, choice, machine=machine, place=place)

    def guess() -> None:
        _install_guess(directory, choice, place=place, machine=machine)

    text = str(_process.together(answer, guess)[0])
    if pyproject.is_package(directory):
        text += f"{'-e ' if place.editable else ''}{directory.as_uri()}\n"
    # Of the machine's own indexes any may have the file: every version is exact and most have hashes.
    installer = _uv(place.uv, machine, UV_INDEX_STRATEGY="unsafe-best-match")
    kept = {name: value for name, value in installer.environ.items() if not name.startswith("UV_NO_SOURCES")}
    installer = replace(installer, environ=kept)
    from colab_env.locks import poetry_sources

    sources = poetry_sources.read((directory / "poetry.lock").read_text(encoding="utf-8"))
    _put(installer, text, choice, place=place, directory=directory, sources=sources)


def _install_guess(directory: Path, choice: Choice, *, place: Place, machine: Machine) -> None:
    """Begin with what poetry.lock seems to say, while Poetry is being installed or thinks; its own answer comes after."""
    lock = directory / "poetry.lock"
    groups = pyproject.default_groups(directory) if choice.groups is None else choice.groups
    if choice.extras or choice.left_out or not lock.is_file():
        return
    if guess := poetry_lock.guess(lock.read_text(encoding="utf-8"), groups):
        with contextlib.suppress(ColabEnvError):  # the answer's own install says what is wrong
            argv = [*place.options, "--no-deps", "-r", "-"]
            _uv(place.uv, machine).install(argv, python=place.python, cwd=directory, text=guess)


def _uv_install(lock: LockFile, choice: Choice, *, place: Place, machine: Machine) -> None:
    installer, directory = _uv(place.uv, machine), lock.directory
    if lock.kind == "uv.lock":
        options = [*_uv_options(lock, choice), *([] if place.editable else ["--no-editable"])]
        text = installer.export(lock.path, python=place.python, options=options)
        _put(installer, text, choice, place=place, directory=directory)
    elif lock.kind == "script":
        text = installer.script(_script(lock, machine), python=place.python)
        _put(installer, text, choice, place=place, directory=directory)
    elif choice.left_out is None:
        _put_file(installer, ["-r", lock.path], lock, choice, place=place)
    else:
        if lock.kind == "pylock.toml":
            text = installer.pylock(lock.path, python=place.python, options=_uv_options(lock, choice))
        else:
            text = installer.compile(lock.path, python=place.python)
        names = choice.left_out(text)
        with _files.private_directory(machine.data) as scratch:
            _put_file(installer, _without(lock, names, scratch), lock, choice, place=place)


def _put_file(
    installer: UvInstaller, source: list[str | Path], lock: LockFile, choice: Choice, *, place: Place
) -> None:
    directory, pip = lock.directory, ["pip"] if place.pip else []
    if lock.kind != "pylock.toml":
        said = [*place.options, *_trusting(lock.path.read_text(encoding="utf-8", errors="replace"))]
        installer.install([*said, "--exact", *source, *pip], python=place.python, cwd=directory)
        return
    options = [*place.options, "--exact", *_uv_options(lock, choice)]
    installer.install([*options, *source], python=place.python, cwd=directory)
    if pip:  # uv takes nothing else beside a pylock.toml
        installer.install([*place.options, *pip], python=place.python, cwd=directory)


def _without(lock: LockFile, names: Collection[str], scratch: Path) -> list[str | Path]:
    """Return what tells uv to install a lock file without some packages; hashes still count."""
    if lock.kind == "pylock.toml":
        from colab_env.locks import pylock

        target = scratch / "pylock.toml"
        text = lock.path.read_text(encoding="utf-8")
        _files.write_text(target, pylock.without(text, names, directory=lock.directory))
        return ["-r", target]
    excludes = scratch / "excludes.txt"
    _files.write_text(excludes, "".join(f"{name}\n" for name in names))
    return ["-r", lock.path, "--excludes", excludes]


def _put(
    installer: UvInstaller,
    text: str,
    choice: Choice,
    *,
    place: Place,
    directory: Path,
    sources: Sequence[poetry_sources.Source] = (),
) -> None:
    # The text may hold a password: it goes from hand to hand, never to a file that stays or a command line.
    if choice.left_out:
        from colab_env.locks import requirements_text

        text = requirements_text.without(text, choice.left_out(text))
    if place.pip and not _PIP.search(text):
        text += "\npip\n"
    argv: list[str | Path] = [*place.options, *_trusting(text), "--exact", "--no-deps", "-r", "-"]
    of_sources = None
    if sources:
        from colab_env.locks import poetry_sources

        text, of_sources = poetry_sources.with_sources(text, sources, project=directory.name)
    with _files.private_directory(installer.scratch) as scratch:
        if of_sources:
            _files.write_text(scratch / "pyproject.toml", of_sources)
            argv += ["-r", scratch / "pyproject.toml"]
        installer.install(argv, python=place.python, cwd=directory, text=_TRUSTED.sub("", text))


def _trusting(text: str) -> list[str]:
    # A line of pip's that uv takes on the command line only.
    hosts = (found.rpartition("@")[2] for found in _TRUSTED.findall(text))
    return [f"--allow-insecure-host={host}" for host in dict.fromkeys(hosts)]


def _pip_install(lock: LockFile, *, place: Place, machine: Machine) -> None:
    if lock.kind != "requirements.txt":
        msg = f"{short(lock.path)} is installed by uv, which is not there and cannot be installed"
        raise MissingStepError(msg, hint="install uv, then run the same call again")
    installer = uv.installer(machine, index.settings(machine))
    installer.install(["-r", str(lock.path)], python=place.python)


def _poetry_install(directory: Path, choice: Choice, *, place: Place, machine: Machine) -> None:
    place.ready()
    require_poetry(machine)
    notes = poetry.install_project(
        directory,
        machine=machine,
        environment=place.environment,
        options=_poetry_options(directory, choice),
    )
    choice.notes.extend(notes)


def _of_poetry(directory: Path, choice: Choice, *, machine: Machine, place: Place | None = None) -> str:
    require_poetry(machine)
    text, notes = poetry.export(
        directory,
        machine=machine,
        environment=place.environment if place else None,
        options=[*_poetry_options(directory, choice, exported=True), *(["--with-credentials"] if place else [])],
    )
    choice.notes.extend(notes)
    return _TWICE.sub(r"://\1", text)


def _poetry_options(directory: Path, choice: Choice, *, exported: bool = False) -> list[str]:
    extras = [f"--extras={name}" for name in choice.extras]
    usual = pyproject.default_groups(directory)
    wanted = usual if choice.groups is None else list(choice.groups)
    if exported:
        return [*extras, *([f"--with={','.join(wanted)}"] if wanted else [])]
    unwanted = [name for name in usual if name not in wanted]
    added = [name for name in wanted if name not in usual]
    given = {"with": added, "without": unwanted}
    return [*extras, *(f"--{word}={','.join(names)}" for word, names in given.items() if names)]


def _uv_options(lock: LockFile, choice: Choice) -> list[str]:
    extras = [f"--extra={name}" for name in choice.extras]
    groups = [f"--group={name}" for name in choice.groups or ()]
    only = ["--no-default-groups"] if choice.groups is not None and lock.kind == "uv.lock" else []
    return [*extras, *only, *groups]


def _uv(program: Path | None, machine: Machine, **defaults: str) -> UvInstaller:
    environ = {**defaults, **uv.environ(machine, index.settings(machine))}
    # Said here, each where it is meant.
    kept = {name: value for name, value in environ.items() if name not in ("UV_FROZEN", "UV_LOCKED")}
    return UvInstaller(program=program or uv.ensure(machine), environ=kept, scratch=machine.data)


def _script(lock: LockFile, machine: Machine) -> Path:
    if lock.path.suffix == ".py":
        return lock.path
    return write_block(script_block.block(lock.path), machine)


def write_block(block: str, machine: Machine) -> Path:
    """Write the block of a notebook where uv can read it, and return the path: one for each content."""
    path = machine.data / "scripts" / f"{hashlib.sha256(block.encode()).hexdigest()[:16]}.py"
    if not path.is_file():
        _files.write_text(path, block)
    return path
