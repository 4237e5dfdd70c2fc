"""Snapshots that survive the machine: save what is set up, bring it back, and look after the cache they lie in."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env import (
    _archive,
    _cache,
    _files,
    _journal,
    _report,
    _unpack,
    choice,
    colab_layer,
    environment,
    kernelspec,
    pyproject,
    restoring,
    snapshot,
    venv,
)
from colab_env._archive import Footer
from colab_env._cache import Store
from colab_env.environment import Environment
from colab_env.errors import CacheError, ColabEnvError, MissingStepError, SnapshotError, UsageError
from colab_env.interpreter import parse_specifier
from colab_env.results import StepResult, short
from colab_env.runtime import Runtime
from colab_env.snapshot import Asked, Name
from colab_env.step import project_lock

VARIABLE = "COLAB_ENV_CACHE"
_LEFTOVER = 3600.0  # seconds without a byte after which an unfinished file is nobody's work any more
_LOCKS = ("conda", "poetry", "python")  # those of the steps that make what a snapshot brings
_DAY = 86400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A snapshot as `save` left it: where it lies, its size in bytes, whether this call wrote it."""

    name: str
    where: str
    size: int
    seconds: float
    action: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        line = f"✓ Snapshot {self.name} in {self.where} ({_report.megabytes(self.size)}, {self.action}, {self.seconds:.1f} s)"
        return "\n".join([line, *(f"  {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


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


def save(directory: str | Path, *, project: str | Path | None = None) -> Saved:
    """Save what `setup` built last as one file in a directory, or at an fsspec address; nothing when it is there.

    The file holds the project's environment, its lock file, the kernel's packages, Poetry, and the Python where uv or
    colab-env brought it into a directory of its own. `project` is by default the one set up last. Raises
    MissingStepError when the project is not set up, CacheError, DiskFullError or SnapshotError.
    """
    runtime = Runtime.detect()
    place = _project(runtime, project)
    with _report.screen(), _files.locked(runtime.data / "locks" / "snapshot"):
        return _save(_cache.store(directory), runtime, place)


def restore(directory: str | Path, *, project: str | Path = ".") -> StepResult:
    """Bring a project's environment back from a cache, if there is a snapshot that fits this machine and these files.

    `register_kernel` then tries the kernel and registers it. Raises SnapshotError when there is none or the one that
    fits is damaged, CacheError, NotOursError, DiskFullError or NotWritableError; then everything is as before.
    """
    runtime, place = Runtime.detect(), Path(project).expanduser().resolve()
    asked = pyproject.requires_python(place)
    wanted = [
        Asked(project=place, specifier=parse_specifier(asked) if asked else None, system_site_packages=visible)
        for visible in (True, False)
    ]
    with _report.screen():
        return _restore(_cache.store(directory), runtime, wanted)[0]


def cache_list(directory: str | Path) -> CacheListing:
    """Return the snapshots of a cache, newest first, and whether each fits this machine. Reads the end of each file."""
    runtime, store = Runtime.detect(), _cache.store(directory)
    found = [_described(store, entry, runtime) for entry in _newest_first(_cache.entries(store))]
    return CacheListing(where=store.where, snapshots=tuple(found), action="there")


def cache_verify(directory: str | Path) -> CacheListing:
    """Read every snapshot of a cache to its end and compare its checksum; `problem` says what is damaged."""
    store = _cache.store(directory)
    with _report.screen():
        wanted = [entry for entry in _newest_first(_cache.entries(store)) if Name.parsed(entry.name)]
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
    entries = _newest_first(_cache.entries(store))
    snapshots = [entry for entry in entries if Name.parsed(entry.name)]
    unwanted = {entry.name for entry in snapshots[keep:]} if keep is not None else set()
    if older_than is not None:
        unwanted |= {entry.name for entry in snapshots if (_age_of(entry) or 0.0) > older_than * _DAY}
    unwanted |= {entry.name for entry in entries if _is_abandoned(entry)}
    gone = [Cached(file=each.name, size=each.size, age=_age_of(each)) for each in entries if each.name in unwanted]
    for each in gone if not dry_run else ():
        _cache.remove(store, each.file)
    return CacheListing(where=store.where, snapshots=tuple(gone), action="would be removed" if dry_run else "removed")


class SetupCache:
    """The cache of one `setup`: whatever goes wrong with it is a note, and the set-up goes on."""

    def __init__(self, where: str | Path | None, runtime: Runtime, asked: Asked) -> None:
        self._where = where or runtime.environ.get(VARIABLE) or None
        self._runtime = runtime
        self._asked = asked
        self._brought: list[Path] = []
        self._is_stale = False
        self.notes: list[str] = []

    def restore(self) -> StepResult | None:
        """Bring the environment back where it is not there; return what was done, or None."""
        if self._where is None or _is_set_up(self._asked, self._runtime):
            return None
        with self._noting("was not used"):
            result, self._brought = _restore(_cache.store(self._where), self._runtime, [self._asked])
            return result
        return None

    def discard(self) -> bool:
        """Take away what came from a snapshot whose kernel does not work; say whether there was anything."""
        brought, self._brought = self._brought, []
        restoring.forget(brought)
        if brought:
            self._is_stale = True
            self.notes.append("the kernel from the snapshot did not work: everything was built anew")
        return bool(brought)

    def save(self) -> None:
        """Save what was built, unless it is there; a damaged snapshot is replaced."""
        if self._where is None:
            return
        with self._noting("was not written"):
            saved = _save(_cache.store(self._where), self._runtime, self._asked.project, anew=self._is_stale)
            if saved.action == "saved":
                _report.keep(repr(saved))

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except _NothingFitsError as error:
            self._note(str(error.message))
        except (ColabEnvError, OSError, ImportError, MemoryError) as error:
            self._is_stale = self._is_stale or isinstance(error, SnapshotError)
            self._note(f"the cache {what}: {getattr(error, 'message', error)}")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        _report.keep(text)


class _NothingFitsError(SnapshotError):
    """A cache without a snapshot for this place: nothing is wrong."""


def _save(store: Store, runtime: Runtime, project: Path, *, anew: bool = False) -> Saved:
    began = time.monotonic()
    python = venv.recorded_python(project)
    if python is None:
        msg = f"{short(project)} has no virtual environment"
        raise MissingStepError(msg, hint="run setup() first")
    layer = colab_layer.directory(runtime, python)
    problem = environment.health_check(project, python, runtime) or colab_layer.health_check(layer)
    if venv.recorded_wish(project).get("kept"):
        msg = f"{short(project)} keeps packages of this machine, which a snapshot does not hold"
        raise MissingStepError(msg, hint="set it up without keep=, then save it")
    if problem or (project / venv.NAME / kernelspec.UNTRIED).exists():
        raise MissingStepError(problem or "the kernel has not been tried yet", hint="run setup() first")
    described = snapshot.manifest(runtime, project, python)
    name = str(snapshot.name_of(runtime, described))
    there = None if anew else _size_there(store, name, described)
    size = there or _written(store, name, described, runtime=runtime, project=project)
    return Saved(
        name=name,
        where=store.where,
        size=size,
        seconds=time.monotonic() - began,
        action="already there" if there else "saved",
        notes=_left_out(described),
    )


def _written(store: Store, name: str, described: dict[str, Any], *, runtime: Runtime, project: Path) -> int:
    trees = snapshot.trees(runtime, project, snapshot.python_in(described))
    left = [file for file, digest in described["left"].items() if digest is not None]
    files = {f"{_archive.FILES}/{file}": (project / file).read_bytes() for file in left}
    with _report.activity(f"Saving {name}"), _cache.writing(store, name) as out:
        footer = _archive.write(
            out, manifest=described, files=files, trees=trees, check=snapshot.link_check(runtime, described)
        )
        if snapshot.files_now(project) != described["left"]:
            msg = f"the files of {short(project)} changed while it was saved"
            raise SnapshotError(msg, hint="save it again when nothing works on the project")
    for entry in _cache.entries(store):
        if _is_abandoned(entry):
            _cache.remove(store, entry.name)
    return footer.size


def _size_there(store: Store, name: str, described: dict[str, Any]) -> int | None:
    """Return the size of this very snapshot where the cache has it, whole; None otherwise."""
    found = next((entry for entry in _cache.entries(store) if entry.name == name), None)
    if found is None:
        return None
    try:
        footer = _footer(store, name)
    except SnapshotError:
        return None
    decisive = ("inputs", "given", "left", "python", "build", "layer")
    same = all(footer.manifest.get(key) == described[key] for key in decisive)
    return found.size if same else None


def _restore(store: Store, runtime: Runtime, wanted: list[Asked]) -> tuple[StepResult, list[Path]]:
    began = time.monotonic()
    project = wanted[0].project
    with contextlib.ExitStack() as held:
        held.enter_context(_journal.during("restore"))  # before the first file below the data directory
        for lock in (project_lock(runtime, project), *(runtime.data / "locks" / name for name in _LOCKS)):
            held.enter_context(_files.locked(lock))
        held.enter_context(_report.activity(f"Looking for a snapshot in {store.where}"))
        name, footer = _fitting(store, runtime, wanted)
        with _report.activity(f"Restoring {name}"), _cache.reading(store, name) as file:
            restoring.clear_leftovers(runtime, project)
            brought = restoring.restore(file, footer, runtime=runtime, project=project)
    result = StepResult(
        step="restore",
        what=f"Snapshot {name} ({_report.megabytes(footer.size)})",
        where=project,
        action="restored",
        seconds=time.monotonic() - began,
        notes=_left_out(footer.manifest),
        python=snapshot.python_in(footer.manifest),
    )
    _report.keep(repr(result))
    return result, brought


def _fitting(store: Store, runtime: Runtime, wanted: list[Asked]) -> tuple[str, Footer]:
    """Return the newest snapshot that fits one of the wanted. Raises SnapshotError."""
    reasons: list[str] = []
    keys = {_key(runtime, asked): asked for asked in wanted}
    for entry in _newest_first(_cache.entries(store)):
        name = Name.parsed(entry.name)
        asked = keys.get(name.given) or keys.get(name.left) if name else None
        if asked is None:
            continue
        footer = _footer(store, entry.name)
        problem = snapshot.misfit(runtime, footer.manifest, asked)
        if problem is None:
            return entry.name, footer
        reasons.append(f"{entry.name}: {problem}")
    msg = "; ".join(reasons) or f"the cache {store.where} has no snapshot of this project for this machine yet"
    raise _NothingFitsError(msg, hint="run setup() and then save()")


def _key(runtime: Runtime, asked: Asked) -> str:
    return snapshot.key(asked.inputs(runtime), snapshot.files_now(asked.project))


def _footer(store: Store, name: str) -> Footer:
    with _cache.reading(store, name) as file:
        return _archive.read_footer(file)


def _left_out(described: dict[str, Any]) -> tuple[str, ...]:
    return () if snapshot.holds_its_python(described) else (f"without {described['python']['path']}",)


def _is_set_up(asked: Asked, runtime: Runtime) -> bool:
    """Say whether the project has its environment already, so that no cache is asked. Reads files only."""
    python, visible = venv.recorded_python(asked.project), asked.system_site_packages
    if python is None or (asked.source is not None and python.source != asked.source):
        return False
    if asked.specifier is not None and not asked.specifier.contains(python.version):
        return False
    work = Environment(asked.project, python, runtime, system_site_packages=visible, wish=asked.wish)
    return work.check() is None


def _project(runtime: Runtime, project: str | Path | None) -> Path:
    chosen = Path(project).expanduser() if project is not None else choice.place(runtime, "project")
    if chosen is None:
        msg = "nothing has been set up yet"
        raise MissingStepError(msg, hint="run setup() first, or name the project")
    return Path(os.path.realpath(chosen))


def _described(store: Store, entry: _cache.Entry, runtime: Runtime) -> Cached:
    plain: dict[str, Any] = {"file": entry.name, "size": entry.size, "age": _age_of(entry)}
    if entry.is_leftover:
        return Cached(**plain, problem="a save that is at work, or was killed; `cache prune` takes it away in time")
    try:
        described = _footer(store, entry.name).manifest
        known, python = described["inputs"], described["python"]
        asked = Asked(
            project=Path(known["project"]),
            system_site_packages=known["system_site_packages"],
            wanted=str(known["wanted"]),
        )
        facts: dict[str, Any] = {
            "project": known["project"],
            "python": python["version"],
            "packages": described["packages"],
        }
    except SnapshotError as error:
        return Cached(**plain, problem=error.message)
    except (KeyError, TypeError):
        return Cached(**plain, problem="its description is not one of colab-env's")
    return Cached(**plain, **facts, problem=snapshot.misfit(runtime, described, asked))


def _verified(store: Store, entry: _cache.Entry) -> Cached:
    problem = None
    try:
        with _report.activity(f"Reading {entry.name}"), _cache.reading(store, entry.name) as file:
            _unpack.verify(file)
    except (SnapshotError, CacheError) as error:
        problem = error.message
    return Cached(file=entry.name, size=entry.size, age=_age_of(entry), problem=problem)


def _newest_first(entries: list[_cache.Entry]) -> list[_cache.Entry]:
    wanted = [entry for entry in entries if Name.parsed(entry.name) or entry.is_leftover]
    return sorted(wanted, key=lambda entry: (entry.modified or 0.0, entry.name), reverse=True)


def _age_of(entry: _cache.Entry) -> float | None:
    # A clock that was wrong when it was written, or is now: it counts as new.
    return None if entry.modified is None else max(time.time() - entry.modified, 0.0)


def _is_abandoned(entry: _cache.Entry) -> bool:
    return entry.is_leftover and (_age_of(entry) or 0.0) > _LEFTOVER


def _age(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{seconds:.0f} s old"
