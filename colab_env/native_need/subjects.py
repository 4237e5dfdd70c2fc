"""The one-word subject of an error in free words, "X is not installed": a need only where the distribution has such a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from colab_env.native_need.log_lines import Line
from colab_env.native_need.missing import Missing
from colab_env.native_need.rules import is_name

if TYPE_CHECKING:
    from colab_env.native_need.packed_index import Index

_LOOKED_FOR_DATA = re.compile(r"(?:Key|Value|Index|Lookup|Attribute|Type|Name|Module\w*)Error: ")
_SUBJECT = re.compile(
    r"^(?:[\w.]{0,80}(?:Error|Exception|Exit|NotFound|NotInstalled)\w{0,20}: |(?:fatal )?error: |\*+ ?)?"
    r"(?:the )?['\"`]?([A-Za-z][\w.+-]{1,40})['\"`]? "
    r"(?:(?:is |was )?not installed|(?:is )?unavailable|is required|is missing"
    r"|(?:is |was )?not found[.,;:!]? (?:please|you|install|see|make sure|try|is it|check|did|in path|on path))",
    re.IGNORECASE,
)


def named(lines: Sequence[Line], *, is_build: bool) -> tuple[Missing, ...]:
    """Return what the last lines of a log say such a thing of, the last one first."""
    subjects: dict[str, Missing] = {}
    for line in reversed(lines[-40:]):
        match = None if _LOOKED_FOR_DATA.match(line.text) else _SUBJECT.match(line.text)
        if match and is_name(name := match[1].rstrip(".,")):
            phase = "build" if is_build else "run"
            missing = Missing(kind="words", name=name, evidence=line.text, line=line.number, phase=phase)  # type: ignore[arg-type]
            subjects.setdefault(name.lower(), missing)
    return tuple(subjects.values())


def confirmed(subjects: Sequence[Missing], index: Index) -> Iterator[Missing]:
    """Yield those that the index has as a program or a library of that very name, outside Python's own packages."""
    for missing in subjects:
        name = missing.name
        for word in dict.fromkeys((name, name.lower())):
            library = word if word.startswith("lib") else f"lib{word}"
            if _has(word, index, r"(?:usr/)?(?:s?bin|games)$"):
                yield Missing(**{**vars(missing), "kind": "command", "name": word})
            elif _has(f"{library}.so", index, r"usr/lib"):
                yield Missing(**{**vars(missing), "kind": "shared-object", "name": f"{library}.so"})
            elif index.package(word) is not None:
                yield missing
            else:
                continue
            break


def _has(file: str, index: Index, directory: str) -> bool:
    pattern = re.compile(directory)
    return any(
        pattern.match(location.directory) and not all(name.startswith("python") for name in location.packages)
        for location in index.locations(file)
    )
