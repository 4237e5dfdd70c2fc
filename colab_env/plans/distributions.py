"""Read what is installed in directories of packages, from its metadata; nothing is imported or started."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from colab_env import _files

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.specifiers import SpecifierSet

_MODULE = re.compile(r"\w[\w.-]{0,100}")
_KINDS = ("*.dist-info", "*.egg-info")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One installed distribution: its normalized `name`, its `version`, what it `requires`, and its metadata's path."""

    name: str
    version: str
    requires: tuple[Requirement, ...]
    info: Path

    @property
    def site(self) -> Path:
        """Return the directory that its files are in."""
        return self.info.parent

    def needs(self, markers: Mapping[str, str], extras: Iterable[str] = ()) -> Iterator[Requirement]:
        """Yield what it needs under these markers, and with these extras."""
        for requirement in self.requires:
            marker = requirement.marker
            if marker is None or any(_holds(marker, {**markers, "extra": extra}) for extra in ("", *extras)):
                yield requirement

    def files(self) -> list[tuple[str, ...]]:
        """Return the parts of the path of each of its files below `site`; commands and bytecode are left out."""
        listed = _recorded(self.info) if self.info.suffix == ".dist-info" else []
        paths = (path.parts for path in listed if "\0" not in str(path))
        # Commands are listed as ../../../bin/NAME.
        own = [
            parts for parts in paths if parts and not {"..", "__pycache__"} & {*parts} and not parts[0].startswith("/")
        ]
        return own or self._top_level()

    def size(self) -> int:
        """Return the bytes that its files take, as its own record says; 0 when there is none."""
        return sum(max(path.size or 0, 0) for path in _recorded(self.info))

    def _top_level(self) -> list[tuple[str, ...]]:
        # Debian's packages keep no record, but the names of the modules.
        named = self.info / "top_level.txt"
        text = _files.content(named) or self.name.replace("-", "_").encode()
        names = [name for name in text.decode("utf-8", "replace").split() if _MODULE.fullmatch(name)]
        paths = (path for name in names for path in (self.site / name, *self.site.glob(f"{name}.*")))
        return [(self.info.name,), *((path.name,) for path in paths if path.exists() and path.suffix != ".dist-info")]


def read(directories: Iterable[Path]) -> dict[str, Distribution]:
    """Return the distributions in some directories by name; the first directory wins, as at an import."""
    by_name: dict[str, Distribution] = {}
    for directory in directories:
        for info in sorted(path for kind in _KINDS for path in directory.glob(kind)):
            distribution = _read_one(info)
            if distribution is not None:
                by_name.setdefault(distribution.name, distribution)
    return by_name


def accepts(specifier: SpecifierSet, version: str) -> bool:
    """Say whether a version fits; a local one such as 2.6.0+cu124 fits where its public part does."""
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def is_same(one: str, other: str) -> bool:
    """Say whether two versions are the same but for their local parts."""
    try:
        return Version(one).public == Version(other).public
    except InvalidVersion:
        return one == other


def _read_one(info: Path) -> Distribution | None:
    # A damaged or half removed one counts as not there.
    try:
        described = metadata.Distribution.at(info).metadata
        name, version = described["Name"], described["Version"]
        needs = described.get_all("Requires-Dist") or ()
    except (OSError, ValueError, TypeError):  # TypeError: of a directory without metadata, before Python 3.13
        return None
    if not name or not version:
        return None
    parsed = map(_requirement, needs)
    requires = tuple(requirement for requirement in parsed if requirement is not None)
    return Distribution(name=canonicalize_name(name), version=version, requires=requires, info=info)


def _recorded(info: Path) -> list[metadata.PackagePath]:
    """Return the files that a distribution's record names; none where the record is damaged, or is not there."""
    try:
        return list(metadata.Distribution.at(info).files or [])
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def _holds(marker: Marker, environment: Mapping[str, str]) -> bool:
    # What cannot be compared, such as 'a' < 'b', no installer takes for true.
    try:
        return marker.evaluate(dict(environment))
    except (ValueError, KeyError):
        return False


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except (InvalidRequirement, RecursionError):
        return None
