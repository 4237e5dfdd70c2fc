"""Bring a snapshot back: unpacked beside the targets, checked to its last byte, then swapped in, all of it or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from colab_env import _files, _state, choice, poetry
from colab_env.errors import NotOursError
from colab_env.jupyter import kernelspec
from colab_env.results import short
from colab_env.snapshot import _archive, _unpack, fitting
from colab_env.snapshot._footer import Footer, damaged
from colab_env.snapshot.manifest import PROJECT_FILES, Manifest

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.snapshot.fitting import Destination


def restore(file: BinaryIO, footer: Footer, destination: Destination, *, machine: Machine, project: Path) -> list[Path]:
    """Unpack a snapshot that fits (see `fitting.mismatch`) and return the directories that it brought.

    What is there and complete stays as it is, but for the project's environment. Raises SnapshotError, NotOursError,
    DiskFullError, NotWritableError or CacheError; then everything is as before.
    """
    wanted, manifest = _wanted(destination.trees), Manifest.read(footer.manifest)
    check = fitting.link_check(destination.trees, destination.links, [destination.python.path, machine.machine_python])
    with _files.staging(*wanted.values()) as scratch:
        staged = dict(zip(wanted, scratch, strict=True))
        places = {name: staged.get(name) for name in destination.trees}
        with _files.translate_os_errors(project):
            texts = _unpack.Texts(listed=manifest.texts, move=destination.move)
            files = _unpack.unpack(file, footer, places=places, check=check, texts=texts)
        project_texts = _project_texts(files, manifest)
        _files.write_text(staged["venv"] / kernelspec.UNTRIED, "")
        with _brought_in({wanted[name]: staged[name] for name in wanted}, destination.links):
            _settle(project_texts, destination, machine=machine, project=project)
    return list(wanted.values())


def rehearse(file: BinaryIO, footer: Footer, *, machine: Machine) -> None:
    """Read a snapshot to its end as a restore does, without a change to the disk. Raises SnapshotError or CacheError."""
    manifest = Manifest.read(footer.manifest)
    links = {Path(link): target for link, target in manifest.links.items()}
    pythons = [manifest.python.path, machine.machine_python, *map(Path, manifest.inputs.machine_python[:1])]
    places: dict[str, Path | None] = {name: _files.staged_name(place) for name, place in manifest.trees.items()}
    check = fitting.link_check(manifest.trees, links, pythons)
    texts = _unpack.Texts(listed=manifest.texts)
    files = _unpack.unpack(file, footer, places=places, check=check, texts=texts, is_rehearsal=True)
    _project_texts(files, manifest)


def _wanted(trees: Mapping[str, Path]) -> dict[str, Path]:
    """Return the parts that are not there yet, and the environment. Raises NotOursError for what is in the way."""
    wanted = {}
    for name, place in trees.items():
        _files.recover(place)
        there = os.path.lexists(place)
        is_ours = _state.is_marked(place)
        if there and not is_ours and name != "python":
            msg = f"{short(place)} exists, and colab-env did not make it"
            raise NotOursError(msg, hint="move it away, or go on without the snapshot; nothing was changed")
        if not there or name == "venv":
            wanted[name] = place
    return wanted


def _project_texts(files: Mapping[str, bytes], manifest: Manifest) -> dict[str, str]:
    """Return the texts of the project's files. Raises SnapshotError for any other file, or another content."""
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if found != {f"{_archive.FILES}/{name}": digest for name, digest in manifest.left.items() if digest is not None}:
        raise damaged("its project files are not those of its description")
    try:
        return {
            name: files[member].decode() for name in PROJECT_FILES if (member := f"{_archive.FILES}/{name}") in files
        }
    except UnicodeDecodeError as error:
        raise damaged("a project file in it is no text") from error


@contextlib.contextmanager
def _brought_in(staged: Mapping[Path, Path], links: Mapping[Path, str]) -> Iterator[None]:
    """Swap the trees in; if the block raises, all that was there comes back."""
    made: list[Path] = []
    try:
        with contextlib.ExitStack() as swaps:
            for place, staging in staged.items():
                swaps.enter_context(_files.adopting(place, staging))
            for link, target in links.items():
                if not os.path.lexists(link):
                    _files.link(link, target)
                    made.append(link)
            yield
    except BaseException:
        for each in made:
            _files.unlink(each)
        raise


def _settle(texts: Mapping[str, str], destination: Destination, *, machine: Machine, project: Path) -> None:
    """Make what is not in the trees: the project's files, the command `poetry`, the choice for the next steps."""
    paths = {project / name: text for name, text in texts.items()}
    with _files.restoring(*paths):
        for path, text in paths.items():
            if not path.is_file() or path.read_bytes() != text.encode():
                _files.write_text(path, text)
        if poetry.installed_version(machine) is not None:
            poetry.write_command(machine)
        choice.remember(machine, destination.python, project=project)


def forget(places: list[Path]) -> None:
    """Take away what a snapshot brought and what turned out not to work."""
    for place in places:
        _files.remove(place)
