"""Snapshots that survive the machine: save what is set up, and bring it back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from colab_env import _report, caches, choice, environment, venv
from colab_env.errors import CacheError, ColabEnvError, MissingStepError, SnapshotError
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.machine import Machine
from colab_env.request import Request, project_directory
from colab_env.results import CardResult, StepResult, short
from colab_env.snapshot import _archive, _cache, contents, moving, restoring, signing
from colab_env.snapshot._cache import Store
from colab_env.snapshot.manifest import Footer, Manifest, Name, key
from colab_env.snapshot.restoring import Destination
from colab_env.snapshot.signing import Keyring, Trust
from colab_env.step import changing, project_lock

_DECISIVE = ("inputs", "given", "left", "python", "build", "layer")
_LOCKS = ("conda", "poetry", "python")  # those of the steps that make what a snapshot brings


@dataclass(frozen=True, kw_only=True)
class Saved(CardResult):
    """A snapshot as `save` left it: where it lies, its size in bytes, whether this call wrote it.

    `sha256` is the checksum by which `trust=` takes it on a machine that does not have its key.
    """

    name: str
    where: str
    size: int
    seconds: float
    action: str
    sha256: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        line = f"✓ Snapshot {self.name} in {self.where} ({_report.megabytes(self.size)}, {self.action}, {self.seconds:.1f} s)"
        return "\n".join([line, *(f"  {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        from colab_env import cards

        facts = f"{_report.megabytes(self.size)} in {self.where}"
        row = cards.Row(
            mark="✓",
            name="Snapshot",
            text=facts,
            aside=f"{self.seconds:.1f} s" if self.action == "saved" else self.action,
            details=(self.name, f"sha256 {self.sha256}, for trust= on a machine without your key"),
        )
        return cards.card("The environment is saved", [row], notes=self.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@_report.ends_in_card
def save(directory: str | Path, *, project: str | Path | None = None) -> Saved:
    """Save what `setup` built last as one file in a directory, or at an fsspec address; nothing when it is there.

    The file holds the project's environment, its lock file, the kernel's packages, Poetry, and the Python where uv or
    colab-env brought it into a directory of its own. It is signed with this machine's key, which the first save makes
    (see `cache_key`). `project` is by default the one set up last. Raises MissingStepError when the project is not set
    up, CacheError, DiskFullError or SnapshotError.
    """
    machine = Machine.detect()
    project_path = _project(machine, project)
    with changing("save", machine, machine.data / "locks" / "snapshot"):
        return _save(_OpenCache.at(directory, machine), project_path)


@_report.ends_in_card
def restore(directory: str | Path, *, project: str | Path = ".", trust: str | None = None) -> StepResult:
    """Bring a project's environment back from a cache, if there is a snapshot that fits this machine and these files.

    It has to be signed with a key of this machine, or be the one that `trust` names: the name of a snapshot's file, or a
    SHA-256 that `cache_list` shows. `register_kernel` then tries the kernel and registers it. Raises SnapshotError when
    there is none, the one that fits is damaged, or nobody vouches for it; CacheError, NotOursError, DiskFullError or
    NotWritableError; UsageError for a `trust` that is neither. Then everything is as before.
    """
    machine, path = Machine.detect(), project_directory(project)
    cache = _OpenCache.at(directory, machine, trust=trust)
    requests = [Request.read(path, machine, system_site_packages=visible) for visible in (True, False)]
    return _restore(cache, requests)[0]


@dataclass(frozen=True, kw_only=True)
class _OpenCache:
    """A cache, and whose snapshots in it count."""

    store: Store
    machine: Machine
    keyring: Keyring
    trust: Trust

    @classmethod
    def at(cls, where: str | Path, machine: Machine, *, trust: str | None = None) -> _OpenCache:
        """Open a cache. Raises UsageError."""
        return cls(
            store=_cache.store(where, downloads=machine.data / "downloads"),
            machine=machine,
            keyring=Keyring(machine),
            trust=Trust.parsed(trust),
        )

    def accepts(self, name: str, footer: Footer) -> bool:
        """Say whether somebody vouches for a snapshot: the person by its name, or a key by its signature."""
        return self.trust.covers(name, footer) or self.keyring.knows(footer)


class SetupCache:
    """The cache of one `setup`: whatever goes wrong with it is a note, and the set-up goes on."""

    def __init__(self, where: str | Path, request: Request, *, trust: str | None = None) -> None:
        self._where = where
        self._trust = trust
        Trust.parsed(trust)  # what cannot be right is an error; what a cache does is a note
        self._request = request
        self._brought: list[Path] = []
        self._is_stale = False
        self.notes: list[str] = []

    def restore(self) -> StepResult | None:
        """Bring the environment back where it is not there; return what was done, or None."""
        if _is_set_up(self._request):
            return None
        with self._noting("was not used"):
            result, self._brought = _restore(self._opened, [self._request])
            return result
        return None

    @cached_property
    def _opened(self) -> _OpenCache:
        return _OpenCache.at(self._where, self._request.machine, trust=self._trust)

    def discard(self) -> bool:
        """Take away what came from a snapshot whose kernel does not work; say whether there was anything."""
        brought, self._brought = self._brought, []
        machine = self._request.machine
        if brought:
            with changing("restore", machine, project_lock(machine, self._request.project)):
                restoring.forget(brought)
        if brought:
            # So that `save` replaces the snapshot instead of finding it there.
            self._is_stale = True
            self.notes.append("the kernel from the snapshot did not work: everything was built anew")
        return bool(brought)

    def save(self) -> None:
        """Save what was built, unless it is there or nothing can be written there; a damaged snapshot is replaced."""
        with self._noting("was not written"):
            if self._opened.store.is_read_only:
                return
            saved = _save(self._opened, self._request.project, anew=self._is_stale)
            if saved.action == "saved":
                _report.keep(repr(saved))
                # Only once, so never missed.
                self.notes += [note for note in saved.notes if signing.VARIABLE in note or caches.LIMIT in note]

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except _NothingFitsError as error:
            self._note(str(error.message))
        # ImportError is fsspec's or its back end's; MemoryError a file's that says it is enormous.
        except (ColabEnvError, OSError, ImportError, MemoryError) as error:
            self._is_stale = self._is_stale or isinstance(error, SnapshotError)
            self._note(f"the cache {what}: {getattr(error, 'message', error)}")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        _report.keep(text)


class _NothingFitsError(SnapshotError):
    """A cache without a snapshot for this place: nothing is wrong."""


def _save(cache: _OpenCache, project: Path, *, anew: bool = False) -> Saved:
    began, machine = time.monotonic(), cache.machine
    if cache.store.is_read_only:
        msg = f"the cache {cache.store.where} can be read, not written"
        raise CacheError(msg, hint="save into another directory, then copy all of that there, index.json too")
    python = venv.recorded_python(project)
    if python is None:
        msg = f"{short(project)} has no virtual environment"
        raise MissingStepError(msg, hint="run setup() first")
    layer = colab_layer.of_environment(project / venv.NAME, machine=machine, python=python)
    request = Request.as_recorded(project, machine)
    # A snapshot of what is damaged would bring the damage to the next machine.
    problem = environment.health_check(request, python) or colab_layer.health_check(layer)
    if request.kept:
        msg = f"{short(project)} keeps packages of this machine, which a snapshot does not hold"
        raise MissingStepError(msg, hint="set it up without keep=, then save it")
    if problem or (project / venv.NAME / kernelspec.UNTRIED).exists():
        raise MissingStepError(problem or "the kernel has not been tried yet", hint="run setup() first")
    # Where this Python is, not where conda would go by default.
    request = replace(request, prefix=python.path.parents[1])
    values = contents.manifest(request, python)
    manifest = Manifest.read(values)
    # The same check as a restore makes: what could not come back is not saved.
    if (reason := restoring.mismatch(manifest, request, starting=False)) is not None:
        msg = f"a snapshot of {short(project)} could not be restored: {reason}"
        raise SnapshotError(msg, hint="set the project up again, then save it")
    limit = caches.limit(machine)
    default_name = contents.name_of(machine, manifest)
    existing = None if anew else _existing(cache, default_name, manifest)
    name, footer, hints = (
        (*existing, ())
        if existing
        else (str(default_name), *_written(cache, str(default_name), values, Destination.of(manifest, request), limit))
    )
    return Saved(
        name=name,
        where=cache.store.where,
        size=footer.size,
        seconds=time.monotonic() - began,
        action="already there" if existing else "saved",
        sha256=footer.sha256,
        notes=(*_left_out(manifest), *hints),
    )


def _written(
    cache: _OpenCache, name: str, values: dict[str, Any], destination: Destination, limit: int
) -> tuple[Footer, tuple[str, ...]]:
    machine, project, python = cache.machine, destination.trees["venv"].parent, destination.python
    signing_key, is_new = cache.keyring.signing()
    # What the set-up left as it was is there wherever this is restored. It may hold a password, and a cache may be anybody's.
    given = values["given"]
    remaining = [file for file, digest in values["left"].items() if digest is not None and digest != given[file]]
    packed = _archive.Contents(
        manifest=values,
        files={f"{_archive.FILES}/{file}": (project / file).read_bytes() for file in remaining},
        trees=contents.trees(machine, project, python),
        check=restoring.link_check(destination.trees, destination.links, [python.path, machine.machine_python]),
    )
    # The first imports of numpy, matplotlib, scikit-learn and scipy took 26.6 seconds without compiled files and 7.4
    # with them.
    with _report.activity(f"Compiling the packages of {short(project)}"):
        venv.finish_compiling(project / venv.NAME, python.path, machine=machine, lock=project_lock(machine, project))
    with _report.activity(f"Saving {name}"), _cache.writing(cache.store, name) as out:
        footer = _archive.write(out, packed, sign=signing_key.sign)
        # Inside the block: the file gets its name only when this has been compared.
        if contents.files_now(project) != values["left"]:
            msg = f"the files of {short(project)} changed while it was saved"
            raise SnapshotError(msg, hint="save it again when nothing works on the project")
    gone = caches.make_room(cache.store, cache.keyring, keep=name, limit=limit)
    return footer, (*([signing.keep_hint()] if is_new else []), *gone)


def _existing(cache: _OpenCache, name: Name, manifest: Manifest) -> tuple[str, Footer] | None:
    """Return the name and the end of this very snapshot where the cache has it, whatever its project was called there."""
    names = {entry.name: Name.parsed(entry.name) for entry in _cache.entries(cache.store)}
    same = [candidate for candidate, parsed in names.items() if parsed is not None and parsed.key == name.key]
    footers = (
        (candidate, _same_footer(cache, candidate, manifest)) for candidate in sorted(same, key=str(name).__ne__)
    )
    return next(((candidate, footer) for candidate, footer in footers if footer is not None), None)


def _same_footer(cache: _OpenCache, name: str, manifest: Manifest) -> Footer | None:
    """Return the end of a file if it is this very snapshot, whole, and for us; None otherwise."""
    try:
        footer = caches.footer(cache.store, name)
        saved = Manifest.read(footer.manifest)
    except SnapshotError:
        return None
    saved, _ = moving.relocated(saved, manifest.inputs, cache.machine)
    is_same = all(getattr(saved, field) == getattr(manifest, field) for field in _DECISIVE)
    return footer if is_same and cache.accepts(name, footer) else None


def _restore(cache: _OpenCache, requests: list[Request]) -> tuple[StepResult, list[Path]]:
    began = time.monotonic()
    project, machine = requests[0].project, requests[0].machine
    with contextlib.ExitStack() as stack:
        # All that a snapshot may bring, so that no step makes one of them meanwhile.
        locks = (project_lock(machine, project), *(machine.data / "locks" / name for name in _LOCKS))
        stack.enter_context(changing("restore", machine, *locks))
        stack.enter_context(_report.activity(f"Looking for a snapshot in {cache.store.where}"))
        fitting = _fitting(cache, requests)
        with _report.activity(f"Restoring {fitting.name}"), _cache.reading(cache.store, fitting.name) as file:
            brought = restoring.restore(file, fitting.footer, fitting.destination, machine=machine, project=project)
    result = StepResult(
        step="restore",
        what=f"Snapshot {fitting.name} ({_report.megabytes(fitting.footer.size)})",
        where=project,
        action="restored",
        seconds=time.monotonic() - began,
        notes=_left_out(fitting.manifest),
        python=fitting.destination.python,
    )
    _report.keep(repr(result))
    return result, brought


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """A snapshot that fits, and where its parts go here."""

    name: str
    footer: Footer
    manifest: Manifest
    destination: Destination


def _fitting(cache: _OpenCache, requests: list[Request]) -> _Fitting:
    """Return the newest snapshot that fits one of these, and that somebody vouches for. Raises SnapshotError."""
    reasons: list[str] = []
    keys = {
        key(identity, contents.files_now(candidate.project)): candidate
        for candidate in requests
        for identity in contents.identities(contents.inputs(candidate))
    }
    entries = {entry.name: entry for entry in caches.newest_first(_cache.entries(cache.store))}
    for entry in entries.values():
        name = Name.parsed(entry.name)
        request = keys.get(name.given) or keys.get(name.left) if name else None
        if request is None:
            continue
        footer = caches.footer(cache.store, entry.name)
        if not cache.accepts(entry.name, footer):  # nothing in it is looked at
            reasons.append(signing.refusal(entry.name, footer))
            continue
        manifest, move = moving.relocated(Manifest.read(footer.manifest), contents.inputs(request), cache.machine)
        problem = restoring.mismatch(manifest, request)
        if problem is None:
            where = Destination.of(manifest, request, move)
            return _Fitting(name=entry.name, footer=footer, manifest=manifest, destination=where)
        reasons.append(f"{entry.name}: {problem}")
    if cache.trust.name is not None and cache.trust.name not in entries:
        reasons.append(f"{cache.trust.name} is not there")
    msg = "; ".join(reasons) or f"the cache {cache.store.where} has no snapshot of this project for this machine yet"
    raise _NothingFitsError(msg, hint="run setup() and then save()")


def _left_out(manifest: Manifest) -> tuple[str, ...]:
    return () if manifest.holds_its_python else (f"without {manifest.python.path}",)


def _is_set_up(request: Request) -> bool:
    """Say whether the project has its environment already, so that no cache is asked. Reads files only."""
    python = request.recorded_python
    if python is None or python.source != request.source or not request.specifier.contains(python.version):
        return False
    return environment.health_check(request, python) is None


def _project(machine: Machine, project: str | Path | None) -> Path:
    chosen = project_directory(project) if project is not None else choice.path(machine, "project")
    if chosen is None:
        msg = "nothing has been set up yet"
        raise MissingStepError(msg, hint="run setup() first, or name the project")
    return Path(os.path.realpath(chosen))
