"""Which Miniconda and Miniforge installers there are, and which one fits a Python version.

File names and SHA-256 sums are in `conda_installers.tsv`. They come from published text: where two public sources give
a sum, they agree; most rows rest on one source, which the column `source` names. A sum given by the user wins.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from urllib.parse import urlsplit

from packaging.specifiers import SpecifierSet

from colab_env.errors import NoSuchPythonError, UsageError

MIRROR = "COLAB_ENV_MINICONDA_MIRROR"  # an environment variable: the address of a directory of installers
_BASES = {
    "miniconda": "https://repo.anaconda.com/miniconda",
    "miniforge": "https://github.com/conda-forge/miniforge/releases/download/{version}",
}
# Miniforge's names carry no Python: the ones that are known, by release.
_MINIFORGE_PYTHONS = {"26.3.2-3": "3.13"}
_NAME = re.compile(r"Mini(?:conda|forge)3-(?:py(?P<python>\d+)_)?(?P<version>[\d.]+(?:-\d+)?)-Linux-x86_64\.sh")


@dataclass(frozen=True, kw_only=True)
class Installer:
    """One installer: its file name, the Python in it such as "3.12" (None: not known), its SHA-256 and its address."""

    name: str
    url: str
    sha256: str
    distribution: str
    python: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            msg = f"{self.sha256!r} is not a SHA-256 sum of {self.name}"
            raise UsageError(msg, hint="sha256 takes the 64 hexadecimal digits that the publisher gives for the file")

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers, such as (26, 5, 3, 1)."""
        match = _NAME.fullmatch(self.name)
        return tuple(map(int, re.findall(r"\d+", match["version"]))) if match else ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a user said about the installer: the distribution, or an address with its SHA-256, or a mirror's address."""

    distribution: str = "miniconda"
    installer: str | None = None
    sha256: str | None = None
    mirror: str | None = None

    def choose(self, specifier: SpecifierSet, *, environ: Mapping[str, str]) -> Installer:
        """Return the installer to download. Raises NoSuchPythonError and UsageError."""
        if self.installer is not None:
            return _custom(self.installer, specifier, sha256=self.sha256, distribution=self.distribution)
        chosen = choose(specifier, distribution=self.distribution)
        mirror = self.mirror or environ.get(MIRROR)
        url = f"{mirror.rstrip('/')}/{chosen.name}" if mirror else chosen.url
        return replace(chosen, url=url, sha256=self.sha256 or chosen.sha256)


def installers() -> tuple[Installer, ...]:
    """Return every pinned installer."""
    with files("colab_env.miniconda").joinpath("conda_installers.tsv").open(encoding="utf-8") as table:
        return tuple(_row(row) for row in csv.DictReader(table, delimiter="\t"))


def choose(specifier: SpecifierSet, *, distribution: str = "miniconda") -> Installer:
    """Return the newest release with the newest Python that fits.

    Only X.Y is known beforehand: "==3.12.4" finds a 3.12, and the installation shows whether it is the right one. Of
    Miniforge only the newest release is considered. Raises NoSuchPythonError, naming what there is.
    """
    if distribution not in _BASES:
        msg = f"there is no distribution {distribution!r}"
        raise UsageError(msg, hint=f"choose one of {', '.join(_BASES)}")
    candidates = [row for row in installers() if row.distribution == distribution and row.python]
    fitting = [row for row in candidates if _may_fit(row.python or "", specifier)]
    if not fitting:
        available = ", ".join(sorted({row.python or "" for row in candidates}, key=_numbers))
        msg = f"no {distribution.capitalize()} installer has a Python that fits {specifier}; there are {available}"
        raise NoSuchPythonError(msg, hint="ask for one of these, or give installer=URL and sha256=...")
    return max(fitting, key=lambda row: (_numbers(row.python or ""), row.version))


def _row(row: Mapping[str, str]) -> Installer:
    name = row["filename"]
    distribution = "miniforge" if name.startswith("Miniforge") else "miniconda"
    match = _NAME.fullmatch(name)
    version = match["version"] if match else ""
    return Installer(
        name=name,
        url=f"{_BASES[distribution].format(version=version)}/{name}",
        sha256=row["sha256"],
        distribution=distribution,
        python=row["python"] or _MINIFORGE_PYTHONS.get(version),
    )


def _custom(url: str, specifier: SpecifierSet, *, sha256: str | None, distribution: str) -> Installer:
    if not sha256:
        msg = f"the installer {url} comes without its SHA-256"
        raise UsageError(msg, hint="give sha256=... too: an installer is only run when it is the published one")
    name = urlsplit(url).path.rpartition("/")[2] or "installer.sh"
    # The installer refuses to run under a name without this ending.
    name = name if name.endswith(".sh") else f"{name}.sh"
    match = _NAME.fullmatch(name)
    digits = match["python"] if match else None
    python = f"{digits[0]}.{digits[1:]}" if digits else None
    if python and not _may_fit(python, specifier):
        msg = f"{name} brings Python {python} by its name, which does not fit {specifier}"
        raise NoSuchPythonError(msg, hint="give the address of an installer with such a Python, or ask for no Python")
    return Installer(name=name, url=url, sha256=sha256, distribution=distribution, python=python)


def _may_fit(python: str, specifier: SpecifierSet) -> bool:
    # Of an installer's Python only X.Y is known beforehand: any of its releases may be in it.
    return any(specifier.contains(f"{python}.{micro}") for micro in range(100))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
