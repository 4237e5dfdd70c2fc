"""One named environment: where it is, what its receipt says, whether it is fine, which programs it has. Reads only."""

from __future__ import annotations

import functools
import os
import pwd
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from colab_env import _files, _state, content
from colab_env.errors import BrokenEnvironmentError, ColabEnvError, NoSuchEnvironmentError, NoSuchProgramError
from colab_env.interpreter import Interpreter, require_version
from colab_env.named_env.names import check_environment_name
from colab_env.named_env.recipe import Recipe, without_secrets
from colab_env.results import StepResult, short, suggest

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
        return [each for each in numbers if _state.is_marked(self.build(each)) and not self.is_purged(each)]

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

    def is_there(self) -> bool:
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

    def fault(self, receipt: Receipt | None, there: Sequence[str]) -> str | None:
        """Return why it cannot be used, or None; `receipt` and the packages that are `there` have been read already."""
        try:
            closed = self._closed()
            return f"this account may not read {closed}" if closed else self._fault(receipt, there)
        except PermissionError as error:
            return f"this account may not read {error.filename}"

    def _fault(self, receipt: Receipt | None, there: Sequence[str]) -> str | None:
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
        return _missing(receipt.packages, there)

    def _unreadable(self) -> str | None:
        return None if self.is_foreign_link else _state.fault(self.path / _files.RECEIPT, Receipt)

    def was_moved(self, receipt: Receipt, directory: Path | None = None) -> bool:
        """Say whether somebody has moved or copied it, or the build in a `directory`, here with its base."""
        made, now = receipt.path, directory or self.directory
        return made is not None and made != now and os.path.realpath(made) != os.path.realpath(now)

    def _closed(self) -> Path | None:
        directories = (self.builds.parent, self.builds, self.directory)
        return next((each for each in directories if each.is_dir() and not os.access(each, os.R_OK | os.X_OK)), None)

    def _lost(self) -> str | None:
        if self.current is not None:
            return f"its build {self.current} is gone, or its receipt"
        if not self.is_lost:
            return None
        there = self.whole_builds()
        named = f"{'build' if len(there) == 1 else 'builds'} {', '.join(map(str, there))}"
        return f"its link to {named} is gone or changed: colab-env env rollback {self.name} {there[0]}"

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
        found = (path for path in (self.path / "bin").iterdir() if _is_file(path) and _may_execute(path))
        return sorted(path.name for path in found)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One running program: its id, its command line, cut to what a line holds, and the account that runs it."""

    pid: int
    command: str
    uid: int


@dataclass(frozen=True, kw_only=True)
class Build:
    """One line of an environment's history: `packages` as `name-version`, `size` in bytes, `age` in seconds."""

    number: int
    path: Path
    is_current: bool
    python: str
    packages: tuple[str, ...]
    size: int
    age: float
    processes: tuple[Process, ...] = ()

    @classmethod
    def read(
        cls, path: Path, receipt: Receipt, *, number: int, is_current: bool, processes: tuple[Process, ...]
    ) -> Build:
        """Return what there is to say about the build at a path."""
        return cls(
            number=number,
            path=path,
            is_current=is_current,
            python=receipt.python.version,
            packages=tuple(packages(path)),
            size=receipt.size,
            age=time.time() - receipt.created,
            processes=processes,
        )

    def __repr__(self) -> str:
        columns = f"{self.python:<8} {pluralize(len(self.packages)):>12} {self.size / 1e6:>7.1f} MB {written_age(self.age):>8}"
        return f"{'→' if self.is_current else ' '} {self.number:>3}  {columns}{_in_use(self.processes)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path), "processes": [asdict(each) for each in self.processes]}


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """What came of one environment when all were upgraded: the `result`, or the `error` for which it stays as it is."""

    name: str
    result: StepResult | None = None
    error: ColabEnvError | None = None

    def __repr__(self) -> str:
        return repr(self.result) if self.error is None else f"✗ {self.name!r} stays as it is: {self.error}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = self.error and {
            "error": type(self.error).__name__,
            "message": self.error.message,
            "hint": self.error.hint,
        }
        return {"name": self.name, "result": self.result and self.result.as_dict(), "error": error}


@dataclass(frozen=True, kw_only=True)
class VersionChange:
    """A package whose version is another one in the second of two builds; None where it is missing."""

    package: str
    before: str | None
    after: str | None

    def __repr__(self) -> str:
        if self.before is None:
            return f"+ {self.package} {self.after}"
        return (
            f"- {self.package} {self.before}"
            if self.after is None
            else f"  {self.package} {self.before} → {self.after}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EnvironmentInfo:
    """One line of the list: `size` in bytes, `age` in seconds, `health` the reason why not, each or None."""

    name: str
    path: Path
    python: str | None
    packages: int
    size: int | None
    age: float | None
    health: str | None
    processes: tuple[Process, ...] = ()
    owner: str | None = None
    """The account that made it; what stands in the line where it is not that of the caller."""

    def __repr__(self) -> str:
        size = f"{self.size / 1e6:.1f} MB" if self.size is not None else "-"
        columns = f"{self.python or '-':<8} {pluralize(self.packages):>12} {size:>10} {written_age(self.age):>8}"
        owner = f", of {self.owner}" if self.owner not in (None, _account(os.geteuid())) else ""
        words = f"{self.health or 'healthy'}{owner}{_in_use(self.processes)}"
        return f"{'✗' if self.health else '✓'} {self.name:<20} {columns}  {words}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path), "processes": [asdict(each) for each in self.processes]}


def find(name: str, bases: Sequence[Path]) -> NamedEnvironment:
    """Return the environment in the first base that has it whole. Raises NoSuchEnvironmentError with near matches."""
    check_environment_name(name)
    places = [NamedEnvironment(name=name, base=base) for base in bases]
    found = next((place for place in places if place.is_there()), None)
    if found is not None:
        return found
    there = next(
        (place for place in places if place.is_unfinished() or os.path.lexists(place.path) or place.is_lost), None
    )
    if there is not None:
        msg = f"{short(there.path)} is not an environment that can be used: {there.health_check()}"
        raise BrokenEnvironmentError(msg, hint=way_out(there))
    msg = f"there is no environment {name!r} in {', '.join(short(base) for base in bases)}"
    raise NoSuchEnvironmentError(msg, hint=suggest(name, (each.name for each in everything(bases))))


def everything(bases: Sequence[Path]) -> Iterator[NamedEnvironment]:
    """Give every environment in every base, whole or not; other files and directories are passed over."""
    for base in bases:
        names = {name for directory in (base, base / BUILDS) for name in _names(directory)}
        for place in (NamedEnvironment(name=name, base=base) for name in sorted(names)):
            has_name = place.current is not None or (
                not place.is_foreign_link and (_is_file(place.path / "pyvenv.cfg") or place.is_unfinished())
            )
            if has_name or place.is_lost:
                yield place


def _names(directory: Path) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]  # noqa: PTH208  (the names)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def info(place: NamedEnvironment, processes: Sequence[Process], *, measure: bool = False) -> EnvironmentInfo:
    """Describe an environment; `measure` counts its files anew instead of believing its receipt."""
    receipt, there = place.receipt, packages(place.path)
    return EnvironmentInfo(
        name=place.name,
        path=place.path,
        python=receipt.python.version if receipt else None,
        packages=len(there),
        size=size(place.directory) if measure else receipt.size if receipt else None,
        age=time.time() - receipt.created if receipt else None,
        health=place.fault(receipt, there),
        processes=tuple(processes),
        owner=_owner(place.path),
    )


def _owner(path: Path) -> str | None:
    try:
        return _account(path.lstat().st_uid)
    except OSError:
        return None


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def packages(path: Path) -> list[str]:
    """Return the distributions in an environment, as `name-version`."""
    found: list[str] = []
    for site in (each for each in path.glob("lib/python3*/site-packages") if each.is_dir()):
        found += [name.removesuffix(".dist-info") for name in os.listdir(site) if name.endswith(".dist-info")]  # noqa: PTH208
    return sorted(found)


def version_changes(before: Sequence[str], after: Sequence[str]) -> list[VersionChange]:
    """Compare what `packages` says of two environments, by name."""
    one, other = (
        {name: version for name, _, version in (each.rpartition("-") for each in there)} for there in (before, after)
    )
    changed = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return [VersionChange(package=name, before=one.get(name), after=other.get(name)) for name in changed]


def _in_use(processes: Sequence[Process]) -> str:
    used = "; ".join(f"{each.pid} {each.command}" for each in processes)
    return f", in use by {used}" if used else ""


def added(directory: Path, receipt: Receipt) -> tuple[str, ...]:
    """Return what somebody has asked pip for in an environment since it was made, as requirements."""
    made = {each.rpartition("-")[0] for each in receipt.packages}
    found = []
    for info in sorted(directory.glob("lib/python3*/site-packages/*.dist-info")):
        name = info.name.removesuffix(".dist-info").rpartition("-")[0]
        if name not in made and (info / "REQUESTED").exists():  # else it came with another one
            said = _files.read_json(info / "direct_url.json")
            url = said.get("url") if isinstance(said, dict) else None
            found.append(without_secrets(f"{name} @ {url}") if isinstance(url, str) else name)
    return tuple(found)


def pluralize(count: int) -> str:
    return f"{count} package{'' if count == 1 else 's'}"


def size(path: Path) -> int:
    """Return the bytes of all its files."""
    files = (each for each in path.rglob("*") if not each.is_symlink() and each.is_file())
    return sum(each.stat().st_size for each in files)


def written_age(seconds: float | None) -> str:
    """Write an age as people do: `5 min`, `3 h`, `12 days`."""
    if seconds is None:
        return "-"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def _missing(recorded: Sequence[str], there: Sequence[str]) -> str | None:
    # By name: a package that was updated since is not missing.
    names = {each.rpartition("-")[0] for each in there}
    gone = sorted(each for each in recorded if each.rpartition("-")[0] not in names)
    return f"packages are missing: {', '.join(gone[:_NAMED])}" if gone else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False


def _may_execute(path: Path) -> bool:
    return path.stat().st_mode & 0o111 != 0


def way_out(place: NamedEnvironment) -> str:
    """Return the next step for somebody whose environment cannot be used."""
    if place.is_lost:
        return f"let it stand for its newest build again: colab-env env rollback {place.name}"
    earlier = [number for number in place.whole_builds() if number != place.current]
    if place.current is not None and place.receipt is None and earlier:
        return f"go back to its build {earlier[0]}: colab-env env rollback {place.name}; or create it again"
    if (
        place.is_unfinished()
        or place.current is not None
        or (_state.is_marked(place.path) and not place.is_foreign_link)
    ):
        return f"create it again, or clear it away: colab-env env purge {place.name}"
    return f"if it is a virtual environment: colab-env env adopt {place.name} {place.path}"
