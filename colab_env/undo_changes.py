"""What colab-env did to each path, as the ledger has it, and what keeps it from being taken back: `undoing` does that."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from colab_env import _ledger, _state
from colab_env._ledger import Entry, File, Installed, Ledger, MovedTo, Overlaid
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine
from colab_env.miniconda import _overlay_undo

# The download caches that the first version recorded: other tools may have filled them meanwhile.
_CACHES = (".cache/uv", ".cache/pip", ".cache/pypoetry", ".cache/virtualenv", ".cache/conda")
# What Poetry and conda make by themselves in directories that are theirs.
_TOOL_FILES = {".config/pypoetry": (), ".conda": ("environments.txt", "aau_token", "aau_token_host")}
# Named environments have a command of their own. The first version recorded them too.
_NOT_OURS_TO_UNDO = ("create", "adopt", "rename", "upgrade")


@dataclass(frozen=True, kw_only=True)
class Change:
    """All that happened at one path: the `first` entry says what was there before, the `last` what came of it."""

    first: Entry
    last: Entry

    @property
    def path(self) -> Path:
        return self.first.path

    @property
    def overlay(self) -> Path | None:
        """Return where an overlay keeps its originals, or None."""
        return self.last.after.saved if isinstance(self.last.after, Overlaid) else None

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages of the system that apt installed."""
        both = (self.first.after, self.last.after)
        return tuple(dict.fromkeys(name for after in both if isinstance(after, Installed) for name in after.packages))

    @property
    def moved_to(self) -> Path | None:
        return self.first.after.path if isinstance(self.first.after, MovedTo) else None


def read_changes(record: _ledger.Record, machine: Machine) -> list[Change]:
    """Return what happened, by path, the newest first."""
    by_path: dict[Path, list[Entry]] = {}
    for entry in record.entries:
        by_path.setdefault(entry.path, []).append(entry)
    return [
        Change(first=_unbroken(entries)[0], last=entries[-1])
        # The last change first: a file goes before the directory that was made for it.
        for path, entries in reversed(by_path.items())
        if not is_same(path, machine.data)
        and path not in {machine.home / name for name in _CACHES}
        and entries[0].step not in _NOT_OURS_TO_UNDO
    ]


def _unbroken(entries: list[Entry]) -> list[Entry]:
    """Return the entries since somebody else has changed what is at their path: what was there then is to come back."""
    start = 0
    for number, (earlier, later) in enumerate(itertools.pairwise(entries), start=1):
        # Where somebody else changed the path between two entries, what stood before the first is not what to bring
        # back.
        is_left = earlier.after == _ledger.ABSENT or re.fullmatch("[0-9a-f]{64}", str(earlier.after))
        state = None if earlier.after == _ledger.ABSENT else earlier.after
        if isinstance(later.after, MovedTo) or (is_left and later.sha256_before != state):
            start = number
    return entries[start:]


def is_same(path: Path, other: Path) -> bool:
    # The home directory may have had another spelling.
    return path == other or os.path.realpath(path) == os.path.realpath(other)


def is_selected(change: Change, chosen: set[str], project: Path | None, machine: Machine) -> bool:
    if chosen and change.first.step not in chosen:
        return False
    if project is None:
        return True
    kernels = {
        kernel.directory for kernel in kernelspec.registered(machine) if kernel.ours and kernel.project == project
    }
    hidden = {project / ".binder", project / ".devcontainer"}  # `container write` makes them
    return change.path.parent in {project, *hidden} or change.path in kernels


def others_inside(change: Change) -> str | None:
    """Return what is in a directory of another tool's that this tool does not make by itself, or None."""
    own = next((names for name, names in _TOOL_FILES.items() if change.path.match(name)), None)
    if own is None or change.last.after != _ledger.BY_TOOL or not change.path.is_dir():
        return None
    return next((path.name for path in sorted(change.path.iterdir()) if path.name not in own), None)


def obstacles_inside(change: Change) -> dict[Path, str]:
    if change.overlay is None:
        return {}
    obstacles = _overlay_undo.obstacles(change.path, saved=change.overlay)
    return {change.path / name: reason for name, reason in obstacles.items()}


def is_done(change: Change) -> bool:
    if change.overlay is not None:
        return not change.overlay.is_dir()
    if change.moved_to is not None:
        return not change.moved_to.is_dir() and not (os.path.lexists(change.path) and _is_ours(change.path))
    # Whole directories are deleted only where colab-env or conda made them.
    was_ours = change.last.after == _ledger.ABSENT and isinstance(change.first.before, _ledger.Directory)
    return was_ours or _is_unchanged(change) or _is_as_before(change)


def _is_unchanged(change: Change) -> bool:
    """Say whether the steps have left the file as it was: what it is now is its owner's matter."""
    original, after = change.first.before, change.last.after
    return after == original.sha256 if isinstance(original, File) else original is None and after == _ledger.ABSENT


def obstacle(change: Change, ledger: Ledger) -> str | None:
    """Return why a path is left as it is, or None."""
    if change.moved_to is not None:
        is_free = not os.path.lexists(change.path) or _is_ours(change.path)
        if is_free or not change.moved_to.is_dir():
            return None  # what was set aside may be gone, or back
        return "it is not what colab-env made there"
    if change.overlay is not None or _is_unchanged(change) or _is_as_before(change):
        return None
    return _changed_since(change) or _lost(change, ledger)


def _changed_since(change: Change) -> str | None:
    current, after = _ledger.look_at(change.path), change.last.after
    if after == _ledger.ABSENT:
        return None if current is None else "somebody put something there since"
    if after == _ledger.BY_TOOL:
        return None
    if after == _ledger.UNKNOWN:
        return "a step that was killed was changing it; run that step again, and then undo"
    if after == _ledger.TREE:
        is_ours = change.first.before is None and _is_ours(change.path)
        return None if is_ours else "it is not what colab-env made there"
    if current is None:
        return "somebody removed it since" if change.first.before is not None else None
    return None if isinstance(current, File) and current.sha256 == after else "somebody changed it since"


def _lost(change: Change, ledger: Ledger) -> str | None:
    original = change.first.before
    if not isinstance(original, File):
        return None
    try:
        digest = hashlib.sha256(ledger.content(original.sha256).read_bytes()).hexdigest()
    except OSError:
        digest = ""
    return None if digest == original.sha256 else "the copy that was kept of it is damaged"


def _is_ours(tree: Path) -> bool:
    return kernelspec.is_ours(tree) if os.path.lexists(tree / "kernel.json") else _state.is_ours(tree)


def _is_as_before(change: Change) -> bool:
    current, original = _ledger.look_at(change.path), change.first.before
    if isinstance(current, File) and isinstance(original, File):
        return (current.sha256, current.mode) == (original.sha256, original.mode)
    return current == original
