"""Prove that what was installed is what was published: every file of every wheel, and every compiled file."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from colab_env import _files, _process
from colab_env.content import NAMED, Content, Damage, Survey, pluralize, summary
from colab_env.errors import CommandError, HashMismatchError


class Unpacked(Protocol):
    """Where wheels are installed from."""

    def forget(self, names: Collection[str]) -> None:
        """Let distributions, by normalized names, be fetched or built anew."""

    def find(self, info: str, path: str, digest: str) -> Path | None:
        """Return the file at a path beside this .dist-info directory of a wheel, if it has this digest there."""


def prove(
    directory: Path,
    build: Callable[[], object],
    *,
    unpacked: Unpacked,
    settle: Callable[[], object] = lambda: None,
    before: Content | None = None,
) -> tuple[Survey, list[str]]:
    """Fill a directory by `build`, which starts from nothing, and compare every file with its RECORD.

    uv keeps what it has unpacked, and does not look at it again. So what is wrong there is fetched anew, and everything is
    built once more. What is wrong in the same way then was published so, and a note says it; what was so `before` is not
    asked again. `settle` lets the machine do what it does to packages whenever Python starts. Returns what there is, and the
    notes. Raises HashMismatchError for files that change from one time to the next.
    """
    build()
    first, torn, notes = _settled(directory, settle, unpacked, before)
    if not torn:
        return first, notes
    # uv's cache may be what is torn: without this it would install the same bytes again.
    unpacked.forget(torn.keys())
    build()
    second, torn, notes = _settled(directory, settle, unpacked, before)
    for name, damages in torn.items():
        if any(first.digests.get(damage.path) != second.digests.get(damage.path) for damage in damages):
            msg = f"{name} is not what was published: {summary(damages)}"
            raise HashMismatchError(msg, hint="the disk, or the cache of uv, is damaged; `uv cache clean` empties that")
        notes.append(
            f"{pluralize(len(damages), 'file')} of {name} cannot be as its RECORD says, however it is installed"
        )
    return second, notes


def _settled(
    directory: Path, settle: Callable[[], object], unpacked: Unpacked, earlier: Content | None
) -> tuple[Survey, dict[str, list[Damage]], list[str]]:
    """Return what there is, what came damaged by normalized name, and notes about what this machine itself changes.

    A machine may have a hook that changes packages whenever Python starts, such as one that adds its own certificate to
    certifi's. A file that is right where it was installed from is put right; if it changes again in the same way, it is
    such a hook's.
    """
    settle()
    survey = Survey(directory)
    causes = ((damage, _source_of(damage, unpacked)) for damage in itertools.chain(*survey.broken(earlier).values()))
    right = {damage.path: source for damage, source in causes if source is not None and damage.path in survey.digests}
    for path, source in right.items():
        _files.copy(source, directory / path)
    # Whatever changes them does so when Python starts, so it gets one more start to show itself.
    if right:
        settle()
    again = Survey(directory, earlier=survey) if right else survey
    changed = {path for path in right if again.digests.get(path) == survey.digests[path]}
    torn = {
        name: remaining
        for name, damages in again.broken(earlier).items()
        if (remaining := [damage for damage in damages if damage.path not in changed])
    }
    names = sorted(changed)
    shown = ", ".join(names[:NAMED])
    # Most often a company's certificate that is added to certifi's.
    notes = (
        [f"this machine's own start-up of Python changes {shown}: that is allowed, and needs nothing"] if names else []
    )
    return again, torn, notes


def _source_of(damage: Damage, unpacked: Unpacked) -> Path | None:
    site, _, info = damage.info.rpartition("/")
    path = os.path.relpath(damage.path, site or ".")
    return unpacked.find(info, path, damage.promised) if damage.promised else None


def wrong_bytecode(survey: Survey, content: Content, *, python: Path, environ: Mapping[str, str]) -> list[Damage]:
    """Return which compiled files are not what their source compiles to, asked of the Python that wrote them.

    What Python passes over, because its source is newer or gone, is no damage, unless it was written down: then something
    else has changed it.
    """
    paths = sorted(survey.compiled(content))
    halves = (paths[::2], paths[1::2])  # each takes its own processor
    judged = _process.run_parallel(
        *(functools.partial(_judged, survey.directory, half, python, environ) for half in halves)
    )
    return [
        Damage(path=path, wrong="is not what its source compiles to")
        for path, verdict in itertools.chain(*judged)
        if verdict == "wrong" or (verdict != "ok" and path in content.others)
    ]


def _judged(directory: Path, paths: list[str], python: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    script = Path(__file__).parent / "standalone" / "_bytecode.py"
    judged: list[tuple[str, str]] = []
    while remaining := paths[len(judged) :]:
        answers = _Verdicts()
        text = json.dumps([str(directory / path) for path in remaining])
        try:
            _process.run([python, "-I", "-S", script], environ=environ, stdin=text, check=False, follow=answers)
        except CommandError:
            return judged  # its Python does not start, and that is damage of its own
        judged += zip(remaining, answers.verdicts, strict=False)
        if len(answers.verdicts) < len(remaining):  # it died of this one
            judged.append((remaining[len(answers.verdicts)], "wrong"))
    return judged


class _Verdicts:
    """What the check of compiled files says, one line for each."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []

    def on_line(self, line: str) -> bool:
        if match := re.fullmatch(r"ce:(ok|wrong|moved|passed over)", line):
            self.verdicts.append(match[1])
        return False

    def on_tick(self, pid: int) -> None:
        pass
