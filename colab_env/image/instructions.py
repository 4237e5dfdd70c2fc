"""The lines of a Dockerfile: instructions and the comments that say why. Pure text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

_NEXT = " \\\n    "


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a RUN instruction sees besides its stage."""

    mounts: tuple[str, ...] = ()


def comment(text: str) -> str:
    """Return a comment of one line."""
    return f"# {' '.join(text.split())}"


def run(commands: Sequence[str], how: Run | None = None) -> str:
    """Return one RUN of commands that stop at the first failure."""
    mounts = [f"--mount={each}" for each in (how.mounts if how else ())]
    return "RUN " + _NEXT.join([*mounts, f"{_NEXT}&& ".join(commands)])


def copy(sources: str | Sequence[str], target: str, *options: str) -> str:
    """Return a COPY, in the form that takes spaces where one is needed."""
    words = [*([sources] if isinstance(sources, str) else sources), target]
    plain = " ".join(words) if not any(" " in each for each in words) else json.dumps(words, ensure_ascii=False)
    return " ".join(["COPY", *options, plain])


def env(name: str, value: str) -> str:
    """Return an ENV of one variable."""
    return f"ENV {name}={value if value.replace('$', '').isidentifier() or ' ' not in value else json.dumps(value)}"


def stage(base: str, name: str) -> str:
    """Return the FROM of a stage."""
    return f"FROM {base} AS {name}"


def exec_form(instruction: str, words: Sequence[str]) -> str:
    """Return an instruction whose program gets signals itself: no shell is between."""
    return f"{instruction} {json.dumps(list(words), ensure_ascii=False)}"
