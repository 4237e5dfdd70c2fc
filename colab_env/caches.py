"""Look after a cache of snapshots: what is there, what fits, what is damaged, what is not wanted any more."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env import _report
from colab_env.errors import CacheError, ColabEnvError, SnapshotError, UsageError
from colab_env.machine import Machine
from colab_env.request import Request
from colab_env.snapshot import _archive, _cache, _unpack, contents
from colab_env.snapshot._archive import Footer
from colab_env.snapshot._cache import Store
from colab_env.snapshot.contents import Name

_LEFTOVER = 3600.0  # seconds without a byte after which an unfinished file is nobody's work any more
_DAY = 86400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Cached:
    """One file of a cache. `problem` says why it cannot be used here, or None; `age` is in seconds, None if not known."""

    file: str
    size: int
    age: float | None
    project: str | None = None
    python: str | None = None
    packages: int | None = None
    problem: str | None = None

    def __repr__(self) -> str:
        facts = [f"{self.project}, Python {self.python}, {self.packages} packages"] if self.project else []
        facts += [_report.megabytes(self.size)] + ([_age(self.age)] if self.age is not None else [])
        line = f"{'✗' if self.problem else '✓'} {self.file}  ({', '.join(facts)})"
        return f"{line}\n  {self.problem}" if self.problem else line


@dataclass(frozen=True, kw_only=True)
class CacheListing:
    """The files of a cache, and what happened to each: `action` is "there", "removed", "would be removed" or "read"."""

    where: str
    snapshots: tuple[Cached, ...]
    action: str

    @property
    def ok(self) -> bool:
        """Say whether every file that was looked at can be used here."""
        return all(each.problem is None for each in self.snapshots)

    def __repr__(self) -> str:
        if not self.snapshots:
            return f"the cache {self.where} holds no snapshots" if self.action == "there" else "nothing to do"
        first = [] if self.action == "there" else [f"{self.action}:"]
        return "\n".join([*first, *map(repr, self.snapshots)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found = [asdict(each) for each in self.snapshots]
        return {"where": self.where, "action": self.action, "ok": self.ok, "snapshots": found}


def cache_list(directory: str | Path) -> CacheListing:
    """Return the snapshots of a cache, newest first, and whether each fits this machine. Reads the end of each file."""
    machine, store = Machine.detect(), _cache.store(directory)
    found = [_described(store, entry, machine) for entry in newest_first(_cache.entries(store))]
    return CacheListing(where=store.where, snapshots=tuple(found), action="there")


def cache_verify(directory: str | Path) -> CacheListing:
    """Read every snapshot of a cache to its end and compare its checksum; `problem` says what is damaged."""
    store = _cache.store(directory)
    with _report.screen():
        wanted = [entry for entry in newest_first(_cache.entries(store)) if Name.parsed(entry.name)]
        found = [_verified(store, entry) for entry in wanted]
    return CacheListing(where=store.where, snapshots=tuple(found), action="read")


def cache_prune(
    directory: str | Path, *, keep: int | None = None, older_than: float | None = None, dry_run: bool = False
) -> CacheListing:
    """Delete what saves that were killed have left, and the snapshots that are not wanted any more.

    `keep` is how many of the newest stay; `older_than` is an age in days. A file whose time lies in the future counts
    as new. Other files are left alone.
    """
    if (keep is not None and keep < 0) or (older_than is not None and older_than < 0):
        msg = "a number of snapshots or of days cannot be negative"
        raise UsageError(msg, hint="give --keep 2, or --older-than 30")
    store = _cache.store(directory)
    entries = newest_first(_cache.entries(store))
    snapshots = [entry for entry in entries if Name.parsed(entry.name)]
    unwanted = {entry.name for entry in snapshots[keep:]} if keep is not None else set()
    if older_than is not None:
        unwanted |= {entry.name for entry in snapshots if (age_of(entry) or 0.0) > older_than * _DAY}
    unwanted |= {entry.name for entry in entries if is_abandoned(entry)}
    gone = [Cached(file=each.name, size=each.size, age=age_of(each)) for each in entries if each.name in unwanted]
    for each in gone if not dry_run else ():
        _cache.remove(store, each.file)
    return CacheListing(where=store.where, snapshots=tuple(gone), action="would be removed" if dry_run else "removed")


def footer(store: Store, name: str) -> Footer:
    """Read the end of a snapshot in a cache. Raises SnapshotError or CacheError."""
    with _cache.reading(store, name) as file:
        return _archive.read_footer(file)


def _described(store: Store, entry: _cache.Entry, machine: Machine) -> Cached:
    plain: dict[str, Any] = {"file": entry.name, "size": entry.size, "age": age_of(entry)}
    if entry.is_leftover:
        return Cached(**plain, problem="a save that is at work, or was killed; `cache prune` takes it away in time")
    try:
        described = footer(store, entry.name).manifest
        known, python = described["inputs"], described["python"]
        request = Request.read(
            known["project"], machine, system_site_packages=known["system_site_packages"] is not False
        )
        facts: dict[str, Any] = {
            "project": known["project"],
            "python": python["version"],
            "packages": described["packages"],
        }
        problem = contents.mismatch(described, request, options_digest=str(known["wanted"]))
    except ColabEnvError as error:
        return Cached(**plain, problem=error.message)
    except (KeyError, TypeError, ValueError, OSError):
        return Cached(**plain, problem="its description is not one of colab-env's")
    return Cached(**plain, **facts, problem=problem)


def _verified(store: Store, entry: _cache.Entry) -> Cached:
    problem = None
    try:
        with _report.activity(f"Reading {entry.name}"), _cache.reading(store, entry.name) as file:
            _unpack.verify(file)
    except (SnapshotError, CacheError) as error:
        problem = error.message
    return Cached(file=entry.name, size=entry.size, age=age_of(entry), problem=problem)


def newest_first(entries: list[_cache.Entry]) -> list[_cache.Entry]:
    """Return the snapshots among the files of a cache, and what unfinished saves left."""
    wanted = [entry for entry in entries if Name.parsed(entry.name) or entry.is_leftover]
    return sorted(wanted, key=lambda entry: (entry.modified or 0.0, entry.name), reverse=True)


def age_of(entry: _cache.Entry) -> float | None:
    """Return the age of a file in seconds, or None."""
    # A clock that was wrong when it was written, or is now: it counts as new.
    return None if entry.modified is None else max(time.time() - entry.modified, 0.0)


def is_abandoned(entry: _cache.Entry) -> bool:
    """Say whether a save that was killed left this file."""
    return entry.is_leftover and (age_of(entry) or 0.0) > _LEFTOVER


def _age(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{seconds:.0f} s old"
