# ruff: noqa: E501  patterns are longer than lines
"""Which distribution a line of a log is about: the one that was being built there, or whose code was running."""

from __future__ import annotations

import re
from collections.abc import Sequence

from colab_env.native_need.log_lines import Line

_DISTRIBUTION = re.compile(
    r"(?:Failed to build (?:installable wheels )?|Failed building wheel for |Building wheels? for |Unable to build |Could not build wheels for"
    r" |error originates from the build backend, and is likely not a problem with poetry but one of the following issues with |Collecting "
    r"|Building (?!wheel)|Installing (?=[\w.-]+ \([\d.]+\): )|provides `[^`]+` for )[`'\"]?([A-Za-z][\w.-]*?)(?=[=<>~!@`'\" \[(;]|$)"
)
_OF_DIRECTORY = re.compile(r"^(?:Processing (?:\.|/)|Obtaining file:)| @ file:|[Bb]uild(?:ing)? editable|'file:/")
_BUILT_FOR = re.compile(r"(?:cpython-|-cp|include/python|lib/python)3(?:\.(\d{1,2})|(\d{1,2}))(?!\d)")
FRAME = re.compile(r"(?:site|dist)-packages/([A-Za-z]\w*)")
# Words of pip, and who carries a call for another.
_NOT_NAMES_TEXT = """
a an the native ipython ipykernel cffi pip traitlets installable wheel wheels for collected editable extension c ext extensions with without
"""
_NOT_NAMES = frozenset(_NOT_NAMES_TEXT.split())


def distribution_at(at: Line, lines: Sequence[Line], *, is_build: bool) -> str | None:
    pattern = _DISTRIBUTION if is_build else FRAME
    marks = [(line.number, match[1]) for line in lines if (match := pattern.search(line.text))]
    marks = [mark for mark in marks if mark[1].lower() not in _NOT_NAMES]
    names = [name for number, name in marks if number <= at.number]
    after = [name for number, name in marks if number > at.number]
    return names[-1] if names else (after[0] if after else None)


def requirement_at(at: Line, lines: Sequence[Line]) -> tuple[str | None, str | None]:
    """Return the distribution that was being built at a line, "fiona==1.9.5" where its version is known, and the Python for it."""
    python = next((match for line in lines if (match := _BUILT_FOR.search(line.text))), None)
    name = distribution_at(at, lines, is_build=True)
    if name is None:
        return None, None
    spelling = re.sub(r"[-_.]+", "[-_.]+", name)
    is_fetched = re.compile(rf"(?:Collecting|Downloading|Using cached) {spelling}(?![\w-])", re.IGNORECASE)
    if any(_OF_DIRECTORY.search(line.text) for line in lines) and not any(
        is_fetched.match(line.text) for line in lines
    ):
        return None, None  # the project's own build: what the index has of that name is another project
    versioned = re.compile(rf"(?<![\w-]){spelling}(?:==|-| v?)(\d+(?:\.\w+)*)(?![\w.]*\.whl)", re.IGNORECASE)
    match = next((match for line in lines if (match := versioned.search(line.text))), None)
    version = re.sub(r"\.(?:tar|zip|tgz).*$", "", match[1]) if match else ""
    return f"{name}=={version}" if version else name, f"3.{python[1] or python[2]}" if python else None
