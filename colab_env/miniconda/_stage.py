"""Where the installer and conda work while the machine's own commands stay as they are: a tree beside the prefix.

Its path is exactly as long as the prefix's, so that the one can take the other's place in every file, in programs and
bytecode too. What was changed there is then moved into the prefix, file by file and directory by directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from colab_env import _files
from colab_env.miniconda._originals import Entry, walk
from colab_env.miniconda._overlay import STAGE_MARK, Overlay, discard_stage, stage_of

_LINKED = ("lib/", "include/", "share/")  # where conda replaces files and never writes into them
_PACKAGES = "pkgs"


@contextlib.contextmanager
def staging(overlay: Overlay, *, path: str, is_new: bool = False) -> Iterator[Path]:
    """Let the block install into a tree that nobody's command runs from, and move what it changed into the prefix.

    The tree holds what conda already has in the prefix, or nothing if the installation `is_new`. The machine's own files
    outside `lib` and `include` stay, and aliases that would hide a command further down the search path `path` do not
    come. Yields the prefix itself where no such tree can be.
    """
    prefix = overlay.prefix
    stage = stage_of(prefix)
    if stage is None:
        yield prefix
        return
    discard_stage(prefix)
    try:
        with _files.translate_os_errors(prefix):
            stage.mkdir(mode=0o755)
            # By this file the next run knows that the tree is ours to delete.
            (stage / STAGE_MARK).touch()
            if not is_new:
                _copy(overlay, stage)
            earlier = walk(stage, closed=frozenset())
        yield stage
        with _files.translate_os_errors(prefix):
            _publish(overlay, stage, earlier, path=path)
    finally:
        _files.remove(stage)


def _copy(overlay: Overlay, stage: Path) -> None:
    for name, entry in sorted(overlay.before.items()):
        source, target = overlay.prefix / name, stage / name
        if not overlay.is_conda(name) or name.split("/", 1)[0] == _PACKAGES or not os.path.lexists(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            target.symlink_to(entry.link)
        elif stat.S_ISDIR(entry.mode):
            target.mkdir(exist_ok=True)
            target.chmod(stat.S_IMODE(entry.mode))
        # Linked where conda replaces files, copied where it writes into them.
        elif name.startswith(_LINKED):
            os.link(source, target, follow_symlinks=False)
        else:
            shutil.copy2(source, target)


def _publish(overlay: Overlay, stage: Path, earlier: Mapping[str, Entry], *, path: str) -> None:
    prefix = overlay.prefix
    current = walk(stage, closed=frozenset({_PACKAGES}))
    changed = [name for name in sorted(current) if name != STAGE_MARK and not current[name].is_same(earlier.get(name))]
    _rename_within(stage, [name for name in changed if not stat.S_ISDIR(current[name].mode)], prefix)
    for name in sorted(earlier.keys() - current.keys() - {STAGE_MARK}, reverse=True):
        target = prefix / name
        if target.is_dir() and not target.is_symlink():
            _files.remove_if_empty(target)
        else:
            target.unlink(missing_ok=True)
    done: set[str] = set()  # directories that have come as a whole, or that stay the machine's
    for name in changed:
        source, target = stage / name, prefix / name
        if any(str(parent) in done for parent in PurePath(name).parents):
            continue
        if name == _PACKAGES and target.is_dir():
            _merge(source, target)
        elif stat.S_ISDIR(current[name].mode) and target.is_dir():
            continue
        elif target.is_dir() and not target.is_symlink():
            continue  # there is more in it than conda knows
        elif overlay.stays_machines(name) or overlay.hides(name, source, path=path):
            done.add(name)
        else:
            if stat.S_ISDIR(current[name].mode) and os.path.lexists(target):
                target.unlink()  # its original is saved
            source.rename(target)
            done.add(name)


def _merge(source: Path, target: Path) -> None:
    for item in source.iterdir():
        if not os.path.lexists(target / item.name):
            item.rename(target / item.name)


def _rename_within(stage: Path, names: list[str], prefix: Path) -> None:
    """Put the prefix's path in the place of the tree's, and correct the sums in conda's records."""
    old, new = os.fsencode(stage), os.fsencode(prefix)
    sums: dict[bytes, bytes] = {}
    records = [name for name in names if name.startswith("conda-meta/") and name.endswith(".json")]
    for name in [name for name in names if name not in set(records)]:
        path = stage / name
        if path.is_symlink():
            target = os.fsencode(path.readlink())
            if old in target:
                path.unlink()
                path.symlink_to(os.fsdecode(target.replace(old, new)))
        else:
            content = path.read_bytes()
            if old in content:
                _rewrite(path, content.replace(old, new))
                sums[_sum(content)] = _sum(content.replace(old, new))
    for name in records:
        content = (stage / name).read_bytes().replace(old, new)
        # conda's records hold the sum of each file as it is in its prefix (`sha256_in_prefix`).
        for wrong in {wrong for wrong in sums if wrong in content}:
            content = content.replace(wrong, sums[wrong])
        _rewrite(stage / name, content)


def _rewrite(path: Path, content: bytes) -> None:
    # A new file, for the old one may be a link into conda's cache. Its time stays: bytecode knows its source by that.
    temporary = path.with_name(f"{STAGE_MARK}-new")
    temporary.write_bytes(content)
    shutil.copystat(path, temporary)
    temporary.replace(path)


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
