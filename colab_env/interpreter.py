"""What a Python is and which ones a person asks for: plain values, nothing is started here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import UsageError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OLDEST = (3, 6)
OLDEST_OF_UV = (3, 8)
OLDEST_OF_MINICONDA = (3, 7)
OLDEST_OF_COLAB = (3, 8)  # the oldest that reads the syntax of google.colab
_VERSION = re.compile(r"\d+(\.\d+)+((a|b|rc)\d+)?(\+[a-z0-9.]*)?")  # as Python and uv write it
_PLAIN_VERSION = re.compile(r"\d+(\.\d+){0,2}|\d+(\.\d+)?\.\*")
_NEWEST = 40  # Python 3.X beyond which nobody asks
_CARET = re.compile(r"(?P<operator>\^|~(?!=))\s*(?P<version>\d{1,9}(?:\.\d{1,9}){0,2})")
_OR = re.compile(r"\|\|?")
_AND = re.compile(r"\s*,\s*|\s+(?=[<>=!^~])")
_LONGEST, _MOST = 500, 20  # characters of a specifier, alternatives in one: nobody writes more


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
    def pair(self) -> tuple[int, int]:
        """Return the first two parts of the version as numbers."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def tag(self) -> str:
        """Return the interpreter tag that wheels use, such as cp312."""
        return "cp" + self.short_version.replace(".", "")


def require_version(text: str) -> None:
    """Raise ValueError unless this is the full version of a Python, such as "3.12.4" or "3.14.0rc1"."""
    if not _VERSION.fullmatch(text):
        msg = f"{text!r} is not the version of a Python"
        raise ValueError(msg)


def parse_specifier(text: str) -> SpecifierSet:
    """Read which Python is asked for: "3.12", "3.12.4", a PEP 440 specifier such as ">=3.11,<3.13", or Poetry's forms.

    Those are "^3.11", "~3.11", "3.*", "*", ">=3.9 <3.13" and "~3.9 || 3.11" (of alternatives, only X.Y counts). Raises
    UsageError.
    """
    from packaging.specifiers import SpecifierSet

    try:
        specifiers = [SpecifierSet(",".join(_pep440_parts(alternative))) for alternative in _alternatives(text)]
    except ValueError as error:
        msg = f"{text!r} is not a Python version"
        raise UsageError(msg, hint="write a version such as 3.12 or a range such as '>=3.11,<3.13'") from error
    return specifiers[0] if len(specifiers) == 1 else SpecifierSet(_joined(specifiers))


def _alternatives(text: str) -> list[str]:
    alternatives = [alternative.strip() for alternative in _OR.split(text[: _LONGEST + 1])]
    if len(text) > _LONGEST or len(alternatives) > _MOST:
        raise ValueError(text)
    return alternatives


def _pep440_parts(text: str) -> Iterator[str]:
    """Give the parts of a specifier as PEP 440 has them. Poetry takes a space for the comma between two."""
    for part in _AND.split(text):
        if _PLAIN_VERSION.fullmatch(part):
            yield f"=={part}" if part.endswith(".*") or part.count(".") == 2 else f"=={part}.*"
        elif part != "*":
            yield _CARET.sub(_spell_out, part)


def format_specifier(specifier: SpecifierSet) -> str:
    """Write a specifier as a person would: 3.12 for ==3.12.*, and * for any."""
    return re.sub(r"^==(.*)\.\*$", r"\1", str(specifier)) or "*"


def fits_short_version(specifier: SpecifierSet, short_version: str) -> bool:
    """Say whether some release of Python X.Y can satisfy the specifier."""
    return any(specifier.contains(f"{short_version}.{micro}") for micro in range(60))


def installing_hint(specifier: SpecifierSet) -> str:
    """Return what installs a Python that fits, of the sources that have one; an empty string where none has."""
    newest = next(
        # A specifier cannot be asked for its newest version, but each X.Y can be asked of it.
        (minor for minor in range(99, OLDEST[1] - 1, -1) if fits_short_version(specifier, f"3.{minor}")),
        None,
    )
    if newest is None:
        return ""
    oldest = {"interpreter='uv'": OLDEST_OF_UV, "interpreter='miniconda'": OLDEST_OF_MINICONDA}
    return (
        " or ".join(source for source, (_, minor) in oldest.items() if newest >= minor) or f"`pyenv install 3.{newest}`"
    )


def unsupported_python_message(version: str, specifier: SpecifierSet, *, asking: str, is_colab: bool) -> str | None:
    """Return the sentence for a machine whose own Python `version` the specifier excludes, or None when it fits.

    `asking` names what asks, such as "pyproject.toml".
    """
    if specifier.contains(version):
        return None
    minor = int(version.split(".")[1])
    older = (other for other in range(minor, OLDEST[1] - 1, -1) if fits_short_version(specifier, f"3.{other}"))
    newer = (other for other in range(minor, _NEWEST) if fits_short_version(specifier, f"3.{other}"))
    nearest = next(older, None) or next(newer, None)
    own = f"3.{minor}" if nearest != minor else version
    has = f"Colab has moved to {own}" if is_colab else f"This machine's Python is {own}"
    use = f"; use python='3.{nearest}'" if nearest is not None else ""
    return f"{has}; {asking} needs {format_specifier(specifier)}{use}"


def _joined(alternatives: list[SpecifierSet]) -> str:
    # PEP 440 has no "or": the range from the lowest to the highest 3.X that fits, less those between that do not.
    fits = [any(fits_short_version(specifier, f"3.{minor}") for specifier in alternatives) for minor in range(_NEWEST)]
    if True not in fits:
        return "<0"
    low, high = fits.index(True), _NEWEST - fits[::-1].index(True)
    gaps = [f"!=3.{minor}.*" for minor in range(low, high) if not fits[minor]]
    return ",".join([f">=3.{low}", *([f"<3.{high}"] if high < _NEWEST else []), *gaps])


def _spell_out(match: re.Match[str]) -> str:
    # Poetry: ^1.2.3 allows changes that keep the first non-zero part, ~1.2.3 those that keep the second.
    parts = [int(part) for part in match["version"].split(".")]
    keep = 1 if match["operator"] == "^" or len(parts) == 1 else 2
    upper = [*parts[: keep - 1], parts[keep - 1] + 1]
    return f">={match['version']},<{'.'.join(map(str, upper))}"
