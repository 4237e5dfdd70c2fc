"""Bring a snapshot back: unpacked beside the targets, checked to its last byte, then swapped in, all of it or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from colab_env import _files, _state, choice, poetry
from colab_env.errors import NotOursError
from colab_env.jupyter import kernelspec
from colab_env.results import short
from colab_env.snapshot import _archive, _unpack, contents

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.snapshot._archive import Footer


def restore(file: BinaryIO, footer: Footer, *, machine: Machine, project: Path) -> list[Path]:
    """Unpack a snapshot that fits (see `contents.mismatch`) and return the directories that it brought.

    What is there and complete stays as it is, but for the project's environment. Raises SnapshotError, NotOursError,
    DiskFullError, NotWritableError or CacheError; then everything is as before.
    """
    described = footer.manifest
    wanted = _wanted(described)
    with _files.staging(*wanted.values()) as scratch:
        staged = dict(zip(wanted, scratch, strict=True))
        places = {name: staged.get(name) for name in described["trees"]}
        with _files.translate_os_errors(project):
            files = _unpack.unpack(file, footer, places=places, check=contents.link_check(machine, described))
        _check_files(files, described)
        _files.write_text(staged["venv"] / kernelspec.UNTRIED, "")
        with _brought_in({wanted[name]: staged[name] for name in wanted}, described["links"]):
            _settle(files, described, machine=machine, project=project)
    return list(wanted.values())


def _wanted(described: Mapping[str, Any]) -> dict[str, Path]:
    """Return the parts that are not there yet, and the environment. Raises NotOursError for what is in the way."""
    wanted = {}
    for name, text in described["trees"].items():
        place = Path(text)
        _files.recover(place)
        there = os.path.lexists(place)
        is_ours = _state.is_marked(place)
        if there and not is_ours and name != "python":
            msg = f"{short(place)} exists, and colab-env did not make it"
            raise NotOursError(msg, hint="move it away, or go on without the snapshot; nothing was changed")
        if not there or name == "venv":
            wanted[name] = place
    return wanted


def _check_files(files: Mapping[str, bytes], described: Mapping[str, Any]) -> None:
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    wanted = {f"{_archive.FILES}/{name}": digest for name, digest in described["left"].items() if digest is not None}
    if found != wanted:
        raise _archive.damaged("its project files are not those of its description")


@contextlib.contextmanager
def _brought_in(staged: Mapping[Path, Path], links: Mapping[str, str]) -> Iterator[None]:
    """Swap the trees in; if the block raises, all that was there comes back."""
    made: list[Path] = []
    try:
        with contextlib.ExitStack() as swaps:
            for place, staging in staged.items():
                swaps.enter_context(_files.adopting(place, staging))
            for link, target in links.items():
                if not os.path.lexists(link):
                    _files.link(Path(link), target)
                    made.append(Path(link))
            yield
    except BaseException:
        for each in made:
            _files.unlink(each)
        raise


def _settle(files: Mapping[str, bytes], described: Mapping[str, Any], *, machine: Machine, project: Path) -> None:
    """Make what is not in the trees: the project's files, the command `poetry`, the choice for the next steps."""
    paths = {project / name.rpartition("/")[2]: content for name, content in files.items()}
    with _files.restoring(*paths):
        for path, content in paths.items():
            if not path.is_file() or path.read_bytes() != content:
                _files.write_text(path, content.decode())
        if poetry.installed_version(machine) is not None:
            poetry.write_command(machine)
        choice.remember(machine, contents.python_in(described), project=project)


def forget(places: list[Path]) -> None:
    """Take away what a snapshot brought and what turned out not to work."""
    for place in places:
        _files.remove(place)
