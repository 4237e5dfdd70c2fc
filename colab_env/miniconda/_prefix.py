"""What conda put into a prefix: how it is deleted again, and how its scripts run on another Python."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable
from pathlib import Path

from colab_env import _files

_SCRIPTS = ("bin/", "condabin/")
BYTECODE = "__pycache__"


def is_directory(path: Path) -> bool:
    """Say whether this is a directory itself, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def remove_new(prefix: Path, names: Iterable[str], *, keep: frozenset[str] = frozenset()) -> None:
    """Delete what transactions brought; a directory goes when nothing else is in it."""
    names = set(names) - keep
    _remove_bytecode(prefix, names, keep=keep)
    # The deepest first.
    for name in sorted(names, reverse=True):
        path = prefix / name
        if name == "conda-meta" and is_directory(path):
            strange = strange_in(path, names)
            strange += [name for name in names_in(path) if f"{path.name}/{name}" in keep]
            for child in [item for item in path.iterdir() if item.name not in strange]:
                _files.remove(child)
        if name == "pkgs" or not is_directory(path):
            _files.remove(path)
        else:
            remove_empty(path)


def strange_in(conda_meta: Path, expected: Container[str]) -> list[str]:
    """Return the names of files beside conda's records that conda did not bring, such as somebody's `pinned`."""
    names = names_in(conda_meta)
    return sorted(
        name for name in names if not (name == "history" or name.endswith(".json") or f"conda-meta/{name}" in expected)
    )


def _remove_bytecode(prefix: Path, names: Iterable[str], *, keep: Container[str]) -> None:
    # Python writes it beside the modules when they are first imported, long after the installation.
    modules: dict[Path, set[str]] = {}
    for name in names:
        path = prefix / name
        if path.suffix == ".py":
            modules.setdefault(path.parent / BYTECODE, set()).add(path.stem)
    for cache, stems in modules.items():
        if is_directory(cache):
            for item in list(cache.iterdir()):
                is_compiled = item.suffix == ".pyc" and item.name.partition(".")[0] in stems
                if is_compiled and str(item.relative_to(prefix)) not in keep:
                    _files.remove(item)
            remove_empty(cache)


def names_in(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if is_directory(directory) else set()  # noqa: PTH208  (the names)


def remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def is_further_down(command: Path, *, path: str) -> bool:
    directories = path.split(os.pathsep)
    own = str(command.parent)
    later = directories[directories.index(own) + 1 :] if own in directories else []
    return any(os.access(Path(directory) / command.name, os.X_OK) for directory in later)


def repoint(prefix: Path, names: Iterable[str], *, python: Path) -> None:
    # These names are the machine's again, or gone: what conda wrote for its own Python would run on another one.
    aliases = [prefix / "bin" / name for name in ("python", "python3")]
    lost = [f"#!{alias}" for alias in aliases if os.path.realpath(alias) != os.path.realpath(python)]
    for name in names:
        script = prefix / name
        if name.startswith(_SCRIPTS) and script.is_file() and not script.is_symlink():
            _repoint_script(script, lost, python=python)


def _repoint_script(script: Path, lost: list[str], *, python: Path) -> None:
    with script.open("rb") as handle:
        if handle.read(2) != b"#!":
            return
    # Whatever bytes stand below the first line come back as they were.
    text = script.read_bytes().decode("utf-8", "surrogateescape")
    shebang, newline, rest = text.partition("\n")
    words = shebang.split(" ", 1)
    if words[0] in lost:
        _files.write_text(script, " ".join([f"#!{python}", *words[1:]]) + newline + rest)
