"""Draw what goes on: one moving line in a terminal, one card in a notebook cell, plain lines in a pipe.

rich was weighed, which Colab has: see docs/output.md. What is needed of it is this module, which costs no import.
"""

from __future__ import annotations

import codecs
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

# What stands for a character where an encoding has none: two marks that mean different things stay different.
_ASCII = {
    "✓": "[ok]",
    "✗": "[!!]",
    "→": "->",
    "…": "...",
    "·": "-",
    "█": "#",
    "░": ".",
    "“": '"',
    "”": '"',
    "\N{EN DASH}": "-",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "≥": ">=",
    "≤": "<=",
}
ASCII_MARKS = "colab_env_marks"  # the name of the error handler
_GREEN, _RED, _CYAN, _BLUE = "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[34m"
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"✓": _GREEN, "✗": _RED, "→": _CYAN}
_NARROW = 70  # columns; below, bars are short
_SHORTEST_TITLE = 10  # columns that a title keeps beside a tool's last line
_BAR = re.compile("█+")
_ASIDE = re.compile(r" (\((?:[^()]*)\))$")
# In backquotes, or where a hint or a list begins: "uv cannot download it" is a sentence, and is folded.
_COMMAND = re.compile(
    r"(?:→ )?`[^`]+`|(?:→ |: )(?:colab-env|pip|poetry|uv|conda|sudo|apt-get|jupyter|git|docker|python3|export) [^;,:()]+"
)
_JOINED = "\x1f"  # a space that is not broken at; textwrap has none of its own


@dataclass(frozen=True, kw_only=True)
class Work:
    """What goes on at the moment.

    `facts` are the most telling first, `fraction` is the part that is done, from 0 to 1, or None; `seconds` is the time
    since it began and `left` what it still takes, where that can be told; `is_new` says that it begins.
    """

    title: str
    facts: tuple[str, ...] = ()
    fraction: float | None = None
    seconds: float = 0.0
    left: float | None = None
    is_new: bool = False

    def __str__(self) -> str:
        facts = "  ".join([*([] if self.fraction is None else [f"[{bar(self.fraction, 8)}]"]), *self.facts])
        return f"{self.title} · {facts}" if facts else self.title

    def fitted(self, columns: int) -> str:
        """Return one line of at most so many columns: the elapsed time and the first fact stay, others and words go."""
        elapsed = f"  {duration(self.seconds)}" if self.seconds >= 1 else ""
        width = columns - len(elapsed)
        drawn = [] if self.fraction is None else [f"[{bar(self.fraction, 8 if columns < _NARROW else 16)}]"]
        count = len(self.facts)
        # The last fact first: how fast it goes matters less than how long it takes.
        while count > 1 and _cells(self.title) + _cells("  ".join([*drawn, *self.facts[:count]])) + 2 > width:
            count -= 1
        facts = "  ".join([*drawn, *self.facts[:count]])
        # Of a bar nothing is cut, of a tool's last line the end; of a title first the reason, which follows a colon.
        room = max(width - _cells(facts) - 2 if facts else width, min(_SHORTEST_TITLE, width // 2))
        title = self.title if _cells(self.title) <= room else self.title.partition(": ")[0]
        title = _cut(title, room)
        return _cut(f"{title}  {facts}" if facts else title, width) + elapsed


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, work: Work) -> None:
        """Replace the moving line."""

    def keep(self, text: str) -> None:
        """Add a line that stays."""

    def close(self, failure: str | None = None, result: Any = None) -> None:
        """Take the moving line away; `failure` is the title of the work that raised, `result` what a call returns."""


class Silent:
    """Shows nothing."""

    def show(self, work: Work) -> None:
        pass

    def keep(self, text: str) -> None:
        pass

    def close(self, failure: str | None = None, result: Any = None) -> None:
        pass


class Plain:
    """Plain lines for a pipe or a log: what begins and what is done, no moving parts."""

    def __init__(self, *, keep_to: Any = None) -> None:
        self._keep_to = keep_to

    def show(self, work: Work) -> None:
        if work.is_new:
            self._print(f"{work.title} ...", sys.stderr)

    def keep(self, text: str) -> None:
        self._print(painted(text, self._keep_to or sys.stderr), self._keep_to or sys.stderr)

    def _print(self, text: str, file: Any) -> None:
        # One write: steps work side by side, and print() would write the end of the line by itself.
        file.write(f"{text}\n")
        file.flush()

    def close(self, failure: str | None = None, result: Any = None) -> None:
        pass


class Terminal:
    """One moving line at the bottom of a terminal."""

    def __init__(self, *, keep_to: Any = None) -> None:
        self._keep_to = keep_to

    def show(self, work: Work) -> None:
        # A terminal may wrap behind the last column.
        line = work.fitted(shutil.get_terminal_size().columns - 1)
        if has_colour(sys.stderr):
            line = _BOLD + line.replace("  ", f"{_PLAIN}  {_DIM}", 1) + _PLAIN
        self._write(sys.stderr, f"\r\x1b[2K{line}")

    def keep(self, text: str) -> None:
        self.close()
        stream = self._keep_to or sys.stderr
        self._write(stream, f"{painted(text, stream)}\n")

    def close(self, failure: str | None = None, result: Any = None) -> None:  # noqa: ARG002 - printed by the caller
        self._write(sys.stderr, "\r\x1b[2K")

    def _write(self, stream: Any, text: str) -> None:
        stream.write(text)
        stream.flush()


class Notebook:
    """One card in a notebook cell: the finished steps and, below them, the one that goes on."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._lines: list[str] = []

    def show(self, work: Work) -> None:
        self._draw(work)

    def keep(self, text: str) -> None:
        self._lines += text.splitlines()
        self._draw()

    def close(self, failure: str | None = None, result: Any = None) -> None:
        if failure is not None and self._handle is not None:  # the error comes below, and this says how far it went
            self._lines.append(f"✗ {failure}")
            self._draw()
        elif result is not None:
            from colab_env import cards

            text = repr(result)
            others = [line for line in self._lines if line not in text]  # such as what a person has to install as root
            more = cards.progress(others, None) if others else ""
            self._put({"text/plain": "\n".join([text, *others]), "text/html": result._repr_html_() + more})
        elif failure is None and self._handle is not None:
            self._put({"text/plain": "", "text/html": ""})

    def _draw(self, work: Work | None = None) -> None:
        from colab_env import cards

        text = "\n".join([*self._lines, *([f"… {work.fitted(98)}"] if work else [])])
        current = None
        if work is not None:
            elapsed, facts = duration(work.seconds) if work.seconds >= 1 else "", " · ".join(work.facts)
            current = cards.Row(mark="…", name=work.title, text=facts, aside=elapsed, share=work.fraction)
        self._put({"text/plain": text, "text/html": cards.progress(self._lines, current)})

    def _put(self, bundle: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            # A handle of an earlier cell would be that cell's output, so each block of work has its own.
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def has_colour(stream: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Say whether colours are wanted and understood where a stream goes: see no-color.org and force-color.org."""
    if environ is None:
        import os

        environ = os.environ
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return environ["FORCE_COLOR"] != "0"
    return is_terminal(stream) and environ.get("TERM") != "dumb"


def is_terminal(stream: Any) -> bool:
    """Say whether a person reads a stream, which may be closed."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def painted(text: str, stream: Any) -> str:
    """Return lines as a stream shows them: in a terminal folded at words, and with colours where they are wanted."""
    lines = text.splitlines()
    if is_terminal(stream):
        columns = shutil.get_terminal_size().columns
        lines = [part for line in lines for part in folded(line, columns)]
    return "\n".join(map(_coloured, lines) if has_colour(stream) else lines)


def folded(line: str, columns: int) -> list[str]:
    """Break a line that is too wide, at spaces; what goes on is indented below the words after the mark.

    Commands stay in one piece: half of one, copied, would be another command.
    """
    if _cells(line) <= columns:
        return [line]
    import textwrap

    line = _COMMAND.sub(lambda match: match[0].replace(" ", _JOINED), line)
    start, width, aside = len(line) - len(line.lstrip()), max(columns, 20), _ASIDE.search(line)
    indent = " " * min(start + 2, columns // 4)
    # Not at hyphens: a path or a version that is broken cannot be copied.
    wrapper = textwrap.TextWrapper(width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    parts = wrapper.wrap(line[: aside.start()] if aside else line)
    if aside and _cells(parts[-1]) + 1 + _cells(aside[1]) <= width:
        parts[-1] += f" {aside[1]}"
    elif aside:  # what stands in brackets stays together, where it can
        wrapper.initial_indent = indent
        parts += wrapper.wrap(aside[1])
    return [part.replace(_JOINED, " ") for part in parts]


def _coloured(line: str) -> str:
    text = line.lstrip()
    mark = text[:1]
    if mark in _COLOURS:
        start = line[: len(line) - len(text)]
        rest = _ASIDE.sub(rf" {_DIM}\1{_PLAIN}", text[1:])
        return f"{start}{_COLOURS[mark]}{mark}{_PLAIN}{rest}"
    if "█" in line:
        return _BAR.sub(rf"{_BLUE}\g<0>{_PLAIN}", line)
    return f"{_DIM}{line}{_PLAIN}" if line.startswith("  ") else line


def painted_error(text: str, stream: Any) -> str:
    """Return an error as a stream shows it: the fact in red, then what to do next; lines that it quotes stay as they are."""
    first, *rest = text.splitlines()
    columns = shutil.get_terminal_size().columns if is_terminal(stream) else sys.maxsize
    fact = folded(first, columns)
    other = [part for line in rest for part in ([line] if line.startswith("    ") else folded(line, columns))]
    if not has_colour(stream):
        return "\n".join([*fact, *other])
    return "\n".join([*(f"{_RED}{line}{_PLAIN}" for line in fact), *map(_coloured, other)])


def with_marks(stream: Any) -> None:
    """Let a stream whose encoding has no ✓ show marks of ASCII, one for each meaning."""
    codecs.register_error(ASCII_MARKS, _in_ascii)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=ASCII_MARKS)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end


def bar(fraction: float, width: int) -> str:
    """Draw how much is done, from 0 to 1."""
    full = min(max(int(width * fraction), 0), width)
    return "█" * full + "·" * (width - full)


def duration(seconds: float) -> str:
    """Write a time as people do: "3 s", "2 min 05 s"."""
    return f"{seconds:.0f} s" if seconds < 99.5 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def _cut(text: str, columns: int) -> str:
    if _cells(text) <= columns:
        return text
    while text and _cells(text) > columns - 1:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _cells(text: str) -> int:
    """Return how many columns a terminal takes for a text: two for each character of East Asian scripts."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
