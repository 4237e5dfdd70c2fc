"""What the commands about named environments return: each is one line for a person, and plain values for JSON."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import content
from colab_env.errors import (
    ColabEnvError,
)
from colab_env.results import StepResult, short

if TYPE_CHECKING:
    pass

_SHOWN = 10  # problems that are shown


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

    def __repr__(self) -> str:
        columns = f"{self.python:<8} {pluralize(len(self.packages)):>12} {self.size / 1e6:>7.1f} MB {written_age(self.age):>8}"
        return f"{'→' if self.is_current else ' '} {self.number:>3}  {columns}{_in_use(self.processes)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path), "processes": [asdict(process) for process in self.processes]}


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
        owner = f", of {self.owner}" if self.owner not in (None, account(os.geteuid())) else ""
        words = f"{self.health or 'healthy'}{owner}{_in_use(self.processes)}"
        return f"{'✗' if self.health else '✓'} {self.name:<20} {columns}  {words}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path), "processes": [asdict(process) for process in self.processes]}


def _in_use(processes: Sequence[Process]) -> str:
    used = "; ".join(f"{process.pid} {process.command}" for process in processes)
    return f", in use by {used}" if used else ""


def pluralize(count: int) -> str:
    return f"{count} package{'' if count == 1 else 's'}"


def written_age(seconds: float | None) -> str:
    """Write an age as people do: `5 min`, `3 h`, `12 days`."""
    if seconds is None:
        return "-"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True, kw_only=True)
class CheckedEnvironment:
    """What is wrong with an environment, and what was `added` since it was made, which is not wrong.

    `files` is how many were read, or None where only its receipt was asked.
    """

    name: str
    path: Path
    problems: tuple[str, ...]
    added: tuple[str, ...]
    files: int | None

    def __repr__(self) -> str:
        read = "" if self.files is None else f", {content.pluralize(self.files, 'file')} read"
        summary = content.pluralize(len(self.problems), "problem") if self.problems else f"as it was made{read}"
        lines = [
            f"{'✗' if self.problems else '✓'} {self.name:<20} {short(self.path)}: {summary}",
            *self.problems[:_SHOWN],
        ]
        lines += [f"and {len(self.problems) - _SHOWN} more"] if len(self.problems) > _SHOWN else []
        lines += [f"added since: {', '.join(self.added)}"] if self.added else []
        return "\n  ".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True, kw_only=True)
class ExportedEnvironment:
    """An exported environment: the `file`, how many packages it names, how many of them it holds, its `size` in bytes."""

    name: str
    file: Path
    packages: int
    kept: int
    size: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what = f"{pluralize(self.packages)}, {self.kept} of them in it, {self.size / 1e6:.1f} MB"
        return "\n  ".join([f"✓ Environment {self.name!r} exported to {short(self.file)} ({what})", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "file": str(self.file)}


@dataclass(frozen=True, kw_only=True)
class SyncedEnvironment:
    """What `sync` did to one environment, or would do: `action` is "create", "change", "purge" or "leave"."""

    name: str
    action: str
    reason: str | None = None
    error: ColabEnvError | None = None

    def __repr__(self) -> str:
        mark = "✗" if self.error else {"create": "+", "purge": "-", "change": "~"}.get(self.action, "✓")
        return f"{mark} {self.name:<20} {self.error or self.reason or 'as the manifest says'}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = self.error and {"error": type(self.error).__name__, "message": self.error.message}
        return {"name": self.name, "action": self.action, "reason": self.reason, "error": error}


@dataclass(frozen=True, kw_only=True)
class PrunedEnvironment:
    """A script's environment that was not used for `days`: removed, or left for the `reason`."""

    name: str
    days: int
    size: int
    """In bytes."""
    reason: str | None = None
    error: ColabEnvError | None = None

    def __repr__(self) -> str:
        line = f"{self.name}  {self.size / 1e6:.1f} MB, not used for {self.days} days"
        return f"{'✗' if self.error else '-'} {line}{f': {self.error or self.reason}' if self.error or self.reason else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = self.error and {"error": type(self.error).__name__, "message": self.error.message}
        return {**asdict(replace(self, error=None)), "error": error}


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
