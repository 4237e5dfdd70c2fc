"""Read TOML, whoever wrote it: as plain values, or as a document that keeps its comments; anything else is a ValueError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

# Parsers take time and memory with the square of a key's parts.
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP = re.compile(rf"""(?<![\w"'-]){_PART}(?:[ \t]*\.[ \t]*{_PART}){{100}}""")
_PLACE = re.compile(
    r"(.*?)(?: \(at line (\d+), column (\d+)\)| at line (\d+) col (\d+)| \(at end of document\))", re.DOTALL
)


def parsed(text: str) -> dict[str, Any]:
    """Return a TOML file as plain values. Raises ValueError. Before Python 3.11 that takes seconds for a large file."""
    try:
        import tomllib  # type: ignore[import-not-found]
    except ImportError:
        return document(text).unwrap()
    _require_flat(text)
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError as error:
        raise ValueError(_with_place(error, text)) from error
    return found


def document(text: str) -> TOMLDocument:
    """Return a TOML file as a document, which can be changed and written again. Raises ValueError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    _require_flat(text)
    try:
        found = tomlkit.parse(text)
        found.unwrap()  # some faults show when it is read
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except (TOMLKitError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(_with_place(error, text)) from error
    return found


_TOO_DEEP = "it is nested too deeply"


def _require_flat(text: str) -> None:
    if _DEEP.search(text):
        raise ValueError(_TOO_DEEP)


def _with_place(error: Exception, text: str) -> str:
    """Return what a parser says, the place in front: they write it in ways of their own."""
    found = _PLACE.match(str(error))
    if found is None:
        return str(error) or "it is no TOML"
    line, column = found[2] or found[4], found[3] or found[5]
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    return f"line {line}, column {column}: {found[1]}"
