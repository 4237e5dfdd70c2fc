"""Write down what was at a place before colab-env changed it, so that `undo` can put it back.

Only `_files`, `_overlay` and `Step` write here. What lies in the data directory is not noted: all of it is colab-env's
own. One line of JSON for each change, written before it: step    the verb that was at work path    the place before
None (nothing was there), or what was: kind, sha256, mode, mtime_ns, saved content, link after   the SHA-256 of the file
that comes, "absent", "tree" (a directory that the verb fills and marks as ours), "tool" (what uv, pip, Poetry or conda
made for itself), "unknown" (a tool is about to write), or an object: `moved_to` a path, or `saved`, the place of an
overlay's originals made    parent directories that did not exist
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from colab_env.runtime import Runtime

_step: contextvars.ContextVar[str | None] = contextvars.ContextVar("colab_env_step", default=None)

ABSENT, TREE, TOOL, UNKNOWN = "absent", "tree", "tool", "unknown"
# What uv, pip, Poetry and conda make for themselves below the home directory, and where uv puts its Pythons.
_TOOLS = (
    ".cache/uv",
    ".cache/pip",
    ".cache/pypoetry",
    ".cache/virtualenv",
    ".config/pypoetry",
    ".conda",
    ".cache/conda",
)
_PYTHONS = ".local/share/uv/python"


@contextlib.contextmanager
def during(step: str) -> Iterator[None]:
    """Note every change inside the block as this verb's; outside of such a block nothing is noted."""
    runtime = Runtime.detect()
    present = {place for place in _tool_places(runtime) if place.exists()}
    missing = {parent for place in (*_tool_places(runtime), runtime.data) for parent in _missing_parents(place)}
    if not runtime.data.exists():
        _append(runtime, _made(step, runtime.data, missing))
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)
        for path in _tool_places(runtime):
            if path.exists() and path not in present:
                _append(runtime, _made(step, path, missing))


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Note nothing inside the block, which keeps records of its own."""
    token = _step.set(None)
    try:
        yield
    finally:
        _step.reset(token)


def note(path: Path, after: str | Mapping[str, Any]) -> None:
    """Write down what is at this path now, and what comes (see `after` above)."""
    step = _step.get()
    if step is None:
        return
    runtime, path = Runtime.detect(), Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow a link)
    trees = {runtime.data, *(Path(entry["path"]) for entry in entries(runtime) if entry["after"] == TREE)}
    if not trees.isdisjoint(path.parents):
        return
    made = [str(parent) for parent in _missing_parents(path)]
    entry = {"step": step, "path": str(path), "before": seen(path, keep=runtime), "after": after, "made": made}
    _append(runtime, entry)


def entries(runtime: Runtime) -> list[dict[str, Any]]:
    """Return all entries, oldest first; a last line that a killed run left half written is none."""
    found = []
    with contextlib.suppress(FileNotFoundError), _file(runtime).open(encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def replace(runtime: Runtime, kept: list[dict[str, Any]]) -> None:
    """Keep only these entries."""
    temporary = _file(runtime).with_suffix(".new")
    temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    temporary.replace(_file(runtime))


def seen(path: Path, *, keep: Runtime | None = None) -> dict[str, Any] | None:
    """Describe what is at a path, or None; with `keep`, a file's content is kept for `undo`."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "link", "link": str(path.readlink())}
    if stat.S_ISDIR(found.st_mode):
        return {"kind": "directory"}
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if keep is not None:
        kept = saved(keep, sha256)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)  # what the file says may be meant for its owner only
        kept.write_bytes(content)
    return {"kind": "file", "sha256": sha256, "mode": stat.S_IMODE(found.st_mode), "mtime_ns": found.st_mtime_ns}


def saved(runtime: Runtime, sha256: str) -> Path:
    """Return where the content with this hash is kept."""
    return _file(runtime).parent / sha256


def _append(runtime: Runtime, entry: dict[str, Any]) -> None:
    _file(runtime).parent.mkdir(parents=True, exist_ok=True)
    with _file(runtime).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(entry) + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def _file(runtime: Runtime) -> Path:
    return runtime.data / "journal" / "journal.jsonl"


def _made(step: str, path: Path, missing: set[Path]) -> dict[str, Any]:
    made = [str(parent) for parent in path.parents if parent in missing]
    return {"step": step, "path": str(path), "before": None, "after": TOOL, "made": made}


def _missing_parents(path: Path) -> list[Path]:
    return [parent for parent in path.parents if not parent.exists()]


def _tool_places(runtime: Runtime) -> list[Path]:
    return [*(runtime.home / name for name in _TOOLS), *(runtime.home / _PYTHONS).glob("*")]
