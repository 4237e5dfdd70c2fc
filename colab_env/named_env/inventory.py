"""One named environment: where it is, what its receipt says, whether it is fine, which programs it has. Reads only."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colab_env import _files, _process, _state, content, proving
from colab_env.errors import BrokenEnvironmentError, NoSuchEnvironmentError, NoSuchProgramError
from colab_env.interpreter import Interpreter, require_version
from colab_env.named_env.base_dirs import check_environment_name
from colab_env.named_env.recipe import Recipe
from colab_env.named_env.reports import CheckedEnvironment, EnvironmentInfo, Process, VersionChange, account
from colab_env.package_names import normalized
from colab_env.results import short, suggest

if TYPE_CHECKING:
    from colab_env.machine import Machine

NOT_OURS = "colab-env did not make it"
UNFINISHED = "it is unfinished: making it was interrupted"
BUILDS = ".builds"  # in a base: every build, by the environment's name and by number
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_NAMED = 3  # missing packages that a message names


@dataclass(frozen=True, kw_only=True)
class MadeFrom(Interpreter):
    """The Python that an environment was made from; `real` is where the environment's own link ends."""

    real: Path


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Our mark in an environment: its recipe, what is in it, its `size` in bytes, `created` in seconds since 1970."""

    schema: ClassVar[str] = "environment"
    version: ClassVar[int] = 1

    python: MadeFrom
    recipe: Recipe
    inputs: str
    packages: tuple[str, ...]
    size: int
    created: float
    follows: int | None = None
    """The build whose place this one took."""
    keep: int | None = None
    """How many earlier builds stay, where somebody has said so for this environment."""
    added: tuple[str, ...] = ()
    """What somebody has added to earlier builds with pip, as requirements: `upgrade` installs it too."""
    path: Path | None = None
    """Where it was made, which its programs say; a version before there were builds did not write it down."""
    moved_from: Path | None = None
    """Where it was before a `rename` or an `adopt` that has not come to its end; `moved_id` tells that directory."""
    moved_id: str | None = None

    def __post_init__(self) -> None:
        require_version(self.python.version)


@dataclass(frozen=True, kw_only=True)
class NamedEnvironment:
    """The environment `name` in the directory `base`, whether it is there or not.

    Its `path` is a link to one of its builds, `.builds/NAME/NUMBER`, and changes in one instant; what runs goes on in the
    build that it was started from. One of the first version is a directory by itself, until it changes.
    """

    name: str
    base: Path

    @functools.cached_property
    def path(self) -> Path:
        return self.base / self.name

    @functools.cached_property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def lock(self) -> Path:
        return self.base / ".locks" / self.name

    @functools.cached_property
    def builds(self) -> Path:
        return self.base / BUILDS / self.name

    def build(self, number: int) -> Path:
        return self.builds / str(number)

    @property
    def current(self) -> int | None:
        """Return the number of the build that the name stands for now, or None where it is no link to one of its own."""
        try:
            head, _, number = os.readlink(self.path).rstrip("/").rpartition("/")  # noqa: PTH115  (its text)
        except OSError:
            return None
        if _NUMBER.fullmatch(number) is None:
            return None
        # Somebody else's link may spell it otherwise, such as from the root.
        is_own = head == f"{BUILDS}/{self.name}" or os.path.realpath(self.base / head) == os.path.realpath(self.builds)
        return int(number) if is_own else None

    @property
    def directory(self) -> Path:
        """Return the directory to run programs from now: it stays what it is when the name stands for another one."""
        number = self.current
        return self.path if number is None else self.build(number)

    @property
    def is_foreign_link(self) -> bool:
        return self.path.is_symlink() and self.current is None

    def whole_builds(self) -> list[int]:
        """Return the builds that are whole and that nobody has removed, the newest first."""
        try:
            names = os.listdir(self.builds)  # noqa: PTH208  (the names)
        except OSError:
            return []
        numbers = sorted((int(name) for name in names if _NUMBER.fullmatch(name)), reverse=True)
        return [number for number in numbers if _state.is_marked(self.build(number)) and not self.is_purged(number)]

    def is_purged(self, number: int) -> bool:
        return os.path.lexists(self.build(number) / content.PURGED)

    @property
    def is_lost(self) -> bool:
        """Say whether it has builds, and a name that stands for none of them: somebody has moved or changed the link."""
        has_no_name = self.is_foreign_link or not os.path.lexists(self.path)
        return has_no_name and bool(self.whole_builds())

    @property
    def receipt(self) -> Receipt | None:
        """Return what was written when it was completed, or None."""
        return None if self.is_foreign_link else _state.receipt(self.path, Receipt)

    def is_complete(self) -> bool:
        """Say whether it is complete and ours: a directory with `pyvenv.cfg` and our receipt."""
        return _is_file(self.path / "pyvenv.cfg") and self.receipt is not None

    def is_ours(self) -> bool:
        """Say whether it is ours, complete or not: a directory with `pyvenv.cfg` and our receipt, readable or not."""
        return not self.is_foreign_link and _is_file(self.path / "pyvenv.cfg") and _state.is_marked(self.path)

    def is_unfinished(self) -> bool:
        """Say whether a run that was killed, or one that is still going on, has left its mark."""
        return self.path.with_name(f".{self.name}.colab-env-building").exists()

    def health_check(self) -> str | None:
        """Return why it cannot be used, or None. Reads files, starts nothing."""
        return self.fault(self.receipt, packages(self.path))

    def fault(self, receipt: Receipt | None, installed: Sequence[str]) -> str | None:
        """Return why it cannot be used, or None; `receipt` and the packages that are `there` have been read already."""
        try:
            closed = self._closed()
            return f"this account may not read {closed}" if closed else self._fault(receipt, installed)
        except PermissionError as error:
            return f"this account may not read {error.filename}"

    def _fault(self, receipt: Receipt | None, installed: Sequence[str]) -> str | None:
        if receipt is None:
            return UNFINISHED if self.is_unfinished() else self._unreadable() or self._lost() or NOT_OURS
        if not (self.path / "pyvenv.cfg").is_file():
            return "its pyvenv.cfg is gone"
        if self.was_moved(receipt):
            return f"it was moved here from {receipt.path}, which its programs still say"
        if not self.python.is_file():
            return f"its Python is gone: {receipt.python.real}"
        if (real := os.path.realpath(self.python)) != str(receipt.python.real):
            return f"its Python is another one now: {real}"
        return _missing(receipt.packages, installed)

    def _unreadable(self) -> str | None:
        return None if self.is_foreign_link else _state.fault(self.path / _files.RECEIPT, Receipt)

    def was_moved(self, receipt: Receipt, directory: Path | None = None) -> bool:
        """Say whether somebody has moved or copied it, or the build in a `directory`, here with its base."""
        recorded, current = receipt.path, directory or self.directory
        return recorded is not None and recorded != current and os.path.realpath(recorded) != os.path.realpath(current)

    def _closed(self) -> Path | None:
        directories = (self.builds.parent, self.builds, self.directory)
        return next(
            (
                directory
                for directory in directories
                if directory.is_dir() and not os.access(directory, os.R_OK | os.X_OK)
            ),
            None,
        )

    def _lost(self) -> str | None:
        if self.current is not None:
            return f"its build {self.current} is gone, or its receipt"
        if not self.is_lost:
            return None
        whole = self.whole_builds()
        listed = f"{'build' if len(whole) == 1 else 'builds'} {', '.join(map(str, whole))}"
        return f"its link to {listed} is gone or changed: colab-env env rollback {self.name} {whole[0]}"

    def program(self, program: str, *, directory: Path | None = None) -> Path:
        """Return the path of one of its programs, in a `directory` of it if one is given.

        Raises BrokenEnvironmentError, or NoSuchProgramError with a hint.
        """
        path = (directory or self.path) / "bin" / program
        if not _is_file(self.python) and (reason := self.health_check()):
            msg = f"the environment {self.name!r} in {short(self.path)} does not work: {reason}"
            raise BrokenEnvironmentError(msg, hint=f"rebuild it: colab-env env upgrade {self.name}")
        if program and "/" not in program and _is_file(path) and _may_execute(path):
            return path
        msg = f"there is no program {program!r} in the environment {self.name!r}"
        raise NoSuchProgramError(msg, hint=suggest(program, self.programs()))

    def programs(self) -> list[str]:
        """Return the names of its programs."""
        paths = (path for path in (self.path / "bin").iterdir() if _is_file(path) and _may_execute(path))
        return sorted(path.name for path in paths)


def find(name: str, bases: Sequence[Path]) -> NamedEnvironment:
    """Return the environment in the first base that has it whole. Raises NoSuchEnvironmentError with near matches."""
    check_environment_name(name)
    candidates = [NamedEnvironment(name=name, base=base) for base in bases]
    whole = next((env for env in candidates if env.is_complete()), None)
    if whole is not None:
        return whole
    damaged = next((env for env in candidates if env.is_unfinished() or os.path.lexists(env.path) or env.is_lost), None)
    if damaged is not None:
        msg = f"{short(damaged.path)} is not an environment that can be used: {damaged.health_check()}"
        raise BrokenEnvironmentError(msg, hint=way_out(damaged))
    msg = f"there is no environment {name!r} in {', '.join(short(base) for base in bases)}"
    empty = f"none is there yet: colab-env env create {name} PACKAGE ..."
    raise NoSuchEnvironmentError(msg, hint=suggest(name, (env.name for env in everything(bases)), empty=empty))


def everything(bases: Sequence[Path]) -> Iterator[NamedEnvironment]:
    """Give every environment in every base, whole or not; other files and directories are passed over."""
    for base in bases:
        names = {name for directory in (base, base / BUILDS) for name in _names(directory)}
        for env in (NamedEnvironment(name=name, base=base) for name in sorted(names)):
            has_name = env.current is not None or (
                not env.is_foreign_link and (_is_file(env.path / "pyvenv.cfg") or env.is_unfinished())
            )
            if has_name or env.is_lost:
                yield env


def _names(directory: Path) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]  # noqa: PTH208  (the names)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def info(env: NamedEnvironment, processes: Sequence[Process], *, measure: bool = False) -> EnvironmentInfo:
    """Describe an environment; `measure` counts its files anew instead of believing its receipt."""
    receipt, installed = env.receipt, packages(env.path)
    return EnvironmentInfo(
        name=env.name,
        path=env.path,
        python=receipt.python.version if receipt else None,
        packages=len(installed),
        size=size(env.directory) if measure else receipt.size if receipt else None,
        age=time.time() - receipt.created if receipt else None,
        health=env.fault(receipt, installed),
        processes=tuple(processes),
        owner=_owner(env.path),
    )


def _owner(path: Path) -> str | None:
    try:
        return account(path.lstat().st_uid)
    except OSError:
        return None


def packages(path: Path) -> list[str]:
    """Return the distributions in an environment, as `name-version`."""
    names: list[str] = []
    for site in (directory for directory in path.glob("lib/python3*/site-packages") if directory.is_dir()):
        names += [name.removesuffix(".dist-info") for name in os.listdir(site) if name.endswith(".dist-info")]  # noqa: PTH208
    return sorted(names)


def version_changes(old: Sequence[str], after: Sequence[str]) -> list[VersionChange]:
    """Compare what `packages` says of two environments, by name, however it is spelled."""
    one, other = ({name_of(package): package.rpartition("-")[2] for package in packages} for packages in (old, after))
    spelled = {name_of(package): package.rpartition("-")[0] for package in (*old, *after)}
    changed = sorted(name for name in spelled if one.get(name) != other.get(name))
    return [VersionChange(package=spelled[name], before=one.get(name), after=other.get(name)) for name in changed]


def name_of(package: str) -> str:
    """Return the normalized name in such as `PyYAML-6.0.2`."""
    # A package may be `PyYAML-6.0.2` in one version and `pyyaml-6.0.3` in the next.
    return normalized(package.rpartition("-")[0])


def size(path: Path) -> int:
    """Return the bytes of all its files."""
    files = (file for file in path.rglob("*") if not file.is_symlink() and file.is_file())
    return sum(file.stat().st_size for file in files)


def _missing(recorded: Sequence[str], installed: Sequence[str]) -> str | None:
    # By name: a package that was updated since is not missing.
    if set(recorded) <= set(installed):
        return None  # as it nearly always is, and `list` has thousands to compare
    names = {*map(name_of, installed)}
    gone = sorted(package for package in recorded if name_of(package) not in names)
    return f"packages are missing: {', '.join(gone[:_NAMED])}" if gone else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False


def _may_execute(path: Path) -> bool:
    return path.stat().st_mode & 0o111 != 0


def way_out(env: NamedEnvironment) -> str:
    """Return the next step for somebody whose environment cannot be used."""
    if env.is_lost:
        return f"let it stand for its newest build again: colab-env env rollback {env.name}"
    earlier = [number for number in env.whole_builds() if number != env.current]
    if env.current is not None and env.receipt is None and earlier:
        return f"go back to its build {earlier[0]}: colab-env env rollback {env.name}; or create it again"
    if env.is_unfinished() or env.current is not None or (_state.is_marked(env.path) and not env.is_foreign_link):
        return f"create it again, or clear it away: colab-env env purge {env.name}"
    return f"if it is a virtual environment: colab-env env adopt {env.name} {env.path}"


def _is_marked(env: NamedEnvironment, receipt: Receipt) -> bool:
    """Say whether a build knows its number and its path, which the shell part of the command reads."""
    if env.current is None or receipt.path is None:
        return True  # of a version before there were any
    try:
        return (env.directory / content.BUILD).read_text(encoding="utf-8") == f"{env.current}\n{receipt.path}\n"
    except (OSError, UnicodeDecodeError):
        return False


def check(env: NamedEnvironment, *, machine: Machine, deep: bool) -> CheckedEnvironment:
    """Compare the current build with its receipt; if `deep`, read every file, and compare it with its RECORD."""
    health, receipt, directory = env.health_check(), env.receipt, env.directory
    problems, files = [health] if health else [], None
    if deep and receipt is not None:
        survey, recorded = content.Survey(directory), content.read(directory)
        files = len(survey.digests)
        if recorded is None:
            problems.append(
                content.fault(directory) or "what it was made of is not written down: `upgrade` makes it anew"
            )
        else:
            environ = _process.child_environ(machine.environ)
            wrong = proving.wrong_bytecode(survey, recorded, python=env.python, environ=environ) if not health else []
            problems += map(str, [*survey.differences(recorded), *wrong])
            problems += [] if _state.is_sealed(directory / _files.RECEIPT) else [f"{_files.RECEIPT} has changed"]
        problems += [] if _is_marked(env, receipt) else [f"{content.BUILD} has changed"]
    changes = version_changes(receipt.packages, packages(directory)) if receipt else []
    return CheckedEnvironment(
        name=env.name,
        path=env.path,
        problems=tuple(problems),
        added=tuple(repr(change).strip("+ ") for change in changes if change.after is not None),
        files=files,
    )
