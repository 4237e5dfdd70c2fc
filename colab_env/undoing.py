"""Take back what colab-env changed on this machine, place by place, as the journal says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env import _files, _journal, _state
from colab_env.jupyter import kernelspec
from colab_env.miniconda import _overlay_undo
from colab_env.results import short
from colab_env.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Undone:
    """One place: `action` is "put back", "removed" or "left"; `reason` says why it was left."""

    path: Path
    step: str
    action: str
    reason: str | None = None

    def __repr__(self) -> str:
        line = f"{'✗' if self.reason else '✓'} {short(self.path)}: {self.action}"
        return f"{line}, {self.reason}" if self.reason else line


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """Everything that `undo` did, or with `dry_run` would do, the newest change first."""

    places: tuple[Undone, ...]
    dry_run: bool

    @property
    def complete(self) -> bool:
        """Say whether nothing was left."""
        return all(place.reason is None for place in self.places)

    def __repr__(self) -> str:
        if not self.places:
            return "✓ There is nothing to undo"
        first = ["Nothing was changed; undo() would do this:"] if self.dry_run else []
        return "\n".join([*first, *map(repr, self.places)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        places = [{**asdict(place), "path": str(place.path)} for place in self.places]
        return {"dry_run": self.dry_run, "complete": self.complete, "places": places}


@dataclass(frozen=True, kw_only=True)
class _Change:
    """All that happened at one place: what was there before the first change, and what the last one left."""

    path: Path
    step: str
    before: dict[str, Any] | None
    after: Any
    made: tuple[str, ...]
    moved_to: Path | None = None
    overlay: Path | None = None
    """Where an overlay keeps its originals."""


def undo(steps: str | Iterable[str] | None = None, *, dry_run: bool = False) -> UndoResult:
    """Put everything back as it was before colab-env's first step on this machine, or only what some steps changed.

    `steps` are verbs' names, such as "register_kernel" or "switch". Files that colab-env replaced come back with their
    content, mode and time; what it made goes. What somebody changed since is left as it is, and the result says so.
    Notebooks are not touched: see `restore_notebook`. The data directory goes last, once nothing is left.
    """
    runtime = Runtime.detect()
    chosen = {steps} if isinstance(steps, str) else set(steps or ())
    lock = runtime.data.with_name(f".{runtime.data.name}.lock")
    parents = [*_parents_made(runtime), *(each for each in lock.parents if not each.exists())]
    with _files.locked(lock):
        changes = [each for each in _changes(runtime) if not chosen or each.step in chosen]
        places = [place for change in changes for place in _undone(runtime, change, dry_run=dry_run)]
        if not dry_run:
            _clear(runtime, changes, places, whole=not chosen)
    lock.unlink()
    for parent in () if runtime.data.is_dir() else parents:
        _remove_empty(parent)
    if not chosen and runtime.data.is_dir() and dry_run:
        places.append(Undone(path=runtime.data, step="setup", action="removed"))
    return UndoResult(places=tuple(places), dry_run=dry_run)


def _changes(runtime: Runtime) -> list[_Change]:
    first: dict[str, dict[str, Any]] = {}
    last: dict[str, dict[str, Any]] = {}
    for entry in _journal.entries(runtime):
        first.setdefault(entry["path"], entry)
        last[entry["path"]] = entry
    return [
        _Change(
            path=Path(path),
            step=first[path]["step"],
            before=first[path]["before"],
            after=last[path]["after"],
            made=tuple(first[path]["made"]),
            moved_to=_place(first[path]["after"], "moved_to"),
            overlay=_place(last[path]["after"], "saved"),
        )
        for path in reversed(first)
        if path != str(runtime.data)
    ]


def _parents_made(runtime: Runtime) -> list[Path]:
    """Return the parents of the data directory that did not exist before it, the innermost first."""
    entries = _journal.entries(runtime)
    return [Path(each) for each in next((each["made"] for each in entries if each["path"] == str(runtime.data)), ())]


def _place(after: Any, key: str) -> Path | None:
    return Path(after[key]) if isinstance(after, dict) and key in after else None


def _undone(runtime: Runtime, change: _Change, *, dry_run: bool) -> list[Undone]:
    reason = _obstacle(change)
    if reason is not None:
        return [_left(change, change.path, reason)]
    if _is_done(change):
        return []
    left = [_left(change, path, reason) for path, reason in _left_inside(change).items()]
    action = "removed" if change.before is None else "put back"
    if not dry_run:
        _take_back(runtime, change)
        for parent in change.made:
            _remove_empty(Path(parent))
    return [Undone(path=change.path, step=change.step, action=action), *left]


def _left(change: _Change, path: Path, reason: str) -> Undone:
    return Undone(path=path, step=change.step, action="left", reason=reason)


def _left_inside(change: _Change) -> dict[Path, str]:
    if change.overlay is None:
        return {}
    return {
        change.path / name: reason
        for name, reason in _overlay_undo.obstacles(change.path, saved=change.overlay).items()
    }


def _is_done(change: _Change) -> bool:
    if change.overlay is not None:
        return not change.overlay.is_dir()
    # Whole directories are deleted only where colab-env or conda made them.
    was_ours = change.after == _journal.ABSENT and (change.before or {}).get("kind") == "directory"
    return change.moved_to is None and (was_ours or _is_as_before(change))


def _obstacle(change: _Change) -> str | None:  # noqa: PLR0911 - one line for each reason
    if change.moved_to is not None:
        return None if change.moved_to.is_dir() else f"{short(change.moved_to)} is gone"
    if change.overlay is not None or _is_as_before(change):
        return None
    now = _journal.seen(change.path)
    if change.after == _journal.ABSENT:
        return None if now is None else "somebody put something there since"
    if change.after == _journal.TOOL:
        return None
    if change.after == _journal.TREE:
        return None if change.before is None and _is_ours(change.path) else "it is not what colab-env made there"
    if now is None:
        return "somebody removed it since" if change.before is not None else None
    return None if now.get("sha256") == change.after else "somebody changed it since"


def _is_ours(tree: Path) -> bool:
    return kernelspec.is_ours(tree) if os.path.lexists(tree / "kernel.json") else _state.is_marked(tree)


def _is_as_before(change: _Change) -> bool:
    now = _journal.seen(change.path)
    if now is None or change.before is None:
        return now is change.before
    counts = ("kind", "sha256", "link", "mode")
    return all(now.get(key) == change.before.get(key) for key in counts)


def _take_back(runtime: Runtime, change: _Change) -> None:
    if change.moved_to is not None:
        _files.remove(change.path)
        _files.move(change.moved_to, change.path)
    elif change.overlay is not None:
        _overlay_undo.undo(change.path, saved=change.overlay)
    elif change.before is None:
        _files.remove(change.path)
    elif change.before["kind"] == "file":
        _files.copy(_journal.saved(runtime, change.before["sha256"]), change.path)
        change.path.chmod(change.before["mode"])
        os.utime(change.path, ns=(change.before["mtime_ns"],) * 2)
    elif change.before["kind"] == "link":
        _files.remove(change.path)
        change.path.symlink_to(change.before["link"])


def _clear(runtime: Runtime, changes: list[_Change], places: list[Undone], *, whole: bool) -> None:
    left = {str(place.path) for place in places if place.reason is not None}
    gone = {str(change.path) for change in changes if change.overlay is None or not change.overlay.is_dir()} - left
    entries = _journal.entries(runtime)
    kept = [entry for entry in entries if entry["path"] not in gone]
    if whole and not left:
        _remove_from_path(runtime.bin)
        _files.remove(Path(f"/dev/shm/colab-env-{os.getuid()}"))  # noqa: S108  (the guard's second place)
        _files.remove(runtime.data)
    elif runtime.data.is_dir():
        _journal.replace(runtime, kept)


def _remove_from_path(directory: Path) -> None:
    # The counterpart of install_poetry, whose purpose is the notebook's own PATH.
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if str(directory) in parts:
        os.environ["PATH"] = os.pathsep.join(part for part in parts if part != str(directory))


def _remove_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
