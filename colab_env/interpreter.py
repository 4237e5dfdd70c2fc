"""What a Python is and which ones a person asks for: plain values, nothing is started here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import UsageError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OLDEST = (3, 8)
_PLAIN_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_CARET = re.compile(r"(?P<operator>\^|~(?!=))\s*(?P<version>\d+(?:\.\d+){0,2})")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """One CPython: the absolute `path` of its executable, its full `version`, and the `source` it came from."""

    path: Path
    version: str
    source: str

    @property
    def short_version(self) -> str:
        """Return the version without its last part, such as 3.12."""
        return ".".join(self.version.split(".")[:2])

    @property
    def tag(self) -> str:
        """Return the interpreter tag that wheels use, such as cp312."""
        return "cp" + self.short_version.replace(".", "")


def parse_specifier(text: str) -> SpecifierSet:
    """Read which Python is asked for: "3.12", "3.12.4", a PEP 440 specifier (">=3.11,<3.13"), or Poetry's "^3.11", "~3.11", "*".

    Raises UsageError for anything else.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    text = text.strip()
    if _PLAIN_VERSION.fullmatch(text):
        text = f"=={text}" if text.count(".") == 2 else f"=={text}.*"
    try:
        return SpecifierSet("" if text == "*" else _CARET.sub(_spell_out, text))
    except InvalidSpecifier as error:
        msg = f"{text!r} is not a Python version"
        raise UsageError(msg, hint="write a version such as 3.12 or a range such as '>=3.11,<3.13'") from error


def fits_short_version(specifier: SpecifierSet, short_version: str) -> bool:
    """Say whether some release of Python X.Y can satisfy the specifier."""
    return any(specifier.contains(f"{short_version}.{micro}") for micro in range(60))


def _spell_out(match: re.Match[str]) -> str:
    # Poetry: ^1.2.3 allows changes that keep the first non-zero part, ~1.2.3 those that keep the second.
    parts = [int(part) for part in match["version"].split(".")]
    keep = 1 if match["operator"] == "^" or len(parts) == 1 else 2
    upper = [*parts[: keep - 1], parts[keep - 1] + 1]
    return f">={match['version']},<{'.'.join(map(str, upper))}"
