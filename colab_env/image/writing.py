"""Write the files of a container image, say how they differ from what is there, and tell whose a file is."""

from __future__ import annotations

import difflib
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _files, _transactions
from colab_env.errors import NotOursError
from colab_env.machine import Machine
from colab_env.results import short
from colab_env.step import changing, project_lock

_TOP = r"#![^\n]*\n|Bootstrap: [^\n]*\nFrom: [^\n]*\n"  # what has to be on the first lines
_HEAD = re.compile(
    rf"(?P<top>(?:{_TOP})?)(?://|#) Written by colab-env: (?P<command>container write[^\n]*)\n"
    r"(?://|#) lock sha256:(?P<lock>[0-9a-f]{64}), this text sha256:(?P<text>[0-9a-f]{16})\n"
)
_MOST_LINES = 60  # of a diff in a message
# Their formats have no comments: they are ours when they say what only `container write` would have them say.
_WITHOUT_COMMENTS = {"runtime.txt": re.compile(r"python-3\.\d+\n")}


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first lines of a file that `container write` wrote: by which options, for which lock, and whether it was edited."""

    words: tuple[str, ...]
    lock: str
    is_edited: bool

    @classmethod
    def of(cls, text: str) -> Head | None:
        """Return the head of a text, or None for one of somebody else's."""
        head = _HEAD.match(text)
        if head is None:
            return None
        try:
            words = tuple(shlex.split(head["command"]))
        except ValueError:
            return None
        return cls(words=words, lock=head["lock"], is_edited=head["text"] != _sum(head["top"] + text[head.end() :]))

    def values(self, option: str) -> list[str]:
        """Return the values of an option such as "--extra"."""
        return [value for word, value in zip(self.words, self.words[1:], strict=False) if word == option]


def with_head(text: str, *, words: Sequence[str], lock: str, name: str) -> str:
    """Return a file's text with the lines that say who wrote it, for which lock, and how to write it again."""
    if Path(name).name in _WITHOUT_COMMENTS:
        return text
    sign = "//" if name.endswith(".json") else "#"
    command = shlex.join(words)
    head = f"{sign} Written by colab-env: {command}\n{sign} lock sha256:{lock}, this text sha256:{_sum(text)}\n"
    top = re.match(_TOP, text)
    end = top.end() if top else 0
    return f"{text[:end]}{head}{text[end:]}"


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """The files of an image: `paths` are all of them, `changed` those that this run wrote.

    `what` says in words what the image holds; `build` and `run` are the commands to go on with, `notes` are sentences that a
    person should read.
    """

    paths: tuple[Path, ...]
    changed: tuple[Path, ...]
    what: str
    build: str = ""
    run: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(short(path) for path in self.paths)
        lines = [f"✓ {names}: {self.what} ({'written' if self.changed else 'already there'})"]
        commands = [f"  {command}" for command in (self.build, self.run) if command]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes), *commands])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        paths = {"paths": list(map(str, self.paths)), "changed": list(map(str, self.changed))}
        return {**paths, "what": self.what, "build": self.build, "run": self.run, "notes": list(self.notes)}


def write(files: Mapping[Path, str], *, machine: Machine, project: Path, overwrite: bool = False) -> tuple[Path, ...]:
    """Write files whole or none of them, for `undo` to take back; return those that were not as they should be.

    Raises NotOursError with the difference for a file that somebody else wrote, or has edited since, unless `overwrite`.
    """
    earlier = {path: _text(path) for path in files}
    if not overwrite:
        for path, text in files.items():
            _require_ours(path, earlier[path], text)
    changed = tuple(path for path, text in files.items() if earlier[path] != text)
    if changed:
        with changing("container_write", machine, project_lock(machine, project)), _transactions.restoring(*changed):
            for path in changed:
                _files.write_text(path, files[path])
    return changed


def head_of(path: Path) -> Head | None:
    """Return the head of a file that `container write` wrote, or None for one of somebody else's."""
    return Head.of(_text(path) or "")


def is_ours(path: Path) -> bool:
    """Say whether `container write` wrote a file, and nobody has edited it since."""
    head = head_of(path)
    return head is not None and not head.is_edited


def difference(path: Path, old_text: str, after: str) -> str:
    """Return a unified diff."""
    old, new = (text.splitlines(keepends=True) for text in (old_text, after))
    lines = difflib.unified_diff(old, new, fromfile=path.name, tofile=f"{path.name}, as written now")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _require_ours(path: Path, old: str | None, after: str) -> None:
    if old is None or old == after or ((pattern := _WITHOUT_COMMENTS.get(path.name)) and pattern.fullmatch(old)):
        return
    head = Head.of(old)
    if head is not None and not head.is_edited:
        return
    lines = difference(path, old, after).splitlines()
    excerpt = "\n".join([*lines[:_MOST_LINES], *(["..."] if len(lines) > _MOST_LINES else [])])
    why = "colab-env wrote it, and somebody has edited it since" if head else "colab-env did not write it"
    msg = f"{short(path)} is there, and {why}. It would become:\n{excerpt}"
    hint = "write elsewhere with --output DIR, output=DIR; or over it with --overwrite, overwrite=True; nothing was written"
    raise NotOursError(msg, hint=hint)


def _text(path: Path) -> str | None:
    content = _files.content(path)
    return None if content is None else content.decode("utf-8", "replace")


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
