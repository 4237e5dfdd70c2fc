"""The lines of a log that may say why something failed: few and short, however long the log is.

A log may have 10 MB, in one line or in a million, and may be made to cost time. So it is looked through with plain string
searches, piece by piece, and patterns see only lines that have a word of a failure in them, and no more than `_MOST` of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_PIECE = 1 << 19  # characters looked through at once
_SHORT = 1 << 17  # characters: every line of a log like that is looked at
_WIDTH = 600  # characters that are left of a line, around the word that was found
_AROUND = 4  # lines before and after such a word
_HITS = 60  # of one word, from the start and from the end of a piece
_MOST = 2500  # lines, from the start and from the end of a log
# Parts of words, so that "Error" and "error" are one search.
_WORDS = (
    *(
        "rror",
        "RROR",
        "ot found",
        "NOT ",
        "o such file",
        "o module",
        "issing",
        "annot ",
        "an't ",
        "n't find",
        "ould not",
    ),
    *("nable to", "ailed", "AILED", "equire", "nstall", "xecutable", "nknown", "illed", "emory", "pace left", "enied"),
    *(
        "library",
        "ackage ",
        "orbidden",
        "imed out",
        "onnection",
        "esolv",
        "ompatible",
        " hash",
        "HASH",
        "ersion",
        "xception",
    ),
    *("undefined ", "ot available", "isplay", "include files", "PATH", "Building", "Collecting", "-config", " need"),
)
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9:;<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f]"
)
# What tools draw before a line: Poetry's and uv's boxes, pip's arrows, BuildKit's step and seconds, a CI's time.
_DRAWN = re.compile(
    r"(?:\s|[│┃|╰╭├└─━▶→•×✗⨯]|#\d{1,4} \d{1,6}\.\d{1,4} |\d{4}-\d\d-\d\dT[\d:.]{8,20}Z |[\u2500-\u257f]|=> |-> |╰─> )+"
)


class Line(NamedTuple):
    """One line: its number in the log, from 1, and its text without colours, boxes and indentation."""

    number: int
    text: str


def read(text: str) -> list[Line]:
    """Return the lines to look at, in order."""
    if len(text) <= _SHORT:
        spans = list(_all_spans(text))
    else:
        spans = list(_spans(text))
        spans = spans if len(spans) <= 2 * _MOST else [*spans[:_MOST], *spans[-_MOST:]]
    return [Line(number, cleaned) for number, start, end in spans if (cleaned := clean(text[start:end]))]


def clean(raw: str) -> str:
    """Return a line without colours, what is drawn before it, and what a progress bar wrote over."""
    line = raw.rstrip("\r\n").rpartition("\r")[2]
    line = _ESCAPES.sub("", line) if not line.isprintable() else line
    drawn = _DRAWN.match(line)
    return line[drawn.end() :].rstrip() if drawn else line.rstrip()


def _all_spans(text: str) -> Iterator[tuple[int, int, int]]:
    start = number = 0
    while start < len(text):
        number += 1
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start <= _WIDTH:
            yield number, start, end
        else:
            for hit in sorted({*_hits(text, start, end)}) or [start]:
                yield number, max(start, hit - _WIDTH // 2), min(end, hit + _WIDTH // 2)
        start = end + 1


def _spans(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the lines around each word, piece by piece."""
    counted, number, last = 0, 1, -1
    for piece in range(0, len(text), _PIECE):
        end_of_piece = min(piece + _PIECE, len(text))
        hits = {*_hits(text, piece, end_of_piece)}
        if piece == 0 or end_of_piece == len(text):
            hits.add(piece if piece == 0 else max(piece, len(text) - _WIDTH))
        for hit in sorted(hits):
            for start, end in _around(text, hit):
                if start <= last:
                    continue
                number += text.count("\n", counted, start)
                counted = last = start
                yield number, start, end


def _around(text: str, hit: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the line at a place, and of its neighbours; a line without end is cut."""
    low = hit
    starts = []
    for _ in range(_AROUND + 1):
        found = text.rfind("\n", max(0, low - _WIDTH), low)
        starts.append(found + 1 if found >= 0 else max(0, low - _WIDTH // 2))
        if found < 0:
            break
        low = found
    start = starts[-1]
    for _ in range(len(starts) + _AROUND):
        end = text.find("\n", start, max(hit, start) + _WIDTH)
        yield start, end if end >= 0 else min(len(text), max(hit, start) + _WIDTH // 2)
        if end < 0:
            return
        start = end + 1


def _hits(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where words of a failure are: the first and the last of each, at most one in a line or in the width of one."""
    for word in _WORDS:
        at, count = text.find(word, start, end), 0
        while at >= 0 and count < _HITS:
            yield at
            count += 1
            line_end = text.find("\n", at, at + _WIDTH // 2)
            at = text.find(word, line_end if line_end >= 0 else at + _WIDTH // 2, end)
        first, at, count = at, text.rfind(word, start, end), 0
        while first >= 0 and at >= first and count < _HITS:
            yield at
            count += 1
            line_start = text.rfind("\n", max(start, at - _WIDTH // 2), at)
            at = text.rfind(word, start, line_start if line_start >= 0 else max(start, at - _WIDTH // 2))
