"""Snapshots that survive the machine: save what is set up, and bring it back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env import _report, caches, choice, environment, venv
from colab_env.errors import ColabEnvError, MissingStepError, SnapshotError
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.machine import Machine
from colab_env.request import Request
from colab_env.results import StepResult, short
from colab_env.snapshot import _archive, _cache, contents, restoring
from colab_env.snapshot._archive import Footer
from colab_env.snapshot._cache import Store
from colab_env.snapshot.contents import Name
from colab_env.step import changing, project_lock

VARIABLE = "COLAB_ENV_CACHE"
_LOCKS = ("conda", "poetry", "python")  # those of the steps that make what a snapshot brings


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


def save(directory: str | Path, *, project: str | Path | None = None) -> Saved:
    """Save what `setup` built last as one file in a directory, or at an fsspec address; nothing when it is there.

    The file holds the project's environment, its lock file, the kernel's packages, Poetry, and the Python where uv or
    colab-env brought it into a directory of its own. `project` is by default the one set up last. Raises
    MissingStepError when the project is not set up, CacheError, DiskFullError or SnapshotError.
    """
    machine = Machine.detect()
    place = _project(machine, project)
    with _report.screen(), changing("save", machine, machine.data / "locks" / "snapshot"):
        return _save(_cache.store(directory), machine, place)


def restore(directory: str | Path, *, project: str | Path = ".") -> StepResult:
    """Bring a project's environment back from a cache, if there is a snapshot that fits this machine and these files.

    `register_kernel` then tries the kernel and registers it. Raises SnapshotError when there is none or the one that
    fits is damaged, CacheError, NotOursError, DiskFullError or NotWritableError; then everything is as before.
    """
    machine, path = Machine.detect(), Path(project).expanduser().resolve()
    wanted = [Request.read(path, machine, system_site_packages=visible) for visible in (True, False)]
    with _report.screen():
        return _restore(_cache.store(directory), wanted)[0]


class SetupCache:
    """The cache of one `setup`: whatever goes wrong with it is a note, and the set-up goes on."""

    def __init__(self, where: str | Path | None, request: Request) -> None:
        self._where = where or request.machine.environ.get(VARIABLE) or None
        self._request = request
        self._brought: list[Path] = []
        self._is_stale = False
        self.notes: list[str] = []

    def restore(self) -> StepResult | None:
        """Bring the environment back where it is not there; return what was done, or None."""
        if self._where is None or _is_set_up(self._request):
            return None
        with self._noting("was not used"):
            result, self._brought = _restore(_cache.store(self._where), [self._request])
            return result
        return None

    def discard(self) -> bool:
        """Take away what came from a snapshot whose kernel does not work; say whether there was anything."""
        brought, self._brought = self._brought, []
        machine = self._request.machine
        if brought:
            with changing("restore", machine, project_lock(machine, self._request.project)):
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
            machine, project = self._request.machine, self._request.project
            saved = _save(_cache.store(self._where), machine, project, anew=self._is_stale)
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


def _save(store: Store, machine: Machine, project: Path, *, anew: bool = False) -> Saved:
    began = time.monotonic()
    python = venv.recorded_python(project)
    if python is None:
        msg = f"{short(project)} has no virtual environment"
        raise MissingStepError(msg, hint="run setup() first")
    layer = colab_layer.directory(machine, python)
    request = Request.as_recorded(project, machine)
    problem = environment.health_check(request, python) or colab_layer.health_check(layer)
    if request.kept:
        msg = f"{short(project)} keeps packages of this machine, which a snapshot does not hold"
        raise MissingStepError(msg, hint="set it up without keep=, then save it")
    if problem or (project / venv.NAME / kernelspec.UNTRIED).exists():
        raise MissingStepError(problem or "the kernel has not been tried yet", hint="run setup() first")
    described = contents.manifest(request, python)
    name = str(contents.name_of(machine, described))
    there = None if anew else _size_there(store, name, described)
    size = there or _written(store, name, described, machine=machine, project=project)
    return Saved(
        name=name,
        where=store.where,
        size=size,
        seconds=time.monotonic() - began,
        action="already there" if there else "saved",
        notes=_left_out(described),
    )


def _written(store: Store, name: str, described: dict[str, Any], *, machine: Machine, project: Path) -> int:
    trees = contents.trees(machine, project, contents.python_in(described))
    left = [file for file, digest in described["left"].items() if digest is not None]
    files = {f"{_archive.FILES}/{file}": (project / file).read_bytes() for file in left}
    with _report.activity(f"Saving {name}"), _cache.writing(store, name) as out:
        footer = _archive.write(
            out, manifest=described, files=files, trees=trees, check=contents.link_check(machine, described)
        )
        if contents.files_now(project) != described["left"]:
            msg = f"the files of {short(project)} changed while it was saved"
            raise SnapshotError(msg, hint="save it again when nothing works on the project")
    for entry in _cache.entries(store):
        if caches.is_abandoned(entry):
            _cache.remove(store, entry.name)
    return footer.size


def _size_there(store: Store, name: str, described: dict[str, Any]) -> int | None:
    """Return the size of this very snapshot where the cache has it, whole; None otherwise."""
    found = next((entry for entry in _cache.entries(store) if entry.name == name), None)
    if found is None:
        return None
    try:
        footer = caches.footer(store, name)
    except SnapshotError:
        return None
    decisive = ("inputs", "given", "left", "python", "build", "layer")
    same = all(footer.manifest.get(key) == described[key] for key in decisive)
    return found.size if same else None


def _restore(store: Store, wanted: list[Request]) -> tuple[StepResult, list[Path]]:
    began = time.monotonic()
    project, machine = wanted[0].project, wanted[0].machine
    with contextlib.ExitStack() as held:
        locks = (project_lock(machine, project), *(machine.data / "locks" / name for name in _LOCKS))
        held.enter_context(changing("restore", machine, *locks))
        held.enter_context(_report.activity(f"Looking for a snapshot in {store.where}"))
        name, footer = _fitting(store, wanted)
        with _report.activity(f"Restoring {name}"), _cache.reading(store, name) as file:
            brought = restoring.restore(file, footer, machine=machine, project=project)
    result = StepResult(
        step="restore",
        what=f"Snapshot {name} ({_report.megabytes(footer.size)})",
        where=project,
        action="restored",
        seconds=time.monotonic() - began,
        notes=_left_out(footer.manifest),
        python=contents.python_in(footer.manifest),
    )
    _report.keep(repr(result))
    return result, brought


def _fitting(store: Store, wanted: list[Request]) -> tuple[str, Footer]:
    """Return the newest snapshot that fits one of these. Raises SnapshotError."""
    reasons: list[str] = []
    keys = {contents.key(contents.inputs(each), contents.files_now(each.project)): each for each in wanted}
    for entry in caches.newest_first(_cache.entries(store)):
        name = Name.parsed(entry.name)
        asked = keys.get(name.given) or keys.get(name.left) if name else None
        if asked is None:
            continue
        footer = caches.footer(store, entry.name)
        problem = contents.mismatch(footer.manifest, asked)
        if problem is None:
            return entry.name, footer
        reasons.append(f"{entry.name}: {problem}")
    msg = "; ".join(reasons) or f"the cache {store.where} has no snapshot of this project for this machine yet"
    raise _NothingFitsError(msg, hint="run setup() and then save()")


def _left_out(described: dict[str, Any]) -> tuple[str, ...]:
    return () if contents.holds_its_python(described) else (f"without {described['python']['path']}",)


def _is_set_up(request: Request) -> bool:
    """Say whether the project has its environment already, so that no cache is asked. Reads files only."""
    python = request.recorded_python
    if python is None or python.source != request.source or not request.specifier.contains(python.version):
        return False
    return environment.health_check(request, python) is None


def _project(machine: Machine, project: str | Path | None) -> Path:
    chosen = Path(project).expanduser() if project is not None else choice.path(machine, "project")
    if chosen is None:
        msg = "nothing has been set up yet"
        raise MissingStepError(msg, hint="run setup() first, or name the project")
    return Path(os.path.realpath(chosen))
