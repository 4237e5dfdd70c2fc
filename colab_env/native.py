"""The public functions about what packages need from the operating system, each with a frozen result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import UsageError
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.native_need.missing import Explanation

_LARGEST = 64 << 20  # bytes of a log; of a larger one, its start and its end are read
_LONGEST = 8 << 20  # characters of a program's output that are looked at: the last ones


def explain(text: str | None = None, *, log: str | Path | None = None) -> Explanation:
    """Say what a failed build or import was missing: from its `text`, from a file, or from a notebook's last exception.

    Findings come in the order in which they will be met, each with the line that names it. What is no missing part of the
    system, such as a wrong hash or a full disk, is named as that. Raises UsageError for a file that is no text, and where
    there is nothing to explain.
    """
    from colab_env.native_need import extract

    if text is not None and log is not None:
        msg = "a text and a log are two things to explain"
        raise UsageError(msg, hint="give one of them")
    if text is None:
        text = _last_exception() if log is None else _read(Path(log))
    return extract.extract(text)


def explain_command(argv: Sequence[str], *, show: Callable[[str], object]) -> Explanation:
    """Run a command and say what it was missing, if it failed; `returncode` of the result is how it ended.

    `show` is called with each line as it comes. It reads nothing: a command that asks a question gets no answer. Raises
    CommandError where it cannot be started.
    """
    from dataclasses import replace

    from colab_env import _process
    from colab_env.native_need import extract
    from colab_env.native_need.missing import Explanation

    output = _Output(show)
    finished = _process.run(list(argv), environ=dict(os.environ), check=False, follow=output)
    explanation = extract.extract(output.text) if finished.returncode else Explanation()
    return replace(explanation, returncode=finished.returncode)


class _Output:
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


def _read(path: Path) -> str:
    """Return what a file says, "-" being what comes through a pipe."""
    try:
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


def _last_exception() -> str:
    """Return the traceback that a notebook or an interactive Python showed last."""
    import traceback

    error = getattr(sys, "last_value", None)  # IPython sets it too
    if error is None:
        msg = "no exception to explain: nothing has failed in this session"
        raise UsageError(msg, hint="pass the text, or log=... with a file")
    shown = "".join(traceback.format_exception(error))
    lines = [str(line) for each in _chain(error) for line in getattr(each, "lines", ())]
    return "\n".join([shown, *lines])


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception and those that it came from: errors of our own keep the lines of the tool that failed."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors
