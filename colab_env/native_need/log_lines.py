"""The lines of a log that may say why something failed: few and short, however long the log is.

A log may have 10 MB, in one line or in a million, and may be made to cost time. So it is looked through with plain string
searches, piece by piece, and patterns see only lines that have a word of a failure in them, and no more than `_MOST` of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PIECE = 1 << 19  # characters looked through at once
_SHORT = 1 << 17  # characters: every line of a log like that is looked at
_WIDTH = 600  # characters that are left of a line, around the word that was found
_AROUND = 4  # lines before and after such a word
_MOST = 300  # lines, from the start and from the end of a log: what a log made against the patterns takes a second for
# Parts of words, so that "Error" and "error" are one search; how many of each count in a piece, from its start and its end.
_STRONG = 12
_STRONG_WORDS = (
    *("atal error", "rror: ", "RROR: ", "CMake Error", "ot found", "NOT find", "o such file", "o module", "annot find"),
    *("annot open", "ould not find", "nable to ", "issing", "xecutable", "Killed", "pace left", "Traceback", "HASHES"),
)
_WEAK = 3
_WEAK_WORDS = (
    *("rror", "RROR", "annot ", "an't ", "n't find", "ould not", "ailed", "AILED", "equire", "nstall", "nknown"),
    *("emory", "enied", "library", "ackage ", "orbidden", "imed out", "onnection", "esolv", "ompatible", " hash"),
    *("ersion", "xception", "undefined ", "ot available", "isplay", "include files", "PATH", "Building", "Collecting"),
    *("-config", " need"),
)
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9:;<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffd]"
)
_QUOTES = str.maketrans("‘’“”", "''\"\"")  # noqa: RUF001
# What tools draw before a line: Poetry's and uv's boxes, pip's arrows, BuildKit's step and seconds (in its summary of what
# failed without the step), a CI's time (GitHub, GitLab, Jenkins) and marks, the name of a container (Compose, kubectl) or of
# a host (journalctl).
_DRAWN = re.compile(
    r"(?:\s|[│┃|╰╭├└─━▶→•×✗⨯]|[\u2500-\u257f]|=> |-> |╰─> "  # noqa: RUF001
    r"|#\d{1,4} \d{1,6}\.\d{1,4} |\d{4}-\d\d-\d\dT[\d:.]{8,20}Z (?:\d\d[OE] )?"
    r"|(?:\d\.\d{3}|\d\d\.\d\d|\d{3,5}\.\d) |\[\d{4}-\d\d-\d\dT[\d:.]{8,20}Z\] "
    r"|\d\d:\d\d:\d\d(?:\.\d{3})?  ?|##\[(?:error|warning)\]"
    r"|[A-Za-z][\w.-]{0,60}[-_]\d{1,3} {1,40}\| |\[pod/[\w.-]{1,100}/[\w.-]{1,100}\] "
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,60} [\w.@/-]{1,60}\[\d{1,8}\]: )+"
)


class Line(NamedTuple):
    """One line: its number in the log, from 1, and its text without colours, boxes and indentation."""

    number: int
    text: str


def read(text: str) -> list[Line]:
    """Return the lines to look at, in order."""
    spans = list(_all_spans(text)) if len(text) <= _SHORT else []
    if not spans or len(spans) > 2 * _MOST:  # the end, and what speaks of a failure before it
        spans = sorted({*_spans(text, _STRONG_WORDS, _STRONG), *spans[-_MOST:]})
        if len(spans) < _MOST:
            spans = sorted({*spans, *_spans(text, _WEAK_WORDS, _WEAK)})
    spans = spans if len(spans) <= 2 * _MOST else [*spans[:_MOST], *spans[-_MOST:]]
    spans = [span for span in spans if not _is_inside_shown(text, span[1])]
    return [Line(number, cleaned) for number, start, end in spans if (cleaned := clean(text[start:end]))]


_SHOWN = re.compile(
    r"(?:\S+ )?(?:The command '|process \"/bin/sh -c |(?:Step|STEP) \d+/\d+ ?: |Error: building at STEP |RUN |\+ "
    r"|executor failed running )"
)
_LONGEST = 1 << 14  # characters of a command that is shown


def _is_inside_shown(text: str, start: int) -> bool:
    """Say whether a part of a long line is the middle of a command that is shown: there it looks like a sentence of its own."""
    low = max(0, start - _LONGEST)
    feed = text.rfind("\n", low, start)
    begin = feed + 1
    return (feed >= 0 or low == 0) and begin < start and _SHOWN.match(clean(text[begin : begin + 200])) is not None


def clean(raw: str) -> str:
    """Return a line without colours, what is drawn before it, and what a progress bar wrote over."""
    line = raw.rstrip("\r\n").rpartition("\r")[2]
    line = _ESCAPES.sub("", line) if not line.isprintable() else line
    line = line.translate(_QUOTES) if not line.isascii() else line
    drawn = _DRAWN.match(line)
    line = line[drawn.end() :].rstrip() if drawn else line.rstrip()
    # Autoconf writes its error behind the test: "checking for zlib... configure: error: ..."
    return line[line.rfind("configure: error: ") :] if "... configure: error: " in line else line


def _all_spans(text: str) -> Iterator[tuple[int, int, int]]:
    start = number = 0
    while start < len(text):
        number += 1
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start <= _WIDTH:
            yield number, start, end
        else:
            hits = {*_hits(text, start, end, _STRONG_WORDS, _STRONG), *_hits(text, start, end, _WEAK_WORDS, _WEAK)}
            for start_of_span, right in dict.fromkeys(_window(hit, start, end) for hit in sorted(hits or {start})):
                yield number, start_of_span, right
        start = end + 1


def _spans(text: str, words: Sequence[str], most: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the lines around each word, piece by piece, and of the last lines."""
    counted, number, last = 0, 1, -1
    for piece in range(0, len(text), _PIECE):
        end_of_piece = min(piece + _PIECE, len(text))
        has_words = text.find(" ", piece, end_of_piece) >= 0
        hits = {*_hits(text, piece, end_of_piece, words, most)} if has_words else set()
        if end_of_piece == len(text):
            hits.add(max(piece, len(text) - _WIDTH))
        for hit in sorted(hits):
            for start, end in _around(text, hit):
                if start > last:
                    number += text.count("\n", counted, start)
                    counted = last = start
                    yield number, start, end


def _around(text: str, hit: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the line at a place, and of its neighbours; of a line without end, what is around the word."""
    low = hit
    for _ in range(_AROUND + 1):
        feed = text.rfind("\n", max(0, low - _WIDTH), low)
        if feed < 0:
            break
        low = feed
    if low == hit and hit > _WIDTH and text.find("\n", hit, hit + _WIDTH) < 0:
        yield _window(hit, 0, len(text))
        return
    start = low + 1 if low < hit else max(0, low - _WIDTH // 2)
    for _ in range(2 * _AROUND + 1):
        end = text.find("\n", start, max(hit, start) + _WIDTH)
        yield start, end if end >= 0 else min(len(text), max(hit, start) + _WIDTH // 2)
        if end < 0:
            return
        start = end + 1


def _window(hit: int, start: int, end: int) -> tuple[int, int]:
    """Return the part of a long line that a word is in: parts overlap by half, and words that are close share one."""
    step = _WIDTH // 2
    first = max(start, (hit // step) * step - step)
    return first, min(end, first + 3 * step)


def _hits(text: str, start: int, end: int, words: Sequence[str], most: int) -> Iterator[int]:
    """Yield where the first and the last of each word are, at most one in a line or in a part of a long one."""
    step = _WIDTH // 2
    for word in words:
        at, count = text.find(word, start, end), 0
        while at >= 0 and count < most:
            yield at
            count += 1
            line_end = text.find("\n", at, at + step)
            at = text.find(word, line_end if line_end >= 0 else at + step, end)
        first, at, count = at, text.rfind(word, start, end), 0
        while 0 <= first <= at and count < most:
            yield at
            count += 1
            line_start = text.rfind("\n", max(start, at - step), at)
            at = text.rfind(word, start, line_start if line_start >= 0 else max(start, at - step))
