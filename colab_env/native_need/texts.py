"""Where a text to be explained comes from: a command's output, a file, a pipe, or the last exception of a notebook."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from colab_env.errors import UsageError
from colab_env.results import short

_LARGEST = 64 << 20  # bytes of a log: what follows is not read
_LONGEST = 8 << 20  # characters of a program's output that are looked at: the last ones


class Output:
    """What a program prints: shown at once, and its last part kept."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lines: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    def on_line(self, line: str) -> bool:
        self._show(line)
        self._lines.append(line)
        self._length += len(line) + 1
        if self._length > 2 * _LONGEST:
            self._lines = [self.text[-_LONGEST:]]
            self._length = _LONGEST
        return True

    def on_tick(self, pid: int) -> None:
        pass


def read_log(path: Path) -> str:
    """Return what a file says, "-" being what comes through a pipe."""
    try:
        if str(path) == "-" and sys.stdin.isatty():
            msg = "there is no log, and nothing comes through a pipe"
            raise UsageError(msg, hint="name a file, or put -- and a command behind `colab-env native explain`")
        if str(path) == "-":
            content = sys.stdin.buffer.read(_LARGEST)
        else:
            with path.open("rb") as file:
                content = file.read(_LARGEST)
    except OSError as error:
        msg = f"{short(path)} cannot be read: {error.strerror}"
        raise UsageError(msg, hint="name the file with what the failed command printed") from error
    if b"\0" in content[:4096] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = f"{short(path)} is no text"
        raise UsageError(msg, hint="name the file with what the failed command printed")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    return content.decode(encoding, "replace")


def last_exception() -> str:
    """Return the traceback that a notebook or an interactive Python showed last."""
    error = getattr(sys, "last_value", None)  # IPython sets it too
    if error is None:
        msg = "no exception to explain: nothing has failed in this session"
        raise UsageError(msg, hint="pass the text, or log=... with a file")
    text = "".join(traceback.format_exception(error))
    # Errors of our own keep the lines of the tool that failed.
    lines = [str(line) for cause in _chain(error) for line in getattr(cause, "lines", ())]
    return "\n".join([text, *lines])


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception and those that it came from: errors of our own keep the lines of the tool that failed."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors
