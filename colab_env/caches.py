"""Look after a cache of snapshots: what is there, what fits, what is damaged, what is not wanted any more."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from colab_env import _files, _report, content
from colab_env.errors import CacheError, ColabEnvError, SnapshotError, UsageError
from colab_env.machine import Machine
from colab_env.request import Request
from colab_env.snapshot import _cache, contents, moving, restoring, signing
from colab_env.snapshot._cache import Store, WebStore
from colab_env.snapshot.manifest import Entry, Footer, Manifest, Name, read_footer
from colab_env.snapshot.signing import Keyring, Trust

LIMIT = "COLAB_ENV_CACHE_LIMIT"
_USUAL_LIMIT = "10 GB"  # of the 15 GB that Google Drive gives everybody
_LEFTOVER = 3600.0  # seconds without a byte after which an unfinished file is nobody's work any more
_DAY = 86400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Cached:
    """One file of a cache. `problem` says why it cannot be used here, or None; `age` is in seconds, None if not known.

    `signature` is "ours", "another's" or "none", None where the file cannot be read; `sha256` is what `trust=` takes.
    """

    file: str
    size: int
    age: float | None
    project: str | None = None
    python: str | None = None
    packages: int | None = None
    problem: str | None = None
    signature: Literal["ours", "another's", "none"] | None = None
    sha256: str | None = None

    def __repr__(self) -> str:
        facts = [f"{self.project}, Python {self.python}, {self.packages} packages"] if self.project else []
        facts += [_report.megabytes(self.size)] + ([_age(self.age)] if self.age is not None else [])
        text = f"{'✗' if self.problem else '✓'} {self.file}  ({', '.join(facts)})"
        lines = [text, *([f"  {self.problem}"] if self.problem else [])]
        # Names come out of files that may be anybody's.
        return "\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)


@dataclass(frozen=True, kw_only=True)
class CacheListing:
    """The files of a cache, and what happened to each: `action` is "there", "removed", "would be removed" or "read"."""

    where: str
    snapshots: tuple[Cached, ...]
    action: str

    @property
    def ok(self) -> bool:
        """Say whether every file that was looked at can be used here."""
        return all(snapshot.problem is None for snapshot in self.snapshots)

    def __repr__(self) -> str:
        if not self.snapshots:
            return f"the cache {self.where} holds no snapshots" if self.action == "there" else "nothing to do"
        first = [] if self.action == "there" else [f"{self.action}:"]
        return "\n".join([*first, *map(repr, self.snapshots)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        snapshots = [asdict(snapshot) for snapshot in self.snapshots]
        return {"where": self.where, "action": self.action, "ok": self.ok, "snapshots": snapshots}


@dataclass(frozen=True, kw_only=True)
class SnapshotKey:
    """The key that signs this machine's snapshots, in hexadecimal; `variable` is the name that it has elsewhere."""

    key: str
    variable: str = signing.VARIABLE

    def __repr__(self) -> str:
        return self.key

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def cache_key() -> SnapshotKey:
    """Return the key that signs what this machine saves, and make it where there is none yet.

    On another machine it is found as the Colab secret COLAB_ENV_SNAPSHOT_KEY, or as the variable of that name. Whoever
    has it can make snapshots that your machines restore without a question.
    """
    key, _ = Keyring(Machine.detect()).signing()
    return SnapshotKey(key=key.secret.hex())


def cache_list(directory: str | Path) -> CacheListing:
    """Return the snapshots of a cache, newest first, and whether each fits this machine and is signed with a key of ours.

    Reads the end of each file and starts nothing, so that another build of the same Python is not noticed. Raises
    CacheError when there is no such directory.
    """
    machine = Machine.detect()
    store = _cache.store(directory, downloads=machine.data / "downloads")
    keyring = Keyring(machine)
    snapshots = [
        _described(store, entry, machine, keyring) for entry in newest_first(_cache.entries(store, required=True))
    ]
    return CacheListing(where=store.where, snapshots=tuple(snapshots), action="there")


def cache_verify(directory: str | Path, *, trust: str | None = None) -> CacheListing:
    """Read every snapshot of a cache to its end, as a restore does, and write nothing; `problem` says what is wrong.

    That is also a signature by no key of ours, but for the snapshot that `trust` names as in `restore`. Whether it was
    made for this machine is for `cache_list` to say. Raises CacheError when there is no such directory.
    """
    machine, trusted = Machine.detect(), Trust.parsed(trust)
    store = _cache.store(directory, downloads=machine.data / "downloads")
    keyring = Keyring(machine)
    with _report.screen():
        entries = [entry for entry in newest_first(_cache.entries(store, required=True)) if Name.parsed(entry.name)]
        if isinstance(store, WebStore):
            size = sum(entry.size for entry in entries)  # a server without an index says none
            amount = f", {_report.megabytes(size)}" if size else ""
            _report.keep(f"Downloading {content.pluralize(len(entries), 'snapshot')} to read every byte{amount}")
        verified = [_verified(store, entry, keyring, trusted, machine) for entry in entries]
    return CacheListing(where=store.where, snapshots=tuple(verified), action="read")


def cache_prune(
    directory: str | Path, *, keep: int | None = None, older_than: float | None = None, dry_run: bool = False
) -> CacheListing:
    """Delete what saves that were killed have left, and the snapshots that are not wanted any more.

    `keep` is how many of the newest stay; `older_than` is an age in days. A file whose time lies in the future counts
    as new. Other files are left alone.
    """
    if (keep is not None and keep < 0) or (older_than is not None and older_than < 0):
        msg = "a number of snapshots or of days cannot be negative"
        raise UsageError(msg, hint="give keep=2, or older_than=30")
    store = _cache.store(directory, downloads=Machine.detect().data / "downloads")
    entries = newest_first(_cache.entries(store, required=True))
    snapshots = [entry for entry in entries if Name.parsed(entry.name)]
    unwanted = {entry.name for entry in snapshots[keep:]} if keep is not None else set()
    if older_than is not None:
        unwanted |= {entry.name for entry in snapshots if (age_of(entry) or 0.0) > older_than * _DAY}
    # What a killed save left, whatever was asked for.
    unwanted |= {entry.name for entry in entries if is_abandoned(entry)}
    gone = [Cached(file=entry.name, size=entry.size, age=age_of(entry)) for entry in entries if entry.name in unwanted]
    for removed in gone if not dry_run else ():
        _cache.remove(store, removed.file)
    if gone and not dry_run:
        _cache.write_index(store)
    return CacheListing(where=store.where, snapshots=tuple(gone), action="would be removed" if dry_run else "removed")


def limit(machine: Machine) -> int:
    """Return how many bytes the snapshots of a cache may have together. Raises UsageError for what is no size."""
    text = machine.environ.get(LIMIT) or _USUAL_LIMIT
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([MGT])i?B?\s*", text, re.IGNORECASE | re.ASCII)
    if match is None:
        msg = f"{LIMIT}={text!r} is not a size"
        raise UsageError(msg, hint='give one such as "500 MB" or "20 GB"')
    return int(float(match[1]) * {"M": 10**6, "G": 10**9, "T": 10**12}[match[2].upper()])


def make_room(store: Store, keyring: Keyring, *, keep: str, limit: int) -> tuple[str, ...]:
    """Delete what killed saves left, and the oldest snapshots of ours beyond a limit in bytes, but for the one to `keep`.

    Say what went. The index of the cache is written anew.
    """
    entries = newest_first(_cache.entries(store))
    snapshots = sorted((entry for entry in entries if Name.parsed(entry.name)), key=lambda entry: entry.name != keep)
    sizes = itertools.accumulate(entry.size for entry in snapshots)
    beyond = [entry for entry, size in zip(snapshots, sizes, strict=True) if size > limit and entry.name != keep]
    beyond = [entry for entry in beyond if _is_ours(store, entry.name, keyring)]
    for entry in (*(entry for entry in entries if is_abandoned(entry)), *beyond):
        _cache.remove(store, entry.name)
    _cache.write_index(store)
    names = ", ".join(entry.name for entry in beyond)
    return (f"a cache holds {_report.megabytes(limit)} ({LIMIT}), so the oldest went: {names}",) if beyond else ()


def _is_ours(store: Store, name: str, keyring: Keyring) -> bool:
    try:
        return keyring.knows(footer(store, name))
    except SnapshotError:
        return False  # nobody knows whose it is


def footer(store: Store, name: str) -> Footer:
    """Read the end of a snapshot in a cache. Raises SnapshotError or CacheError."""
    with _cache.reading(store, name) as file:
        return read_footer(file)


def _described(store: Store, entry: Entry, machine: Machine, keyring: Keyring) -> Cached:
    plain = Cached(file=entry.name, size=entry.size, age=age_of(entry))
    if entry.is_leftover:
        return replace(plain, problem="a save that is at work, or was killed; `cache prune` takes it away in time")
    try:
        end = footer(store, entry.name)
        plain = replace(plain, sha256=end.sha256, signature=_signature(end, keyring))
        manifest = Manifest.read(end.manifest)
    except ColabEnvError as error:
        return replace(plain, problem=error.message)
    saved_inputs = manifest.inputs
    plain = replace(plain, project=saved_inputs.project, python=manifest.python.version, packages=manifest.packages)
    if plain.signature != "ours":  # what it names is not even looked for
        return replace(plain, problem=signing.refusal(entry.name, end))
    try:
        with _files.translate_os_errors(Path(saved_inputs.project)):
            request = Request.read(
                saved_inputs.project,
                machine,
                prefix=manifest.python.path.parents[1],
                system_site_packages=saved_inputs.system_site_packages,
            )
            current_inputs = contents.inputs(request, options_digest=saved_inputs.wanted, starting=False)
            inputs, _ = moving.relocated(manifest, current_inputs, machine)
            problem = restoring.mismatch(inputs, request, options_digest=saved_inputs.wanted, starting=False)
    except ColabEnvError as error:
        problem = error.message
    return replace(plain, problem=problem)


def _signature(end: Footer, keyring: Keyring) -> Literal["ours", "another's", "none"]:
    if end.signature is None:
        return "none"
    return "ours" if keyring.knows(end) else "another's"


def _verified(store: Store, entry: Entry, keyring: Keyring, trust: Trust, machine: Machine) -> Cached:
    plain = Cached(file=entry.name, size=entry.size, age=age_of(entry))
    try:
        with _report.activity(f"Reading {entry.name}"), _cache.reading(store, entry.name) as file:
            end = read_footer(file)
            plain = replace(plain, sha256=end.sha256, signature=_signature(end, keyring))
            restoring.rehearse(file, end, machine=machine)
    except (SnapshotError, CacheError) as error:
        return replace(plain, problem=error.message)
    is_taken = plain.signature == "ours" or trust.covers(entry.name, end)
    return plain if is_taken else replace(plain, problem=f"it is whole, but {signing.refusal(entry.name, end)}")


def newest_first(entries: list[Entry]) -> list[Entry]:
    """Return the snapshots among the files of a cache, and what unfinished saves left."""
    relevant = [entry for entry in entries if Name.parsed(entry.name) or entry.is_leftover]
    return sorted(relevant, key=lambda entry: (entry.modified or 0.0, entry.name), reverse=True)


def age_of(entry: Entry) -> float | None:
    """Return the age of a file in seconds, or None."""
    # A clock that was wrong when it was written, or is now: it counts as new.
    return None if entry.modified is None else max(time.time() - entry.modified, 0.0)


def is_abandoned(entry: Entry) -> bool:
    """Say whether a save that was killed left this file."""
    return entry.is_leftover and (age_of(entry) or 0.0) > _LEFTOVER


def _age(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{seconds:.0f} s old"
