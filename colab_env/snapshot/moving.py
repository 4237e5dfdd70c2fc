"""A snapshot in another directory, home or account: which of its files name their own paths, and what they say elsewhere.

Nothing here reads a path from a snapshot to write to it: what is moved has to be, path by path, where this machine has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _state, content
from colab_env.jupyter import colab_layer

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.snapshot._archive import Tree
    from colab_env.snapshot.manifest import Inputs, Manifest

MOST_TEXT = 1 << 26  # bytes of all files that are rewritten, which are in memory then
MOST_TEXTS = 3000  # files: a description of 256 kB has to hold their names
PLACES = ("project", "data", "pythons", "package")
# What a script's first line, a file: URL, JSON and a shell's word take as it is.
_PLAIN = re.compile(r"/[\w./-]{1,100}", re.ASCII)
_SITES = ("lib/python3*/site-packages", "site", "ahead")


@dataclass(frozen=True, kw_only=True)
class Move:
    """The paths of one machine and those that stand for them on another: nothing moves where there are no `pairs`.

    `project` is that of the project, which files of its environment alone name: it may be as short as /content.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    project: tuple[str, str] = ("", "")

    def path(self, text: str) -> str:
        """Return what a path, or the target of a link, is elsewhere."""
        for old, new in self.pairs:
            if text == old or text.startswith(f"{old}/"):
                return new + text[len(old) :]
        return text

    def texts(self, old_texts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what files say elsewhere, by their names in a snapshot; checksums of one in another are made to fit.

        RECORDs name other files, a content file names those and RECORDs, and a state file has a sum of its own.
        """
        after: dict[str, bytes] = {}
        digests: dict[bytes, bytes] = {}
        new = {old.encode(): new.encode() for old, new in self.pairs}
        # Files before the RECORDs that name them, RECORDs before the content file: sums are known when they are needed.
        for name in sorted(old_texts, key=_rank):
            text = self._pattern(name.partition("/")[0]).sub(lambda match: new[match[0]], old_texts[name])
            if _rank(name):
                text = _DIGEST.sub(lambda match: digests.get(match[0], match[0]), text)
            after[name] = text = _state.resealed(old_texts[name], text)
            was, new_digest = (content.digest_of(version).encode() for version in (old_texts[name], text))
            digests.update(
                {was: new_digest, b"%b,%d" % (was, len(old_texts[name])): b"%b,%d" % (new_digest, len(text))}
            )
        return after

    def concerns(self, tree: str, text: bytes) -> bool:
        """Say whether a file of a tree names one of the paths."""
        return any(old.encode() in text for old, _ in self.pairs) and self._pattern(tree).search(text) is not None

    def _pattern(self, tree: str) -> re.Pattern[bytes]:
        movable = [old for old, new in self.pairs if tree == "venv" or (old, new) != self.project]
        names = b"|".join(re.escape(old.encode()) for old in movable) or rb"(?!)"
        return re.compile(rb"(?:(?<![\w./-])|(?<=file://))(?:" + names + rb")(?![\w-]|\.\w)")


STAYS = Move()
# With the size in a RECORD, without in a content file.
_DIGEST = re.compile(rb"sha256=[\w-]{43}(?:,\d+)?")


def _rank(name: str) -> int:
    below = name.partition("/")[2]
    return 2 if below == content.FILE else int(below.endswith(".dist-info/RECORD"))


def relocated(manifest: Manifest, current: Inputs, machine: Machine) -> tuple[Manifest, Move]:
    """Return what a snapshot's description would say if it had been made here, and how its paths become those of here.

    One that cannot move stays as it is.
    """
    if unmoved(manifest, current):
        return manifest, STAYS
    pairs = {getattr(manifest.inputs, name): getattr(current, name) for name in PLACES}
    if not manifest.holds_its_python:
        pairs.pop(manifest.inputs.pythons, None)
    project = (manifest.inputs.project, current.project)
    python = replace(manifest.python, path=Path(_move(pairs, project).path(str(manifest.python.path))))
    layer = colab_layer.renamed(manifest.layer, machine, manifest.python, python)
    if layer != manifest.layer and (tree := manifest.trees.get("layer")) is not None:
        pairs[str(tree)] = str(Path(_move(pairs, project).path(str(tree))).with_name(layer))
    move = _move(pairs, project)
    moved = replace(
        manifest,
        inputs=replace(manifest.inputs, **{name: getattr(current, name) for name in PLACES}),
        python=python,
        layer=layer,
        trees={name: Path(move.path(str(path))) for name, path in manifest.trees.items()},
        links={move.path(link): target for link, target in manifest.links.items()},
    )
    return moved, move


def unmoved(manifest: Manifest, current: Inputs) -> str | None:
    """Return why a snapshot is for the paths only that it was made at; nothing where they are those of here."""
    saved = manifest.inputs
    if all(getattr(saved, name) == getattr(current, name) for name in PLACES):
        return "it is where it was made"
    if saved.format < current.format:
        return "an older colab-env made it, and it does not move"
    if manifest.fixed is not None:
        return f"it does not move: {manifest.fixed}"
    paths = (getattr(inputs, name) for inputs in (saved, current) for name in PLACES)
    # A blank or a quote in a path stands in a script in a way that a replacement cannot keep.
    odd = next((path for path in paths if not _PLAIN.fullmatch(path)), None)
    return f"{odd!r} is a path that scripts cannot name" if odd is not None else None


def _move(pairs: Mapping[str, str], project: tuple[str, str]) -> Move:
    # The longest goes first: one may lie in another, and what stays where it is keeps what lies in it.
    longest_first = sorted(pairs.items(), key=lambda pair: len(pair[0]), reverse=True)
    is_moved = any(old != new for old, new in longest_first)
    return Move(pairs=tuple(longest_first) if is_moved else (), project=project)


def texts_of(trees: Sequence[Tree], inputs: Inputs) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """Return which files of each tree name the paths that they are at, and why all of it cannot move, or None."""
    move = _move({getattr(inputs, name): "" for name in PLACES}, (inputs.project, ""))
    odd = next((path for path, _ in move.pairs if not _PLAIN.fullmatch(path)), None)
    if odd is not None:
        return {}, f"{odd} is a path that scripts cannot name"
    by_name, size = {}, 0
    for tree in trees:
        inodes: set[int] = set()
        texts = []
        for below, text, inode in _texts(tree, move, inputs):
            if b"\0" in text:
                return {}, f"{tree.name}/{below} names {inputs.project} or {inputs.data}, and is no text"
            # Changing one name of a file with several would change, or part, the others.
            if inode in inodes:
                return {}, f"{tree.name}/{below} is another file too"
            inodes.add(inode)
            texts.append(below)
            size += len(text)
        by_name[tree.name] = tuple(texts)
    if size > MOST_TEXT or sum(map(len, by_name.values())) > MOST_TEXTS:
        return {}, "more of its files name their paths than can be rewritten"
    return {name: texts for name, texts in by_name.items() if texts}, None


def outside(trees: Sequence[Tree], inputs: Inputs) -> str | None:
    """Return what in these trees belongs to paths that no snapshot holds, or None."""
    for tree in trees:
        installed = content.read(tree.directory)
        if installed is None:
            if tree.name in ("venv", "layer", "poetry"):
                return f"an older colab-env made {tree.directory}"
            continue
        project_uri = Path(inputs.project).as_uri()
        for info, distribution in installed.distributions.items():
            if (
                distribution.source
                and distribution.source.startswith("file:")
                and not f"{distribution.source}/".startswith(f"{project_uri}/")
            ):
                return f"{os.path.basename(info)} is from {distribution.source}"  # noqa: PTH119
    return None


def _texts(tree: Tree, move: Move, inputs: Inputs) -> Iterator[tuple[str, bytes, int]]:
    """Yield the path, content and inode of the files that name a path, then of those that hold checksums of them."""
    digests = set()
    for below in sorted(_candidates(tree, inputs)):
        text = _read(tree.directory / below)
        if text is not None and move.concerns(tree.name, text) and not (below.startswith("bin/") and b"\0" in text):
            digests.add(content.digest_of(text).encode())
            yield below, text, (tree.directory / below).stat().st_ino
    for path in (*_records(tree.directory), tree.directory / content.FILE):
        text = _read(path)
        if text is not None and (
            move.concerns(tree.name, text)
            or (digests and not digests.isdisjoint(match.partition(b",")[0] for match in _DIGEST.findall(text)))
        ):
            digests.add(content.digest_of(text).encode())
            yield str(path.relative_to(tree.directory)), text, path.stat().st_ino


def _candidates(tree: Tree, inputs: Inputs) -> set[str]:
    """Return the files that an installer, Python or colab-env wrote, not those that came out of a wheel as they are."""
    installed, directory = content.read(tree.directory), tree.directory
    if installed is None:  # a Python: no package is in it but what came with it
        files = (path for path in directory.rglob("*") if path.suffix != ".pyc")
        return {str(path.relative_to(directory)) for path in files} if tree.name == "python" else {_files.RECEIPT}
    written = [_files.RECEIPT, *(path for path in installed.others if not path.endswith(".pyc"))]
    patterns = ["bin/*", *(f"{site}/{name}" for site in _SITES for name in ("*.pth", "*.dist-info/direct_url.json"))]
    written += [str(path.relative_to(directory)) for pattern in patterns for path in directory.glob(pattern)]
    project_uri = Path(inputs.project).as_uri()
    local = [
        info
        for info, distribution in installed.distributions.items()
        if (distribution.source or "").startswith(project_uri)
    ]
    for info in local:
        written += [path for path in content.promised(directory, info) if not path.endswith(".pyc")]
    return set(written)


def _records(directory: Path) -> list[Path]:
    return sorted(path for site in _SITES for path in directory.glob(f"{site}/*.dist-info/RECORD"))


def _read(path: Path) -> bytes | None:
    """Return a file's content; nothing of a link, of what is gone, or of what is larger than what is rewritten."""
    try:
        is_text = path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_TEXT
        return path.read_bytes() if is_text else None
    except OSError:
        return None
