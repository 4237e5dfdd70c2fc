"""What a pdm.lock says, with the pyproject.toml beside it, read as PDM does."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from colab_env import index, toml_text
from colab_env.errors import LockMismatchError, ProjectFileError, UsageError
from colab_env.locks.installing import PoetrySource
from colab_env.locks.lock_format import LockFile, reading
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection

_LARGEST = 16_000_000  # bytes; of thousands of packages there are a few million
_MAIN = "default"
_INHERIT = "inherit_metadata"  # the lock strategy that writes at each package which groups need it
_VCS = ("git", "hg", "svn", "bzr")
_HASH = re.compile(r"\w+:[0-9a-fA-F]+")
# As PDM's own build backend writes the project's directory, and as hatchling does.
_ROOT = re.compile(r"file:///\$\{PROJECT_ROOT\}|\{root:uri\}")
_VARIABLE = re.compile(r"\$\{(.+?)\}")
_MOST_STEPS = 100_000  # where many ways lead to a package, the markers on them multiply
_HINT = "run `pdm lock` for it, then this call again"
_HINT_INHERIT = "run `pdm lock --strategy inherit_metadata`, then this call again"

# Alternatives, each of them markers that hold together: nothing among them holds always.
_Conditions = frozenset[frozenset[str]]
_ALWAYS: _Conditions = frozenset({frozenset()})


def text(lock: LockFile, selection: Selection, *, editable: bool = True) -> str:
    """Return in pip's format what is wanted of a lock file. Raises as `LockFormat.export` does."""
    project = _Project.read(lock)
    with reading(lock):
        document = _document(lock)
        groups = _groups(lock, document, project, selection)
        graph = _Graph.of(document, lock, project)
        # With that strategy PDM has written at each package which groups it is for; without it, the graph has to be walked.
        is_marked = _INHERIT in document["metadata"].get("strategy", ())
        if reason := graph.stale_reason(groups):
            # What has to be walked cannot lead from a dependency that is not there: PDM ends in an error then.
            if not (is_marked and selection.accepts_stale):
                graph.refuse(reason)
            note = "installed as it is, as by `pdm sync`; `pdm lock` makes it anew"
            selection.notes.append(f"{short(lock.path)} {reason}; {note}")
        packages = graph.inherited(groups) if is_marked else graph.reached(groups)
    lines = [package.line for package in _joined(packages)]
    return "".join([*_index_lines(project.indexes), *lines, *project.own_line(lock.directory, editable=editable)])


def sources(lock: LockFile) -> Sequence[PoetrySource]:
    """Return which packages come from an index of the project's own."""
    indexes = _Project.read(lock).indexes
    if not indexes:
        return []
    with reading(lock):
        packages = [_package(entry, {}, lock) for entry in _document(lock)["package"]]
    choices = [(package, _only_index(package.name, indexes)) for package in packages if package.version]
    if any(index is None for _, index in choices):  # all are asked for everything: the hashes say which file is meant
        return []
    return [
        PoetrySource(
            name=package.name, version=package.version, hashes=frozenset(package.hashes), url=index.expanded(lock)
        )
        for package, index in choices
        if index is not None and index.url is not None
    ]


def has_indexes(lock: LockFile) -> bool:
    """Say whether the project names indexes."""
    return bool(_Project.read(lock).indexes)


# --- pyproject.toml


@dataclass(frozen=True, kw_only=True)
class _Index:
    """One `[[tool.pdm.source]]`: `url` is None for the default index; `include` and `exclude` are patterns of names."""

    url: str | None
    option: str = "--extra-index-url"
    verify_ssl: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def expanded(self, lock: LockFile) -> str:
        """Return the url with the environment variables that it names, as PDM puts them in."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                msg = (
                    f"{short(lock.pyproject.path)} has an index whose address needs the environment variable {match[1]}"
                )
                raise UsageError(msg, hint=f"set {match[1]}, then run the same call again")
            # A password may have any character; in an address it is quoted.
            return quote(os.environ[match[1]], safe="")

        return _VARIABLE.sub(value, self.url or "")


@dataclass(frozen=True, kw_only=True)
class _Project:
    """What PDM reads in pyproject.toml: `groups` with the main dependencies as "default"; names are normalized."""

    name: str | None
    is_distribution: bool
    has_project_table: bool
    groups: Mapping[str, list[Any]]
    extras: frozenset[str]
    overridden: frozenset[str]
    excluded: frozenset[str]
    indexes: tuple[_Index, ...]

    @classmethod
    def read(cls, lock: LockFile) -> _Project:
        """Read the file beside the lock file. Raises ProjectFileError."""
        values = lock.pyproject.values
        try:
            return cls._of(values)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            msg = f"{short(lock.pyproject.path)} is not as PDM reads it: {error}"
            raise ProjectFileError(msg, hint="mend the file; nothing was changed") from error

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> _Project:
        project, pdm = values.get("project", {}), values.get("tool", {}).get("pdm", {})
        resolution = pdm.get("resolution", {})
        overrides = {**resolution.get("overrides", {}), **pdm.get("overrides", {})}
        extras: dict[str, list[Any]] = {}
        for name, lines in project.get("optional-dependencies", {}).items():
            extras[canonicalize_name(name)] = list(lines)
        groups: dict[str, list[Any]] = {}
        for table in (values.get("dependency-groups", {}), pdm.get("dev-dependencies", {})):
            for name, lines in table.items():
                groups.setdefault(canonicalize_name(name), []).extend(lines)
        name, kind = project.get("name"), pdm.get("package-type")
        return cls(
            name=canonicalize_name(name) if name else None,
            # PDM's own rule: a project with a name is one, unless it says otherwise.
            is_distribution=bool(name) and (kind == "library" if kind else bool(pdm.get("distribution", True))),
            has_project_table="project" in values,
            groups={**groups, **extras, _MAIN: list(project.get("dependencies", []))},
            extras=frozenset(extras),
            overridden=frozenset(map(canonicalize_name, overrides)),
            excluded=frozenset(map(canonicalize_name, resolution.get("excludes", []))),
            indexes=_indexes(pdm.get("source", [])),
        )

    @property
    def left_out(self) -> frozenset[str | None]:
        """Return the names that no lock file has to hold: those that it leaves out, and its own."""
        return self.excluded | {self.name}

    def own_line(self, directory: Path, *, editable: bool) -> list[str]:
        """Return the line that installs the project itself, where it is a distribution."""
        if not self.is_distribution:
            return []
        uri = directory.resolve().as_uri()
        return [f"-e {uri}#egg={self.name}\n" if editable else f"{self.name} @ {uri}\n"]

    def requirements(self, group: str, outer: Collection[str] = ()) -> Iterator[str]:
        """Return the lines of a group and of those that it includes: by name, or as extras of the project itself."""
        for item in self.groups.get(group, ()) if group not in outer else ():
            if isinstance(item, Mapping):
                yield from self.requirements(canonicalize_name(item["include-group"]), [*outer, group])
            elif (requirement := _requirement(item)) is not None and canonicalize_name(requirement.name) == self.name:
                for extra in sorted(requirement.extras):
                    yield from self.requirements(canonicalize_name(extra), [*outer, group])
            else:
                yield item


def _indexes(tables: Iterable[Mapping[str, Any]]) -> tuple[_Index, ...]:
    """Return the project's indexes, the default one among them; nothing where that is all."""
    indexes = []
    for source in tables:
        url, is_default = str(source["url"]), source.get("name") == "pypi"
        usual = "--find-links" if source.get("type") == "find_links" else "--extra-index-url"
        indexes.append(
            _Index(
                url=None if index.is_default(url) else _with_login(url, source),
                option="--index-url" if is_default else usual,
                verify_ssl=source.get("verify_ssl") is not False,
                include=_patterns(source.get("include_packages", ())),
                exclude=_patterns(source.get("exclude_packages", ())),
            )
        )
    # PDM puts PyPI first unless a source of that name says otherwise.
    if not any(source.get("name") == "pypi" for source in tables):
        indexes.insert(0, _Index(url=None))
    return tuple(indexes) if any(pdm_index.url for pdm_index in indexes) else ()


def _patterns(listed: Iterable[str]) -> tuple[str, ...]:
    if not all(isinstance(pattern, str) for pattern in listed):
        msg = "a source's packages are no list of names"
        raise TypeError(msg)
    return tuple(listed)


def _with_login(url: str, source: Mapping[str, Any]) -> str:
    if not source.get("username") or not source.get("password"):
        return url
    start, _, rest = url.partition("://")
    login = ":".join(quote(source[key], safe="${}") for key in ("username", "password"))
    return f"{start}://{login}@{rest.rpartition('@')[2]}"


def _only_index(name: str, indexes: Sequence[_Index]) -> _Index | None:
    """Return the one index that PDM looks for a package in, or None where it looks in several."""
    included = [index for index in indexes if any(fnmatch.fnmatch(name, pattern) for pattern in index.include)]
    others = [index for index in indexes if not any(fnmatch.fnmatch(name, pattern) for pattern in index.exclude)]
    candidates = included or others
    return candidates[0] if len(candidates) == 1 and candidates[0].option != "--find-links" else None


def _index_lines(indexes: Sequence[_Index]) -> Iterator[str]:
    for pdm_index in indexes:
        if pdm_index.url:
            yield f"{pdm_index.option} {pdm_index.url}\n"
        if pdm_index.url and not pdm_index.verify_ssl:
            yield f"--trusted-host {urlsplit(pdm_index.url).netloc.rpartition('@')[2]}\n"


# --- pdm.lock


@dataclass(frozen=True, kw_only=True)
class _Package:
    """One entry of the lock file: `requirement` goes before the marker, `needs` are lines; `groups` is None where none stand."""

    name: str
    requirement: str
    version: str = ""
    extras: frozenset[str] = frozenset()
    hashes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    groups: frozenset[str] | None = None
    conditions: _Conditions = field(default=_ALWAYS)

    @property
    def line(self) -> str:
        alternatives = sorted(" and ".join(f"({part})" for part in sorted(markers)) for markers in self.conditions)
        marker = "" if "" in alternatives else f" ; {' or '.join(alternatives)}"
        return "".join([self.requirement, marker, *(f" \\\n    --hash={digest}" for digest in self.hashes), "\n"])


def _document(lock: LockFile) -> dict[str, Any]:
    if len(lock.content) > _LARGEST:
        msg = f"it has {len(lock.content)} bytes"
        raise ValueError(msg)
    document = toml_text.parsed(lock.content.decode("utf-8-sig").replace("\r\n", "\n"))
    document["metadata"]["lock_version"].partition(".")
    return {"package": [], **document}


def _groups(lock: LockFile, document: Mapping[str, Any], project: _Project, selection: Selection) -> list[str]:
    """Return which groups are wanted, "default" first. Raises UsageError for one that the lock file does not hold."""
    locked = document["metadata"].get("groups")
    available = [canonicalize_name(group) for group in (project.groups if locked is None else locked)]
    if selection.groups is None:
        # As `pdm sync` does: all that is locked; old lock files do not say, and held no extras by themselves.
        usual = [name for name in available if locked is not None or name not in project.extras]
        usual = [name for name in usual if name in project.groups or not project.has_project_table]
    else:
        usual = [canonicalize_name(group) for group in selection.groups]
    selected = [*usual, *map(canonicalize_name, selection.extras)]
    missing = [name for name in selected if name not in (*available, _MAIN)]
    if missing:
        word = "group" if missing[0] in usual else "extra"
        msg = f"{short(lock.path)} has no {word} {missing[0]!r}"
        names = ", ".join(name for name in available if name != _MAIN)
        raise UsageError(msg, hint=f"it has {names or 'the main dependencies alone'}")
    return list(dict.fromkeys([_MAIN, *selected]))


def _package(entry: Mapping[str, Any], files: Mapping[str, Any], lock: LockFile) -> _Package:
    name, version = canonicalize_name(entry["name"]), entry.get("version", "")
    # Up to version 4.1 of the format, files stood at the end.
    listed = entry.get("files") or files.get(f"{entry['name']} {version}", ())
    hashes = tuple(dict.fromkeys(file["hash"] for file in listed))
    if not all(_HASH.fullmatch(digest) for digest in hashes):
        msg = f"a hash of {name} is none"
        raise ValueError(msg)
    reference = _direct_reference(name, entry, lock)
    is_archive = reference is not None and urlsplit(reference).path.endswith((".whl", ".gz", ".zip", ".bz2"))
    marker = str(Marker(entry["marker"])) if entry.get("marker") else None
    return _Package(
        name=name,
        requirement=reference or str(Requirement(f"{name}=={version}")),
        version="" if reference else version,
        extras=frozenset(map(canonicalize_name, entry.get("extras", ()))),
        hashes=hashes if reference is None or is_archive else (),
        needs=tuple(entry.get("dependencies", ())),
        groups=frozenset(map(canonicalize_name, entry["groups"])) if entry.get("groups") else None,
        conditions=frozenset({frozenset({marker})}) if marker else _ALWAYS,
    )


def _direct_reference(name: str, entry: Mapping[str, Any], lock: LockFile) -> str | None:
    """Return the direct reference (PEP 508) to a path, an address or a repository, or None for a package of an index."""
    within = f"#subdirectory={quote(entry['subdirectory'])}" if entry.get("subdirectory") else ""
    if "path" in entry:
        uri = (lock.directory / entry["path"]).resolve().as_uri()
        return f"-e {uri}#egg={name}" if entry.get("editable") else f"{name} @ {uri}{within}"
    vcs = next((key for key in _VCS if key in entry), None)
    if vcs not in (None, "git"):
        msg = f"{short(lock.path)} has {name} from {vcs}, which uv does not read"
        raise UsageError(msg, hint="install it with pdm, or lock a release of it")
    address = entry.get("url")
    if vcs is not None:
        revision = entry.get("revision") or entry.get("ref")
        address = f"git+{entry['git']}{f'@{revision}' if revision else ''}"
    if address is None:
        return None
    address = _ROOT.sub(lambda _: lock.directory.resolve().as_uri(), address)
    return f"{name} @ {Requirement(f'{name} @ {address}{within}').url}"


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """The packages of a lock file and what needs them; `lock` is named in errors."""

    packages: tuple[_Package, ...]
    by_key: Mapping[tuple[str, frozenset[str]], list[_Package]]
    project: _Project
    lock: LockFile

    @classmethod
    def of(cls, document: Mapping[str, Any], lock: LockFile, project: _Project) -> _Graph:
        """Read the packages, but for those that the project leaves out."""
        files = document["metadata"].get("files", {})
        packages = tuple(_package(entry, files, lock) for entry in document["package"])
        packages = tuple(package for package in packages if package.name not in project.excluded)
        by_key: dict[tuple[str, frozenset[str]], list[_Package]] = {}
        for package in packages:
            by_key.setdefault((package.name, package.extras), []).append(package)
        return cls(packages=packages, by_key=by_key, project=project, lock=lock)

    def stale_reason(self, groups: Iterable[str]) -> str | None:
        """Return what the project asks for and the lock file does not hold, or None.

        What a group includes counts where that group is wanted itself: PDM has locked less of includes within includes.
        """
        lines = (line for group in groups for line in self.project.groups.get(group, ()) if isinstance(line, str))
        for line in dict.fromkeys(lines):
            requirement = _requirement(line)
            name = canonicalize_name(requirement.name) if requirement else None
            # What no Python of the project's can want under its marker is not locked.
            if requirement is None or requirement.marker or name in self.project.left_out:
                continue
            locked = [package for package in self.packages if package.name == name]
            if not locked:
                return f"does not hold {requirement.name}, which the project asks for"
            versions = [package.version for package in locked]
            fits = any(not version or requirement.specifier.contains(version, prereleases=True) for version in versions)
            if not fits and locked[0].name not in self.project.overridden:
                request = f"the project asks for {requirement.name}{requirement.specifier}"
                return f"has {locked[0].name} {locked[0].version}, but {request}"
        return None

    def inherited(self, groups: Collection[str]) -> list[_Package]:
        """Return the packages of some groups by what stands at each of them."""
        return [package for package in self.packages if package.groups is None or not package.groups.isdisjoint(groups)]

    def reached(self, groups: Iterable[str]) -> list[_Package]:
        """Return what the project's dependencies in some groups lead to, each under the markers on its ways."""
        if not self.project.has_project_table:
            self.refuse("does not say which packages are main dependencies, and no pyproject.toml beside it does")
        ways_to: dict[_Package, set[frozenset[str]]] = {}
        lines = (line for group in groups for line in self.project.requirements(group))
        pending: list[tuple[str, frozenset[str]]] = [(line, frozenset()) for line in lines]
        steps = 0
        while pending:
            for package, way in self._matching(*pending.pop()):
                if _add(way, ways_to.setdefault(package, set())):
                    pending += [(need, way) for need in package.needs]
            steps += 1
            # Each way through the graph has conditions of its own, and their number can double with each package.
            if steps > _MOST_STEPS:
                self.refuse("has more conditions than can be followed", hint=_HINT_INHERIT)
        return [replace(package, conditions=frozenset(ways)) for package, ways in ways_to.items()]

    def _matching(self, line: str, path: frozenset[str]) -> list[tuple[_Package, frozenset[str]]]:
        requirement = _requirement(line)
        if requirement is None:
            return [(package, path) for package in self.packages if _is_at_path(package, line)]
        name, extras = canonicalize_name(requirement.name), frozenset(map(canonicalize_name, requirement.extras))
        locked = self.by_key.get((name, extras)) or self.by_key.get((name, frozenset()), [])
        if len(locked) > 1:
            accepts = functools.partial(requirement.specifier.contains, prereleases=True)
            locked = [package for package in locked if accepts(package.version or "0")] or locked
        if not locked and not requirement.marker and name not in self.project.left_out:
            self.refuse(f"does not hold {requirement.name}, which one of its packages needs")
        # A package is wanted where all markers on the way to it hold.
        way = path | ({str(requirement.marker)} if requirement.marker else set())
        return [(package, way) for package in locked]

    def refuse(self, reason: str, hint: str = _HINT) -> NoReturn:
        """Raise LockMismatchError for the lock file."""
        msg = f"{short(self.lock.path)} {reason}"
        raise LockMismatchError(msg, hint=hint)


def _add(way: frozenset[str], ways: set[frozenset[str]]) -> bool:
    """Add markers under which a package is wanted, and say whether that is new: fewer markers hold more often."""
    if any(other <= way for other in ways):
        return False
    ways.difference_update([other for other in ways if way < other])
    ways.add(way)
    return True


def _joined(packages: Iterable[_Package]) -> list[_Package]:
    """Return each distribution once: PDM has an entry for each set of its extras, uv installs no extras of them."""
    joined: dict[str, _Package] = {}
    for package in packages:
        first = joined.setdefault(package.requirement, package)
        hashes = tuple(dict.fromkeys([*first.hashes, *package.hashes]))
        joined[package.requirement] = replace(first, hashes=hashes, conditions=first.conditions | package.conditions)
    return sorted(joined.values(), key=lambda package: (package.name, package.requirement))


def _requirement(line: str) -> Requirement | None:
    """Return what a line of PDM's asks for, or None where it is a path or an address without a name."""
    reference = line.removeprefix("-e ").strip()
    egg = re.search(r"#(?:.*&)?egg=([\w.-]+)", reference)
    try:
        return Requirement(f"{egg[1]} @ {reference}" if egg else reference)
    except InvalidRequirement:
        return None


def _is_at_path(package: _Package, line: str) -> bool:
    path = _ROOT.sub("", line.removeprefix("-e ")).partition("#")[0].removeprefix("./").strip("/ ")
    return not package.version and bool(path) and f"/{path}" in package.requirement
