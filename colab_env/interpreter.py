"""What a Python is and which ones a person asks for: plain values, nothing is started here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import ProjectFileError, UsageError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OLDEST = (3, 6)
OLDEST_OF_UV = (3, 8)
OLDEST_OF_MINICONDA = (3, 7)
OLDEST_OF_COLAB = (3, 8)  # the oldest that reads the syntax of google.colab
_VERSION = re.compile(r"\d+(\.\d+)+((a|b|rc)\d+)?(\+[a-z0-9.]*)?")  # as Python and uv write it
_OR = re.compile(r"\|\|?")
_AND = re.compile(r"\s*,\s*|(?<=[\w*])\s+(?=[<>=!^~])", re.ASCII)
# What uv, conda, Heroku and people write in front of a version: python3.12, cpython@3.12, py312, v3.12.
_NAME = re.compile(r"(?:c?python|py|cp|v)[\s@-]*(?=[\d<>=!^~])", re.ASCII | re.IGNORECASE)
_PART = re.compile(
    r"(?P<operator>===?|~=|!=|<=?|>=?|[=^~]|)\s*"
    r"(?P<version>\d{1,9}(?:\.\d{1,9})*(?:\.?(?:a|b|rc|dev|post)\d+)?)(?P<star>\.?\*|\.[xX]|)",
    re.ASCII,
)
_NEWEST = 40  # Python 3.X beyond which nobody asks
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


def parse_specifier(text: str, *, source: str = "") -> SpecifierSet:
    """Read which Python is asked for, in any form that pip, Poetry, uv or conda takes. Raises UsageError.

    "3.12", "3.12.4", PEP 440's ">=3.11,<3.13" and "~=3.11", Poetry's "^3.11", "~3.11", "3.*", ">=3.9 <3.13" and
    "~3.9 || 3.11" (of alternatives, only X.Y counts), conda's "=3.11" and "3.11|3.12", uv's "312" and "cpython@3.12".
    With `source`, which says where the text stands, it is that file's mistake: ProjectFileError.
    """
    require_text(text)
    try:
        return _specifier(text)
    except ValueError as error:
        msg = f"{source}{text!r} is not a Python version"
        hint = _correction(text)
        if source:
            raise ProjectFileError(msg, hint=f"{hint}; nothing was changed") from error
        raise UsageError(msg, hint=hint) from error


def require_text(version: object, *, name: str = "python") -> None:
    """Raise UsageError for a version that is no text: as a number, 3.10 is 3.1."""
    if version is not None and not isinstance(version, str):
        parts = version if isinstance(version, tuple) else (version,)
        msg = f"{name}={version!r} is not a text"
        # Nobody asks for Python 3.1; whoever writes 3.10 as a number does.
        meant = "3.10" if version == 3.1 and name == "python" else ".".join(map(str, parts))
        raise UsageError(msg, hint=f'put it in quotes: {name}="{meant}" (as a number, 3.10 is 3.1)')


def _specifier(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    alternatives = [alternative.strip() for alternative in _OR.split(text[: _LONGEST + 1])]
    if len(text) > _LONGEST or len(alternatives) > _MOST or (not all(alternatives) and len(alternatives) > 1):
        raise ValueError(text)
    specifiers = [SpecifierSet(",".join(_pep440_parts(alternative))) for alternative in alternatives]
    return specifiers[0] if len(specifiers) == 1 else SpecifierSet(_joined(specifiers))


def _pep440_parts(text: str) -> list[str]:
    """Return the parts of a specifier as PEP 440 has them. Poetry takes a space for the comma between two."""
    key = re.fullmatch(r"cpython-(\d+\.\d+(?:\.\d+)?)(?:-\w+)+", text, re.ASCII)  # as `uv python list` shows them
    parts = [part for part in _AND.split(key[1] if key else text) if part not in ("", "*")]
    if len(parts) > 1 and sum(part[0].isdigit() for part in parts) > 0:
        raise ValueError(text)  # "3,12" is no two versions
    return [_pep440_part(part) for part in parts]


def _pep440_part(text: str) -> str:
    match = _PART.fullmatch(_NAME.sub("", text, count=1) if _NAME.match(text) else text)
    if match is None:
        raise ValueError(text)
    operator, version, star = match["operator"], match["version"], ".*" if match["star"] else ""
    if operator in ("", "="):  # conda's = is "that and all below it", as a version without any operator
        if re.fullmatch(r"3\d{1,2}", version) and not star:
            version = f"3.{version[1:]}"  # uv: 312 is 3.12
        return f"=={version}" if version.count(".") >= 2 and not star else f"=={version}.*"
    if operator in ("^", "~") and not star:
        return _spell_out(operator, version)
    if star and operator in ("<", ">="):
        star = ""  # conda takes it, and so did pip: the star says nothing there
    if star and operator not in ("==", "!="):
        raise ValueError(text)
    return f"{operator}{version}{star}"


def _correction(text: str) -> str:
    """Return the hint for what is no version: the one thing that it can mean, or the forms that there are."""
    import unicodedata

    if re.search(r"pypy|graal|jython|\d\s*t$", text, re.IGNORECASE):
        return "colab-env uses the usual CPython only: write a version such as 3.12 or a range such as '>=3.11,<3.13'"
    meant = unicodedata.normalize("NFKC", text[:_LONGEST]).strip()
    for pattern, replacement in (
        (r"[\u2010-\u2015\u2212]", "-"),
        ("≥", ">="),
        ("≤", "<="),
        ("≠", "!="),
        ("['\"`\u2018\u2019\u201c\u201d\u300c\u300d]", ""),
        (r"=\s*([<>])", r"\1="),
        (r"\s*&&?\s*|\s+and\s+", ","),
        (r"^(\d)\s*,\s*(\d+)$", r"\1.\2"),
        (r"^([\d.]+)\s*(?:\+|or (?:newer|later|higher|above|up))$", r">=\1"),
        (r"\s+or\s+", " || "),
        (r"(-dev|\.)$", ""),
    ):
        meant = re.sub(pattern, replacement, meant)
    if between := re.fullmatch(r"3\.(\d{1,2})\s*(?:-|to|\.\.\.?)\s*3\.(\d{1,2})", meant):
        meant = f">=3.{between[1]},<3.{int(between[2]) + 1}"
    try:
        if meant and meant != text:
            _specifier(meant)
            return f"did you mean '{meant}'? A range is written such as '>=3.11,<3.13'"
    except ValueError:
        pass
    return "write a version such as 3.12 or a range such as '>=3.11,<3.13'"


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


def unsupported_python_message(
    version: str, specifier: SpecifierSet, *, asking: str, is_colab: bool, found: str | None = None
) -> str | None:
    """Return the sentence for a machine whose own Python `version` the specifier excludes, or None when it fits.

    `asking` names what asks, such as "pyproject.toml"; `found` is the Python X.Y that is taken in its place: where that
    fits, no other one is proposed.
    """
    if specifier.contains(version):
        return None
    minor = int(version.split(".")[1])
    older = (other for other in range(minor, OLDEST[1] - 1, -1) if fits_short_version(specifier, f"3.{other}"))
    newer = (other for other in range(minor, _NEWEST) if fits_short_version(specifier, f"3.{other}"))
    nearest = next(older, None) or next(newer, None)
    proposed = f"3.{minor}" if nearest != minor else version
    has = f"Colab has moved to {proposed}" if is_colab else f"This machine's Python is {proposed}"
    is_settled = found not in (None, f"3.{nearest}") and fits_short_version(specifier, str(found))
    exact = next((each.version for each in specifier if each.operator == "==" and "*" not in each.version), None)
    use = f"; use python={exact or f'3.{nearest}'!r}" if nearest is not None and not is_settled else ""
    return f"{has}; {asking} needs {format_specifier(specifier)}{use}"


def _joined(alternatives: list[SpecifierSet]) -> str:
    # PEP 440 has no "or": the range from the lowest to the highest 3.X that fits, less those between that do not.
    fits = [any(fits_short_version(specifier, f"3.{minor}") for specifier in alternatives) for minor in range(_NEWEST)]
    if True not in fits:
        return "<0"
    low, high = fits.index(True), _NEWEST - fits[::-1].index(True)
    gaps = [f"!=3.{minor}.*" for minor in range(low, high) if not fits[minor]]
    return ",".join([f">=3.{low}", *([f"<3.{high}"] if high < _NEWEST else []), *gaps])


def _spell_out(operator: str, version: str) -> str:
    # Poetry: ^1.2.3 allows changes that keep the first non-zero part, ~1.2.3 those that keep the second.
    parts = [int(part) for part in version.split(".")]
    keep = 1 if operator == "^" or len(parts) == 1 else 2
    upper = [*parts[: keep - 1], parts[keep - 1] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"
