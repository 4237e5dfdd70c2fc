"""Change one value of a JSON text, or put one into it, and leave every other character as it was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_SPACE = " \t\r\n"


@dataclass(frozen=True, kw_only=True)
class _Style:
    """How a file writes its JSON: line end ("" for all in one line), one step of indentation, colon, escapes."""

    newline: str
    indent: str
    colon: str
    ascii_only: bool

    @property
    def comma(self) -> str:
        return ", " if self.colon.endswith(" ") else ","


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One key with its value, as offsets into the text; in a list, the key is the number and takes no room."""

    key: str | int
    key_start: int
    key_end: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One object or list in the text, at its opening brace, `depth` braces inside the outermost."""

    text: str
    opening: int
    depth: int
    members: list[_Member]

    def margin(self, style: _Style) -> str:
        """Return the line end and indentation in front of each member, or "" when they share a line."""
        if not self.members:
            return style.newline + style.indent * (self.depth + 1) if style.newline else ""
        lead = self.text[self.opening + 1 : self.members[0].key_start]
        return lead if lead.strip(" \t") else ""


def with_value(text: str, *, keys: tuple[str | int, ...], value: Any) -> str:
    """Return a JSON text (an object) with the value that `keys` lead to set or inserted, in the text's own style.

    A number among the keys counts the items of a list, which must be there.
    """
    style = _style(text)
    opening, depth = _innermost(text, keys)
    key, *missing = keys[depth:]
    for inner in reversed(missing):
        value = {str(inner): value}
    target = _Target(text=text, opening=opening, depth=depth, members=_members(text, opening))
    same = [member for member in target.members if member.key == key]
    if same:
        return text[: same[-1].start] + _written(value, style, target.margin(style)) + text[same[-1].end :]
    return _with_member(target, style, key=key, value=value)


def with_first_item(text: str, *, keys: tuple[str | int, ...], value: Any) -> str:
    """Return a JSON text with a value put in front of the items of the list that `keys` lead to."""
    style = _style(text)
    outer, depth = _innermost(text, keys)
    (opening,) = [member.start for member in _members(text, outer) if member.key == keys[-1]][-1:]
    target = _Target(text=text, opening=opening, depth=depth + 1, members=_members(text, opening))
    return _with_member(target, style, key=0, value=value)


def _with_member(target: _Target, style: _Style, *, key: str | int, value: Any) -> str:
    text, margin = target.text, target.margin(style)
    member = (json.dumps(key) + style.colon if isinstance(key, str) else "") + _written(value, style, margin)
    if target.members:
        # In front: a member added at the end would put a comma on somebody else's line.
        start = target.members[0].key_start
        return text[:start] + member + (f",{margin}" if margin else style.comma) + text[start:]
    end = style.newline + style.indent * target.depth if margin else ""
    return text[: target.opening + 1] + margin + member + end + text[_after_space(text, target.opening + 1) :]


def _written(value: Any, style: _Style, margin: str) -> str:
    if not margin:
        return json.dumps(value, separators=(style.comma, style.colon), ensure_ascii=style.ascii_only)
    lines = json.dumps(value, indent=style.indent, separators=(",", style.colon), ensure_ascii=style.ascii_only)
    return lines.replace("\n", margin)


def _style(text: str) -> _Style:
    opening = _after_space(text, 0)
    first = _members(text, opening)[0]
    lead = text[opening + 1 : first.key_start]
    newline = lead.rstrip(" \t")
    return _Style(
        newline=newline,
        indent=lead[len(newline) :] if newline else "",
        colon=text[first.key_end : first.start],
        ascii_only=text.isascii() and "\\u" in text,
    )


def _innermost(text: str, keys: tuple[str | int, ...]) -> tuple[int, int]:
    """Return where the last object on the way along `keys` opens, and how many of the keys lead to it."""
    opening = _after_space(text, 0)
    for depth, key in enumerate(keys[:-1]):
        # Of several members with one name the last counts, as in every JSON reader that Jupyter uses.
        starts = [member.start for member in _members(text, opening) if member.key == key]
        if not starts or text[starts[-1]] not in "{[":
            return opening, depth
        opening = starts[-1]
    return opening, len(keys) - 1


def _members(text: str, opening: int) -> list[_Member]:
    decode = json.JSONDecoder().raw_decode
    members: list[_Member] = []
    at = _after_space(text, opening + 1)
    while text[at] not in "}]":
        key, key_end = decode(text, at) if text[opening] == "{" else (len(members), at)
        start = _after_space(text, _after_space(text, key_end) + 1) if text[opening] == "{" else at
        _, end = decode(text, start)
        members.append(_Member(key=key, key_start=at, key_end=key_end, start=start, end=end))
        at = _after_space(text, end)
        at = _after_space(text, at + 1) if text[at] == "," else at
    return members


def _after_space(text: str, at: int) -> int:
    # JSON's own four blanks, not Unicode's.
    while text[at] in _SPACE:
        at += 1
    return at
