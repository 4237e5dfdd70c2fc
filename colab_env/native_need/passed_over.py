# ruff: noqa: E501  the words of other tools
"""Whether what a log shows as tried and not there is why it ended: or was passed over, and something else ended it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from colab_env.native_need.log_lines import Line
from colab_env.native_need.rules import FATAL, TRIED, Hit, is_error

_NEAR = 6  # lines
_FEW = 2  # lines, where a log is cut
_GAVE_UP = re.compile(r"error: command |make(?:\[\d+\])?: \*\*\*|ld returned")
_NO_PROGRAM = re.compile(r"(?:status|code|Error):? 127\b")
_DONE_WITHOUT = re.compile(
    r"optional|disabl|falling back|fall back|without (?:it|them)\b|skipp|ignor|will not be (?:built|used|available)",
    re.IGNORECASE,
)
_CONFIGURING = re.compile(
    r"CMake Error|Configuring incomplete|^(?:.{0,80}:\d+:\d+: )ERROR: |^ERROR: (?:Dep|Prog|C |Could not (?!find a v|build|inst))"
)
# What wraps the message of another program, and has none of its own.
_WRAPPER = re.compile(
    r"error: (?:Failed to build|subprocess-exited|metadata-generation|failed-wheel|command |legacy-install|can't copy)"
    r"|ERROR: (?:Failed|Could not build|Command errored)|(?:\w+\.)*CalledProcessError|SystemExit|Command '|BuildBackendException"
)
_ABSENCE = re.compile(
    r"not find|not found|n't find|cannot find|annot locate|missing|equired|equires|not installed|to install (?!\")|ease install|must |unavailable|not available"
    r"|need|127|unable to|specify",
    re.IGNORECASE,
)
# An error of this kind speaks of a file of its own.
_OF_ITS_OWN = re.compile(r"cannot open shared object|No such file|No module named|version|required positional|DISPLAY")
# Python's own, as where the answer of a program was empty.
_EMPTY_ANSWER = re.compile(r"(?:Index|Value|Type|Key|Attribute|Name|Syntax|Unicode\w*|Assertion)Error\b")


def is_cause(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> bool:
    """Say whether what a line names can have ended it: the line says so, or nothing else that is fatal comes after it."""
    is_last_word = is_error(hit.line.text)
    if hit.degree == FATAL and (is_build or is_last_word):
        return True
    if not is_last_word and _DONE_WITHOUT.search(hit.line.text):
        return False
    is_advice = (
        is_build and hit.degree < TRIED and "WARNING" not in hit.line.text
    )  # counts only where nothing else does
    return is_advice or _is_met_later(hit, lines, is_build=is_build)


def _is_met_later(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> bool:
    """Say whether the lines after it speak of it, or show what the lack of it leads to, and not another error."""
    later = [line.text for line in lines if line.number > hit.line.number]
    if hit.line.text.startswith(("-- ", "Run-time dependency")):
        return len(later) < 2 or any(_CONFIGURING.search(text) for text in later)
    stem = re.sub(r"[-_]config$", "", hit.name)
    name = re.compile(rf"(?<![\w-]){re.escape(stem)}(?![\w])", re.IGNORECASE)
    if any(name.search(text) or _NO_PROGRAM.search(text) for text in later):
        return True
    if any(_GAVE_UP.search(text) for text in later[:_NEAR]):
        return True
    errors = [text for text in later if is_error(text) and not _WRAPPER.match(text)]
    if not errors:
        return hit.degree == FATAL or len(later) < _FEW
    last = errors[-1]
    is_absence = _ABSENCE.search(last) is not None and not _OF_ITS_OWN.search(last)
    return is_absence or (is_build and _is_asked(hit) and _EMPTY_ANSWER.match(last) is not None)


def _is_asked(hit: Hit) -> bool:
    """Say whether it is a program that a build asks for options, or what that was asked for."""
    return hit.kind in ("config-program", "pkg-config") or hit.name == "pkg-config"
