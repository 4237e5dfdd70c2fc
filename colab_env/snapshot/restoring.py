"""Say whether a snapshot fits this machine and where its parts go here, and bring it back.

Where they go is computed from the request, not read from the file. A snapshot is unpacked beside the targets, checked
to its last byte, then swapped in, all of it or nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from colab_env import _files, _state, _transactions, choice, poetry
from colab_env.errors import NotOursError, SnapshotError
from colab_env.interpreter_sources import source_of
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.results import short
from colab_env.snapshot import _archive, _unpack, contents, moving
from colab_env.snapshot.manifest import PROJECT_FILES, Footer, Manifest, damaged
from colab_env.snapshot.moving import Move

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.machine import Machine
    from colab_env.request import Request
    from colab_env.snapshot.manifest import Inputs


_INTERPRETER = re.compile(r"(.+/)?bin/python[\d.]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a snapshot's parts go, by the name that they have in it, and the links that a source makes beside its Python.

    `move` says what their files have to say here.
    """

    python: Interpreter
    trees: Mapping[str, Path]
    links: Mapping[Path, str]
    move: Move = moving.STAYS

    @classmethod
    def of(cls, manifest: Manifest, request: Request, move: Move = moving.STAYS) -> Destination:
        """Return where all of a snapshot, as `moving.relocated` gives it, would go. It has to fit: see `mismatch`."""
        python, source = manifest.python, source_of(manifest.python, request.machine)
        layer = colab_layer.directory(request.machine, python).with_name(manifest.layer)
        expected: dict[str, Path | None] = {**contents.own_directories(request.machine, request.project, layer=layer)}
        if manifest.holds_its_python:
            expected["python"] = source.snapshot_prefix(python, request)
        trees = {name: directory for name in manifest.trees if (directory := expected.get(name)) is not None}
        prefix = trees.get("python")
        links = source.snapshot_links(python, prefix) if prefix else {}
        return cls(python=python, trees=trees, links=links, move=move)


def mismatch(
    manifest: Manifest, request: Request, *, options_digest: str | None = None, starting: bool = True
) -> str | None:
    """Return why a snapshot, as `moving.relocated` gives it, cannot be used for a request, or None.

    Without `starting`, no program is.
    """
    inputs = contents.inputs(request, options_digest=options_digest, starting=starting)
    reason = (
        _input_mismatch(manifest, inputs)
        or _file_mismatch(manifest, request)
        or _python_mismatch(manifest, request)
        or _path_mismatch(manifest, Destination.of(manifest, request))
    )
    # Only now may its Python be started: it is where this machine has one.
    return reason or (_build_mismatch(manifest, request.machine) if starting else None)


def _input_mismatch(manifest: Manifest, inputs: Inputs) -> str | None:
    saved, current = asdict(manifest.inputs), asdict(inputs)
    saved["machine_python"] = saved["machine_python"][: len(current["machine_python"])]
    is_older = manifest.inputs.format == 1  # its paths are compared, and uv's Pythons among its parts
    passed = {"pythons", *(["format"] if is_older else [])}
    other = [name for name, value in current.items() if saved[name] != value and name not in passed]
    if not other:
        return None
    why = moving.unmoved(manifest, inputs) if {*other} & {*moving.PLACES} else None
    return (
        "it was made for "
        + ", ".join(f"{_WORDS[name]} {_shortened(saved[name])}" for name in other)
        + (f"; {why}" if why else "")
    )


def _file_mismatch(manifest: Manifest, request: Request) -> str | None:
    if contents.files_now(request.project) not in (manifest.given, manifest.left):
        return "it was made from other project files"
    if manifest.cpu is not None and manifest.cpu > contents.cpu_level():
        return f"packages in it were compiled for a newer processor (x86-64-v{manifest.cpu})"
    return None


def _python_mismatch(manifest: Manifest, request: Request) -> str | None:
    python, path = manifest.python, request.python_path
    if request.source is not None and python.source != request.source:
        return f"its Python is of {python.source}, and {request.source} is asked for"
    if not request.specifier.contains(python.version):
        return f"its Python is {python.version}, and {request.specifier} is asked for"
    if path is not None and os.path.realpath(path) != os.path.realpath(python.path):
        return f"its Python is {python.path}"
    if not colab_layer.is_name_of(manifest.layer, request.machine, python):
        return "it holds other kernel packages"
    if not source_of(python, request.machine).would_take(python, request):
        return f"its Python is {python.path}, which is not where this call would take one from"
    return None


def _path_mismatch(manifest: Manifest, destination: Destination) -> str | None:
    if "python" in manifest.trees.keys() - destination.trees.keys():
        return "its Python belongs to another place"
    if destination.trees != manifest.trees:
        return "its parts belong to other places"
    # Compared by what they lead to: the same link may be written in several ways.
    links = {Path(link): Path(link).parent / target for link, target in manifest.links.items()}
    if links != {link: link.parent / target for link, target in destination.links.items()}:
        return "a link beside its Python leads elsewhere"
    return None


def _build_mismatch(manifest: Manifest, machine: Machine) -> str | None:
    python = manifest.python
    is_available = python.path.is_file() or source_of(python, machine).is_lasting
    if is_available and not manifest.holds_its_python and contents.build_of(python.path, machine) != manifest.build:
        return f"{python.path} is of another build, or is gone"
    return None


def link_check(trees: Mapping[str, Path], links: Mapping[Path, str], pythons: list[Path]) -> Callable[..., None]:
    """Return the test for symbolic links: they stay in their tree, or are an interpreter that is one of these `pythons`.

    Steps that follow write into a tree by its paths: no link in it may lead them to anything else.
    """
    paths = {str(path) for path in pythons}
    real = {os.path.realpath(path) for path in pythons}
    homes = {os.path.dirname(path) for path in (*map(str, pythons), *real)}  # noqa: PTH120
    of_python = [str(top) for top in (*([trees["python"]] if "python" in trees else []), *links)]

    def is_python(path: str) -> bool:
        if any(path.startswith(f"{prefix}/") for prefix in of_python) or path in paths:
            return True
        # Another name of one of them, in the same directory.
        return os.path.dirname(path) in homes and os.path.realpath(path) in real  # noqa: PTH120

    def check(tree: str, below: str, target: str) -> None:
        top = str(trees[tree])
        # Where the link leads by its letters; members are never written through one.
        path = os.path.normpath(os.path.join(top, os.path.dirname(below), target))  # noqa: PTH118, PTH120
        if path == top or path.startswith(f"{top}/"):
            return
        if _INTERPRETER.fullmatch(below) and is_python(path):
            return
        msg = f"the link {top}/{below} leads to {target}, which is outside of what a snapshot holds"
        raise SnapshotError(
            msg, hint="a snapshot holds links within each of its parts, and from bin/python to its Python"
        )

    return check


_WORDS = {
    "format": "another version of colab-env: format",
    "machine": "a machine of kind",
    "libc": "the C library",
    "machine_python": "a machine whose own Python is",
    "package": "a machine with colab_env in",
    "colab": "Colab:",
    "data": "the data directory",
    "project": "the project",
    "system_site_packages": "system_site_packages =",
    "wanted": "another lock file, or other options:",
}


def _shortened(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def restore(file: BinaryIO, footer: Footer, destination: Destination, *, machine: Machine, project: Path) -> list[Path]:
    """Unpack a snapshot that fits (see `fitting.mismatch`) and return the directories that it brought.

    What is there and complete stays as it is, but for the project's environment. Raises SnapshotError, NotOursError,
    DiskFullError, NotWritableError or CacheError; then everything is as before.
    """
    missing, manifest = _missing_trees(destination.trees), Manifest.read(footer.manifest)
    check = link_check(destination.trees, destination.links, [destination.python.path, machine.machine_python])
    with _transactions.staging(*missing.values()) as scratch:
        staged = dict(zip(missing, scratch, strict=True))
        targets = {name: staged.get(name) for name in destination.trees}
        with _files.translate_os_errors(project):
            texts = _unpack.Texts(listed=manifest.texts, move=destination.move)
            files = _unpack.unpack(file, footer, targets=targets, check=check, texts=texts)
        # Checked against the signed description before anything is swapped in.
        project_texts = _project_texts(files, manifest)
        # Until a kernel has answered here, this environment is not saved and not called fine.
        _files.write_text(staged["venv"] / kernelspec.UNTRIED, "")
        with _brought_in({missing[name]: staged[name] for name in missing}, destination.links):
            _settle(project_texts, destination, machine=machine, project=project)
    return list(missing.values())


def rehearse(file: BinaryIO, footer: Footer, *, machine: Machine) -> None:
    """Read a snapshot to its end as a restore does, without a change to the disk. Raises SnapshotError or CacheError."""
    manifest = Manifest.read(footer.manifest)
    links = {Path(link): target for link, target in manifest.links.items()}
    pythons = [manifest.python.path, machine.machine_python, *map(Path, manifest.inputs.machine_python[:1])]
    targets: dict[str, Path | None] = {
        name: _transactions.staged_name(directory) for name, directory in manifest.trees.items()
    }
    check = link_check(manifest.trees, links, pythons)
    texts = _unpack.Texts(listed=manifest.texts)
    files = _unpack.unpack(file, footer, targets=targets, check=check, texts=texts, is_rehearsal=True)
    _project_texts(files, manifest)


def _missing_trees(trees: Mapping[str, Path]) -> dict[str, Path]:
    """Return the parts that are not there yet, and the environment. Raises NotOursError for what is in the way."""
    missing = {}
    for name, directory in trees.items():
        _transactions.recover(directory)
        exists = os.path.lexists(directory)
        is_ours = _state.is_ours(directory)
        if exists and not is_ours and name != "python":
            msg = f"{short(directory)} exists, and colab-env did not make it"
            raise NotOursError(msg, hint="move it away, or go on without the snapshot; nothing was changed")
        if not exists or name == "venv":
            missing[name] = directory
    return missing


def _project_texts(files: Mapping[str, bytes], manifest: Manifest) -> dict[str, str]:
    """Return the texts of the project's files. Raises SnapshotError for any other file, or another content."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    described = {f"{_archive.FILES}/{name}": digest for name, digest in manifest.left.items() if digest is not None}
    # Older snapshots have those, too, that the set-up left as they were.
    changed = {f"{_archive.FILES}/{name}" for name, digest in manifest.left.items() if digest != manifest.given[name]}
    if not digests.items() <= described.items() or described.keys() & changed - digests.keys():
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
    created: list[Path] = []
    try:
        with contextlib.ExitStack() as swaps:
            for tree, staging in staged.items():
                swaps.enter_context(_transactions.adopting(tree, staging))
            for link, target in links.items():
                if not os.path.lexists(link):
                    _files.link(link, target)
                    created.append(link)
            yield
    except BaseException:
        for made_link in created:
            _files.unlink(made_link)
        raise


def _settle(texts: Mapping[str, str], destination: Destination, *, machine: Machine, project: Path) -> None:
    """Make what is not in the trees: the project's files, the command `poetry`, the choice for the next steps."""
    paths = {project / name: text for name, text in texts.items()}
    with _transactions.restoring(*paths):
        for path, text in paths.items():
            if not path.is_file() or path.read_bytes() != text.encode():
                _files.write_text(path, text)
        if poetry.installed_version(machine) is not None:
            poetry.write_command(machine)
        choice.remember(machine, destination.python, project=project)


def forget(directories: list[Path]) -> None:
    """Take away what a snapshot brought and what turned out not to work."""
    for directory in directories:
        _files.remove(directory)
