"""Read what is installed in directories of packages, from its metadata, and compare it with what a lock brings.

Nothing is imported or started. Which versions a project itself accepts stands in PEP 621's lists, dependency groups
(PEP 735) and Poetry's own tables.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from colab_env import _files, _report
from colab_env.errors import ProjectFileError
from colab_env.locks.requirements_text import RequiredVersion
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from packaging.markers import Marker


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
        recorded = [
            parts for parts in paths if parts and not {"..", "__pycache__"} & {*parts} and not parts[0].startswith("/")
        ]
        return recorded or self._top_level()

    def size(self) -> int:
        """Return the bytes that its files take, as its own record says; 0 when there is none."""
        return sum(max(path.size or 0, 0) for path in _recorded(self.info))

    def _top_level(self) -> list[tuple[str, ...]]:
        # Debian's packages keep no record, but the names of the modules.
        top_level = self.info / "top_level.txt"
        text = _files.content(top_level) or self.name.replace("-", "_").encode()
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
                # The first on the path hides the later ones, as for an import.
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


_POETRY_RANGE = re.compile(r"(\^|~(?![=]))\s*(\d+(?:\.\d+)*)(\S*)")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the project says about one distribution: any of some ranges, or None for an address, such as one of git."""

    name: str
    text: str
    ranges: tuple[SpecifierSet, ...] | None

    def accepts(self, version: str) -> bool:
        """Say whether a version fits."""
        return self.ranges is not None and any(accepts(specifier, version) for specifier in self.ranges)


def project_needs(project: Pyproject, markers: Mapping[str, str], *, extras: Iterable[str] = ()) -> list[Need]:
    """Return what pyproject.toml asks for under these markers: its dependencies, all groups, and the named extras.

    Poetry's newest form has a list under [project] and more about the same names under [tool.poetry]: both count.
    """
    document = project.values
    try:
        return [*_standard(document, markers, extras), *_poetry(document.get("tool", {}).get("poetry", {}))]
    except (
        ValueError,
        KeyError,
        RecursionError,
    ) as error:  # a marker that compares what cannot be compared, such as 'a' < 'b'
        msg = f"{short(project.path)} asks for packages in a way that cannot be read: {error}"
        raise ProjectFileError(msg, hint="mend the file; nothing was changed") from error


def needs_refusal(needs: Iterable[Need], name: str, version: str) -> str | None:
    """Return what the project says that a version of `name` does not fit, or None."""
    return next((need.text for need in needs if need.name == name and not need.accepts(version)), None)


def _standard(document: Mapping[str, Any], markers: Mapping[str, str], extras: Iterable[str]) -> Iterator[Need]:
    project = document.get("project", {})
    optional = project.get("optional-dependencies", {})
    lists = [project.get("dependencies", []), *(optional.get(extra, []) for extra in extras)]
    for line in (line for lines in (*lists, *document.get("dependency-groups", {}).values()) for line in lines):
        try:
            requirement = Requirement(line)
        except (InvalidRequirement, TypeError):  # {include-group = "..."} is in the other group's list
            continue
        if requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""}):
            ranges = None if requirement.url else (requirement.specifier,)
            text = requirement.url or str(requirement.specifier) or "any version"
            yield Need(name=canonicalize_name(requirement.name), text=text, ranges=ranges)


def _poetry(table: Mapping[str, Any]) -> Iterator[Need]:
    groups = (group.get("dependencies", {}) for group in table.get("group", {}).values())
    for table_of_dependencies in (table.get("dependencies", {}), table.get("dev-dependencies", {}), *groups):
        needs = (_poetry_need(name, value) for name, value in table_of_dependencies.items() if name != "python")
        yield from (need for need in needs if need is not None)


def _poetry_need(name: str, value: Any) -> Need | None:
    # Of several alternatives, each with a marker of its own, one that fits is enough.
    entries = value if isinstance(value, list) else [value]
    texts = [entry.get("version") if isinstance(entry, Mapping) else entry for entry in entries]
    versions = [text for text in texts if isinstance(text, str)]
    elsewhere = any(key in entry for entry in entries if isinstance(entry, Mapping) for key in ("git", "path", "url"))
    if not versions and not elsewhere:
        return None  # {source = "..."}: its versions are in PEP 621's list
    ranges = tuple(specifier for text in versions for specifier in poetry_ranges(text)) if versions else None
    return Need(name=canonicalize_name(name), text=" || ".join(versions) or "another place", ranges=ranges)


def poetry_ranges(text: str) -> list[SpecifierSet]:
    """Read Poetry's form of a range: alternatives of "^1.2", "~1.2", "1.2.*", "1.2.3", ">=1,<2" and "*".

    What cannot be read accepts everything: the check after the install has the last word.
    """
    return [_poetry_range(part.strip()) for part in text.split("||")]


def _poetry_range(text: str) -> SpecifierSet:
    parts = [part for part in re.split(r"\s*,\s*|\s+(?=[<>=!^~])", text) if part and part != "*"]
    specifiers = (_POETRY_RANGE.sub(_spell_out, part) for part in parts)
    try:
        return SpecifierSet(",".join(part if part[0] in "<>=!~" else f"=={part}" for part in specifiers))
    except InvalidSpecifier:
        return SpecifierSet()


def _spell_out(match: re.Match[str]) -> str:
    # ^ keeps the first part that is not zero, ~ the second one.
    parts = [int(part) for part in match[2].split(".")]
    if match[1] == "^":
        keep = next((number for number, part in enumerate(parts) if part), len(parts) - 1)
    else:
        keep = min(1, len(parts) - 1)
    upper = [*parts[:keep], parts[keep] + 1]
    return f">={match[2]}{match[3]},<{'.'.join(map(str, upper))}"


KEPT, SAME, REPLACED, NEW = "kept", "same", "replaced", "new"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One package: the version `wanted` (None: only `keep` brings it), the `machine`'s or None, and what `happens`.

    `download` is the size of its wheel, as the lock file says, and `on_disk` that of the machine's one; both are in bytes,
    and None where nobody says it.
    """

    name: str
    wanted: str | None
    machine: str | None
    happens: str
    download: int | None = None
    on_disk: int | None = None


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A package that stays as it is and does not accept the version of another that will stand beside it."""

    package: str
    version: str
    needs: str
    brings: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} needs {self.needs}, and gets {self.brings}"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is compared: what the lock has `required`, what the `machine` has, and what is `visible` to the environment.

    `keep` is what is used as the machine has it. `described` are distributions whose metadata tells what required ones
    need, such as those of the environment that exists already; `downloads` are the bytes of wheels, by name.
    """

    required: Mapping[str, RequiredVersion]
    machine: Mapping[str, Distribution]
    visible: Mapping[str, Distribution]
    markers: Mapping[str, str]
    keep: Mapping[str, Distribution] = field(default_factory=dict)
    described: Mapping[str, Distribution] = field(default_factory=dict)
    downloads: Mapping[str, int] = field(default_factory=dict)


def version_rows(sides: Sides) -> list[Row]:
    """Return a row for everything that is wanted or kept, by name."""
    return [_row(name, sides) for name in sorted({*sides.required, *sides.keep})]


def only_on_machine(sides: Sides) -> int:
    """Return how many of the machine's packages the environment sees as they are and does not ask for."""
    return len(set(sides.visible) - set(sides.required) - set(sides.keep))


def conflicts(sides: Sides) -> list[Conflict]:
    """Return which packages that stay do not accept a version that will be there.

    What stays visible is asked about what hides its neighbours; what is kept and what is wanted are asked about each
    other, as far as the metadata is on this machine already.
    """
    hidden = {*sides.required, *sides.keep}
    staying = [distribution for name, distribution in sides.visible.items() if name not in hidden]
    exact = {name: requirement.version for name, requirement in sides.required.items() if requirement.exact}
    # What is kept is the machine's, whatever the lock says.
    bringing = {name: version for name, version in exact.items() if name not in sides.keep}
    keep_versions = {name: distribution.version for name, distribution in sides.keep.items()}
    versions = {**bringing, **keep_versions}
    visible = {name: distribution.version for name, distribution in sides.visible.items()}
    hiding = {name: version for name, version in versions.items() if visible.get(name) != version}
    every = (
        *broken(staying, hiding, sides.markers),
        *broken(sides.keep.values(), bringing, sides.markers),
        *broken(_described(sides, bringing), keep_versions, sides.markers),
    )
    return [*dict.fromkeys(every)]


def broken(
    distributions: Iterable[Distribution], versions: Mapping[str, str], markers: Mapping[str, str]
) -> Iterator[Conflict]:
    """Yield which of the distributions do not accept one of the versions."""
    from packaging.utils import canonicalize_name

    for distribution in distributions:
        for need in distribution.needs(markers):
            name = canonicalize_name(need.name)
            if name in versions and not accepts(need.specifier, versions[name]):
                needs, brings = f"{name}{need.specifier}", f"{name} {versions[name]}"
                yield Conflict(package=distribution.name, version=distribution.version, needs=needs, brings=brings)


def _row(name: str, sides: Sides) -> Row:
    required, present = sides.required.get(name), sides.visible.get(name) or sides.machine.get(name)
    return Row(
        name=name,
        wanted=_report.address(required.version) if required else None,
        machine=present.version if present else None,
        happens=_happens(name, required, sides),
        download=None if name in sides.keep else sides.downloads.get(name),
        on_disk=(present.size() or None) if present else None,
    )


def _happens(name: str, required: RequiredVersion | None, sides: Sides) -> str:
    present = sides.visible.get(name)
    if name in sides.keep:
        return KEPT
    if present is None:
        return NEW
    return SAME if required is not None and required.exact and required.version == present.version else REPLACED


def _described(sides: Sides, versions: Mapping[str, str]) -> Iterator[Distribution]:
    # A wheel of the same version says the same, wherever it is installed.
    for name, version in versions.items():
        for packages in (sides.described, sides.visible, sides.machine):
            distribution = packages.get(name)
            if distribution is not None and is_same(distribution.version, version):
                yield distribution
                break
