"""Lines such as `!pip install pandas` in a notebook's cells: which packages they name, and the cells without them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

# `!pip`, `%pip`, `!pip3`, `!python -m pip`, `!uv pip`; Colab and Kaggle have notebooks with each of them.
_INSTALL = re.compile(
    r"(?P<indent>[ \t]*)(?P<line>[!%]\s*(?:(?:sudo\s+)?(?:python[\d.]*|\{sys\.executable\})\s+-m\s+|uv\s+)?"
    r"pip[\d.]*\s+install(?=\s)(?P<words>.*))",
    re.DOTALL,
)
# Python or the shell puts something else in these places: what is installed is known only when the cell runs. A `>` inside
# a word is taken for the comparison that its author meant, although a shell without quotes writes a file of that name.
_DYNAMIC = re.compile(r"[$`{}|;&]|(?<!\S)\d?[<>]")
_WITHOUT_VALUE = frozenset(
    (
        *("-q", "-qq", "-qqq", "--quiet", "-U", "--upgrade", "--user", "--no-cache-dir", "--force-reinstall", "-v"),
        *("--ignore-installed", "-I", "--no-warn-script-location", "--break-system-packages", "--system", "-y"),
        *("--disable-pip-version-check", "--no-input", "--prefer-binary", "--progress-bar=off"),
    )
)
# What uv writes into the block under `[[tool.uv.index]]`.
_INDEXES = {"-i": "--default-index", "--index-url": "--default-index", "--extra-index-url": "--index"}


@dataclass(frozen=True, kw_only=True)
class InstallLines:
    """What the install lines of a notebook come to.

    `requirements` are in the order of the cells, and a package that is named twice keeps the place and takes the words of the
    later line; `options` are for `uv add`; `sources` are the texts of the cells that change, by their numbers from 0; `notes`
    name the lines that stay, and why.
    """

    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    sources: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(cells: Sequence[tuple[int, str]]) -> InstallLines:
    """Read the code cells, each with its number from 0. A line that cannot be taken over whole stays as it is."""
    requirements: dict[str, str] = {}
    options: list[str] = []
    notes: list[str] = []
    sources: dict[int, str] = {}
    for number, source in cells:
        if source.lstrip().startswith("%%") and not source.lstrip().startswith(("%%capture", "%%time")):
            continue  # another language's cell
        lines: list[str] = []
        for line in _logical_lines(source):
            match = _INSTALL.fullmatch(line)
            if match is None:
                lines.append(line)
                continue
            try:
                named, indexes = _packages(match["words"])
            except ValueError as error:
                notes.append(f"cell {number + 1}: `{_one_line(match['line'])}` stays: {error}")
                lines.append(line)
                continue
            requirements |= {name_of(requirement): requirement for requirement in named}
            options += [option for option in indexes if option not in options]
            lines.append(_commented(match["indent"], match["line"]))
        if (text := "\n".join(lines)) != source:
            sources[number] = text
    return InstallLines(
        requirements=tuple(requirements.values()), options=tuple(options), sources=sources, notes=tuple(notes)
    )


def _packages(words: str) -> tuple[list[str], list[str]]:
    """Return the requirements and the index options of one line. Raises ValueError, which says what is in the way."""
    if dynamic := _DYNAMIC.search(words.replace("\\\n", " ")):
        msg = f"{dynamic[0]} in it means something only when the cell runs"
        raise ValueError(msg)
    requirements: list[str] = []
    options: list[str] = []
    rest = iter(shlex.split(words.replace("\\\n", " "), comments=True))
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _INDEXES:
            options.append(f"{_INDEXES[option]}={value if equals else next(rest, '')}")
        elif word.startswith("-") and word not in _WITHOUT_VALUE:
            msg = f"{option} has no equal in a block"
            raise ValueError(msg)
        elif word.startswith((".", "/", "~")) or word.endswith((".whl", ".txt", ".tar.gz", ".zip")):
            msg = f"{word} is a file"
            raise ValueError(msg)
        elif not word.startswith("-"):
            requirements.append(word)
    if not requirements:
        msg = "it names no package"
        raise ValueError(msg)
    return requirements, options


def _logical_lines(source: str) -> list[str]:
    r"""Return the lines, those that a `\` continues as one."""
    lines: list[str] = []
    for line in source.split("\n"):
        if lines and lines[-1].endswith("\\") and lines[-1].lstrip().startswith(("!", "%")):
            lines[-1] += f"\n{line}"
        else:
            lines.append(line)
    return lines


def _commented(indent: str, line: str) -> str:
    first, *more = line.split("\n")
    # What is indented may be all there is below an `if`.
    return "\n".join(
        [f"{indent}{'pass  ' if indent else ''}# {first}", *(f"{indent}# {text.lstrip()}" for text in more)]
    )


def _one_line(line: str) -> str:
    return " ".join(line.replace("\\\n", " ").split())


def name_of(requirement: str) -> str:
    """Return the normalized name of a requirement, or all of it where it is an address alone."""
    name = re.match(r"[\w.-]+", requirement) if "://" not in requirement.partition("@")[0] else None
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement
