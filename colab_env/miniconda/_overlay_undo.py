"""Take an overlay back: what conda brought goes, every original returns, and what somebody changed since is left."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Mapping
from pathlib import Path

from colab_env import _files
from colab_env.miniconda._originals import Entry, Originals, look_at
from colab_env.miniconda._overlay import OWN_TREES, Manifest, recover, set_aside
from colab_env.miniconda._prefix import BYTECODE, is_directory, remove_new, strange_in
from colab_env.results import short


def obstacles(prefix: Path, *, saved: Path) -> dict[str, str]:
    """Return what `undo` leaves as it is: paths below the prefix, each with the reason."""
    if unreadable := Manifest.fault(saved):
        return {".": unreadable}
    aside = set_aside(saved)
    unknown = {".": f"originals of an interrupted installation are in {short(aside[0])}"} if aside else {}
    manifest = Manifest.read(saved) or Manifest.empty()
    changed = [
        name
        for name, entry in manifest.last.items()
        if not _is_own(name)  # conda goes on writing there
        and _is_changed(prefix / name, entry)
        and not _is_restored(prefix / name, manifest.overwritten.get(name))
    ]
    new_files = set(manifest.new)
    directories = [name for name in manifest.new if not _is_own(name) and is_directory(prefix / name)]
    added = [f"{name}/{item}" for name in directories for item in os.listdir(prefix / name)]  # noqa: PTH208 - the names
    added = [name for name in added if name not in new_files and not _is_bytecode(prefix / name, new_files, prefix)]
    if "conda-meta" in new_files:
        added += [f"conda-meta/{name}" for name in strange_in(prefix / "conda-meta", new_files)]
    return {
        **unknown,
        **dict.fromkeys(sorted(changed), "somebody changed it since"),
        **dict.fromkeys(sorted(added), "somebody put it there since"),
    }


def undo(prefix: Path, *, saved: Path) -> Manifest | None:
    """Remove what conda brought and restore every original, but for `obstacles`; return what was done, or None.

    What is left can be undone later: it stays recorded.
    """
    # An installation that was interrupted is closed first: its journal knows what the manifest does not yet.
    recover(prefix, saved=saved)
    manifest = Manifest.read(saved)
    if manifest is None:
        return None
    remaining = obstacles(prefix, saved=saved)
    remove_new(prefix, set(manifest.new) - remaining.keys())
    originals = Originals(saved / "originals")
    for name, entry in sorted(manifest.overwritten.items()):
        if name not in remaining:
            originals.restore(prefix / name, entry)
    if remaining:
        _remaining(manifest, prefix, remaining).write(saved)
    else:
        _files.remove(saved)
    return manifest


def _remaining(manifest: Manifest, prefix: Path, obstacles_left: Mapping[str, str]) -> Manifest:
    new = tuple(name for name in manifest.new if os.path.lexists(prefix / name))
    overwritten = {name: entry for name, entry in manifest.overwritten.items() if name in obstacles_left}
    last = {name: entry for name, entry in manifest.last.items() if name in {*new, *overwritten}}
    return Manifest(new=new, put_back=(), overwritten=overwritten, last=last)


def _is_changed(path: Path, last: Entry) -> bool:
    current = look_at(path)
    if current is None or path.parent.name == BYTECODE:
        return False
    if stat.S_IFMT(current.mode) != stat.S_IFMT(last.mode) or current.link != last.link:
        return True
    return stat.S_ISREG(current.mode) and (current.mode, current.size, current.mtime_ns) != (
        last.mode,
        last.size,
        last.mtime_ns,
    )


def _is_restored(path: Path, original: Entry | None) -> bool:
    """Say whether an `undo` that was interrupted has put the original back already."""
    current = look_at(path)
    if current is None or original is None or current.mode != original.mode or current.link != original.link:
        return False
    return not stat.S_ISREG(current.mode) or (current.size, current.mtime_ns) == (original.size, original.mtime_ns)


def _is_own(name: str) -> bool:
    return name.split("/", 1)[0] in OWN_TREES


def _is_bytecode(path: Path, new_files: Container[str], prefix: Path) -> bool:
    """Say whether Python has written this for modules that conda brought."""
    if path.name == BYTECODE:
        return all(item.suffix == ".pyc" for item in path.iterdir())
    module = path.parents[1] / f"{path.name.partition('.')[0]}.py"
    return path.suffix == ".pyc" and path.parent.name == BYTECODE and str(module.relative_to(prefix)) in new_files
