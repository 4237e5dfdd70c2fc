"""Read TOML, whoever wrote it: as plain values, or as a document that keeps its comments; anything else is a ValueError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

# Parsers take time and memory with the square of a key's parts.
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP = re.compile(rf"""(?<![\w"'-]){_PART}(?:[ \t]*\.[ \t]*{_PART}){{100}}""")
_POSITION = re.compile(
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
        values: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError as error:
        raise ValueError(_with_position(error, text)) from error
    return values


def document(text: str) -> TOMLDocument:
    """Return a TOML file as a document, which can be changed and written again. Raises ValueError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    _require_flat(text)
    try:
        tree = tomlkit.parse(text)
        tree.unwrap()  # some faults show when it is read
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except (TOMLKitError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(_with_position(error, text)) from error
    return tree


_TOO_DEEP = "it is nested too deeply"


def _require_flat(text: str) -> None:
    if _DEEP.search(text):
        raise ValueError(_TOO_DEEP)


def _with_position(error: Exception, text: str) -> str:
    """Return what a parser says, the position in front: they write it in ways of their own."""
    match = _POSITION.match(str(error))
    # tomlkit says some faults without a position.
    if match is None:
        return str(error) or "it is no TOML"
    line, column = match[2] or match[4], match[3] or match[5]
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    return f"line {line}, column {column}: {match[1]}"
