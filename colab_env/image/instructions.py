"""Instructions of a Dockerfile, as text that old builders read too: no heredoc, no `# syntax=`, absolute targets of mounts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

NEXT_LINE = " \\\n    "


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a RUN instruction sees besides its stage."""

    mounts: tuple[str, ...] = ()


def comment(text: str) -> str:
    """Return a comment of one line."""
    return f"# {' '.join(text.split())}"


def run(commands: Sequence[str], how: Run | None = None) -> str:
    """Return one RUN of commands that stop at the first failure."""
    mounts = [f"--mount={mount}" for mount in (how.mounts if how else ())]
    return "RUN " + NEXT_LINE.join([*mounts, f"{NEXT_LINE}&& ".join(commands)])


def copy(sources: str | Sequence[str], target: str, *options: str) -> str:
    """Return a COPY, in the form that takes spaces where one is needed."""
    words = [*([sources] if isinstance(sources, str) else sources), target]
    plain = " ".join(words) if not any(" " in word for word in words) else json.dumps(words, ensure_ascii=False)
    return " ".join(["COPY", *options, plain])


def env(*variables: tuple[str, str, str]) -> list[str]:
    """Return the lines of one ENV: name, value and the reason of every variable; a reason may be empty.

    One for all of them: buildah and podman commit an image after every instruction.
    """
    lines = list[str]()
    for number, (name, value, reason) in enumerate(variables, start=1):
        lines += [comment(reason)] if reason else []
        pair = f"{name}={json.dumps(value) if ' ' in value else value}"
        lines.append(("ENV " if number == 1 else "    ") + pair + (" \\" if number < len(variables) else ""))
    return lines


def stage(base: str, name: str) -> str:
    """Return the FROM of a stage."""
    return f"FROM {base} AS {name}"


def exec_form(instruction: str, words: Sequence[str]) -> str:
    """Return an instruction whose program gets signals itself: no shell is between."""
    return f"{instruction} {json.dumps(list(words), ensure_ascii=False)}"
