"""What a pdm.lock says, with the pyproject.toml beside it, read as PDM does."""

from __future__ import annotations

import fnmatch
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
from colab_env.locks.lock_format import LockFile, reading
from colab_env.locks.poetry_sources import Source
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection

_LARGEST = 16_000_000  # bytes; of thousands of packages there are a few million
_MAIN = "default"
_INHERIT = "inherit_metadata"
_VCS = ("git", "hg", "svn", "bzr")
_HASH = re.compile(r"\w+:[0-9a-fA-F]+")
# As PDM's own build backend writes the project's directory, and as hatchling does.
_ROOT = re.compile(r"file:///\$\{PROJECT_ROOT\}|\{root:uri\}")
_VARIABLE = re.compile(r"\$\{(.+?)\}")
_MOST_STEPS = 100_000
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
        graph.require_direct(groups)
        found = graph.inherited(groups) if _inherits(document) else graph.reached(groups)
    lines = [each.line for each in _joined(found)]
    return "".join([*_index_lines(project.indexes), *lines, *project.own_line(lock.directory, editable=editable)])


def sources(lock: LockFile) -> Sequence[Source]:
    """Return which packages come from an index of the project's own."""
    indexes = _Project.read(lock).indexes
    if not indexes:
        return []
    with reading(lock):
        packages = [_package(each, {}, lock) for each in _document(lock)["package"]]
    known = [(each, _only_index(each.name, indexes)) for each in packages if each.version]
    if any(index is None for _, index in known):  # all are asked for everything: the hashes say which file is meant
        return []
    return [
        Source(name=each.name, version=each.version, hashes=frozenset(each.hashes), url=index.expanded(lock))
        for each, index in known
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

        def value(found: re.Match[str]) -> str:
            if found[1] not in os.environ:
                msg = (
                    f"{short(lock.pyproject.path)} has an index whose address needs the environment variable {found[1]}"
                )
                raise UsageError(msg, hint=f"set {found[1]}, then run the same call again")
            return quote(os.environ[found[1]], safe="")

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
        extras = {_name(name): list(lines) for name, lines in project.get("optional-dependencies", {}).items()}
        groups: dict[str, list[Any]] = {}
        for table in (values.get("dependency-groups", {}), pdm.get("dev-dependencies", {})):
            for name, lines in table.items():
                groups.setdefault(_name(name), []).extend(lines)
        name, kind = project.get("name"), pdm.get("package-type")
        return cls(
            name=_name(name) if name else None,
            # PDM's own rule: a project with a name is one, unless it says otherwise.
            is_distribution=bool(name) and (kind == "library" if kind else bool(pdm.get("distribution", True))),
            has_project_table="project" in values,
            groups={**groups, **extras, _MAIN: list(project.get("dependencies", []))},
            extras=frozenset(extras),
            overridden=frozenset(map(_name, {**resolution.get("overrides", {}), **pdm.get("overrides", {})})),
            excluded=frozenset(map(_name, resolution.get("excludes", []))),
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
        place = directory.resolve().as_uri()
        return [f"-e {place}#egg={self.name}\n" if editable else f"{self.name} @ {place}\n"]

    def requirements(self, group: str, seen: Collection[str] = ()) -> Iterator[str]:
        """Return the lines of a group and of those that it includes: by name, or as extras of the project itself."""
        for each in self.groups.get(group, ()) if group not in seen else ():
            if isinstance(each, Mapping):
                yield from self.requirements(_name(each["include-group"]), [*seen, group])
            elif (own := _requirement(each)) is not None and _name(own.name) == self.name:
                for extra in sorted(own.extras):
                    yield from self.requirements(_name(extra), [*seen, group])
            else:
                yield each


def _indexes(tables: Iterable[Mapping[str, Any]]) -> tuple[_Index, ...]:
    """Return the project's indexes, the default one among them; nothing where that is all."""
    found = []
    for each in tables:
        url, is_default = str(each["url"]), each.get("name") == "pypi"
        usual = "--find-links" if each.get("type") == "find_links" else "--extra-index-url"
        found.append(
            _Index(
                url=None if index.is_default(url) else _with_login(url, each),
                option="--index-url" if is_default else usual,
                verify_ssl=each.get("verify_ssl") is not False,
                include=_patterns(each.get("include_packages", ())),
                exclude=_patterns(each.get("exclude_packages", ())),
            )
        )
    if not any(each.get("name") == "pypi" for each in tables):
        found.insert(0, _Index(url=None))
    return tuple(found) if any(each.url for each in found) else ()


def _patterns(listed: Iterable[str]) -> tuple[str, ...]:
    if not all(isinstance(each, str) for each in listed):
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
    named = [each for each in indexes if any(fnmatch.fnmatch(name, pattern) for pattern in each.include)]
    others = [each for each in indexes if not any(fnmatch.fnmatch(name, pattern) for pattern in each.exclude)]
    left = named or others
    return left[0] if len(left) == 1 and left[0].option != "--find-links" else None


def _index_lines(indexes: Sequence[_Index]) -> Iterator[str]:
    for each in (each for each in indexes if each.url):
        yield f"{each.option} {each.url}\n"
        if not each.verify_ssl:
            yield f"--trusted-host {urlsplit(str(each.url)).netloc.rpartition('@')[2]}\n"


# --- pdm.lock


@dataclass(frozen=True, kw_only=True)
class _Package:
    """One entry of the lock file: `asked` goes before the marker, `needs` are lines; `groups` is None where none stand."""

    name: str
    asked: str
    version: str = ""
    extras: frozenset[str] = frozenset()
    hashes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    groups: frozenset[str] | None = None
    conditions: _Conditions = field(default=_ALWAYS)

    @property
    def line(self) -> str:
        alternatives = sorted(" and ".join(f"({part})" for part in sorted(each)) for each in self.conditions)
        marker = "" if "" in alternatives else f" ; {' or '.join(alternatives)}"
        return "".join([self.asked, marker, *(f" \\\n    --hash={each}" for each in self.hashes), "\n"])


def _document(lock: LockFile) -> dict[str, Any]:
    if len(lock.content) > _LARGEST:
        msg = f"it has {len(lock.content)} bytes"
        raise ValueError(msg)
    document = toml_text.parsed(lock.content.decode("utf-8-sig").replace("\r\n", "\n"))
    document["metadata"]["lock_version"].partition(".")
    return {"package": [], **document}


def _inherits(document: Mapping[str, Any]) -> bool:
    return _INHERIT in document["metadata"].get("strategy", ())


def _groups(lock: LockFile, document: Mapping[str, Any], project: _Project, selection: Selection) -> list[str]:
    """Return which groups are wanted, "default" first. Raises UsageError for one that the lock file does not hold."""
    locked = document["metadata"].get("groups")
    known = [_name(each) for each in (project.groups if locked is None else locked)]
    if selection.groups is None:
        # As `pdm sync` does: all that is locked; old lock files do not say, and held no extras by themselves.
        usual = [name for name in known if locked is not None or name not in project.extras]
        usual = [name for name in usual if name in project.groups or not project.has_project_table]
    else:
        usual = [_name(each) for each in selection.groups]
    wanted = [*usual, *map(_name, selection.extras)]
    missing = [name for name in wanted if name not in (*known, _MAIN)]
    if missing:
        word = "group" if missing[0] in usual else "extra"
        msg = f"{short(lock.path)} has no {word} {missing[0]!r}"
        names = ", ".join(name for name in known if name != _MAIN)
        raise UsageError(msg, hint=f"it has {names or 'the main dependencies alone'}")
    return list(dict.fromkeys([_MAIN, *wanted]))


def _package(entry: Mapping[str, Any], files: Mapping[str, Any], lock: LockFile) -> _Package:
    name, version = _name(entry["name"]), entry.get("version", "")
    # Up to version 4.1 of the format, files stood at the end.
    listed = entry.get("files") or files.get(f"{entry['name']} {version}", ())
    hashes = tuple(dict.fromkeys(each["hash"] for each in listed))
    if not all(_HASH.fullmatch(each) for each in hashes):
        msg = f"a hash of {name} is none"
        raise ValueError(msg)
    place = _place(name, entry, lock)
    is_archive = place is not None and urlsplit(place).path.endswith((".whl", ".gz", ".zip", ".bz2"))
    marker = str(Marker(entry["marker"])) if entry.get("marker") else None
    return _Package(
        name=name,
        asked=place or str(Requirement(f"{name}=={version}")),
        version="" if place else version,
        extras=frozenset(map(_name, entry.get("extras", ()))),
        hashes=hashes if place is None or is_archive else (),
        needs=tuple(entry.get("dependencies", ())),
        groups=frozenset(map(_name, entry["groups"])) if entry.get("groups") else None,
        conditions=frozenset({frozenset({marker})}) if marker else _ALWAYS,
    )


def _place(name: str, entry: Mapping[str, Any], lock: LockFile) -> str | None:
    """Return the requirement for a package of a place of its own, or None for one of an index."""
    within = f"#subdirectory={quote(entry['subdirectory'])}" if entry.get("subdirectory") else ""
    if "path" in entry:
        uri = (lock.directory / entry["path"]).resolve().as_uri()
        return f"-e {uri}#egg={name}" if entry.get("editable") else f"{name} @ {uri}{within}"
    vcs = next((each for each in _VCS if each in entry), None)
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
        packages = tuple(_package(each, files, lock) for each in document["package"])
        packages = tuple(each for each in packages if each.name not in project.excluded)
        by_key: dict[tuple[str, frozenset[str]], list[_Package]] = {}
        for each in packages:
            by_key.setdefault((each.name, each.extras), []).append(each)
        return cls(packages=packages, by_key=by_key, project=project, lock=lock)

    def require_direct(self, groups: Iterable[str]) -> None:
        """Raise LockMismatchError for what the project asks for and the lock file does not hold.

        What a group includes counts where that group is wanted itself: PDM has locked less of includes within includes.
        """
        lines = (line for group in groups for line in self.project.groups.get(group, ()) if isinstance(line, str))
        for line in dict.fromkeys(lines):
            requirement = _requirement(line)
            # What no Python of the project's can want under its marker is not locked.
            if requirement is None or requirement.marker or _name(requirement.name) in self.project.left_out:
                continue
            held = [each for each in self.packages if each.name == _name(requirement.name)]
            if not held:
                self._refuse(f"does not hold {requirement.name}, which the project asks for")
            fits = [not each.version or requirement.specifier.contains(each.version, prereleases=True) for each in held]
            if not any(fits) and held[0].name not in self.project.overridden:
                asked = f"the project asks for {requirement.name}{requirement.specifier}"
                self._refuse(f"has {held[0].name} {held[0].version}, but {asked}")

    def inherited(self, groups: Collection[str]) -> list[_Package]:
        """Return the packages of some groups by what stands at each of them."""
        return [each for each in self.packages if each.groups is None or not each.groups.isdisjoint(groups)]

    def reached(self, groups: Iterable[str]) -> list[_Package]:
        """Return what the project's dependencies in some groups lead to, each under the markers on its ways."""
        if not self.project.has_project_table:
            self._refuse("does not say which packages are main dependencies, and no pyproject.toml beside it does")
        found: dict[_Package, set[frozenset[str]]] = {}
        lines = (line for group in groups for line in self.project.requirements(group))
        left: list[tuple[str, frozenset[str]]] = [(line, frozenset()) for line in lines]
        steps = 0
        while left:
            for package, way in self._wanted_by(*left.pop()):
                if _add(way, found.setdefault(package, set())):
                    left += [(need, way) for need in package.needs]
            steps += 1
            if steps > _MOST_STEPS:
                self._refuse("has more conditions than can be followed", hint=_HINT_INHERIT)
        return [replace(each, conditions=frozenset(ways)) for each, ways in found.items()]

    def _wanted_by(self, line: str, before: frozenset[str]) -> list[tuple[_Package, frozenset[str]]]:
        requirement = _requirement(line)
        if requirement is None:
            return [(each, before) for each in self.packages if _is_of_place(each, line)]
        name, extras = _name(requirement.name), frozenset(map(_name, requirement.extras))
        held = self.by_key.get((name, extras)) or self.by_key.get((name, frozenset()), [])
        if len(held) > 1:
            fitting = [each for each in held if requirement.specifier.contains(each.version or "0", prereleases=True)]
            held = fitting or held
        if not held and not requirement.marker and name not in self.project.left_out:
            self._refuse(f"does not hold {requirement.name}, which one of its packages needs")
        way = before | ({str(requirement.marker)} if requirement.marker else set())
        return [(each, way) for each in held]

    def _refuse(self, reason: str, hint: str = _HINT) -> NoReturn:
        msg = f"{short(self.lock.path)} {reason}"
        raise LockMismatchError(msg, hint=hint)


def _add(way: frozenset[str], ways: set[frozenset[str]]) -> bool:
    """Add markers under which a package is wanted, and say whether that is new: fewer markers hold more often."""
    if any(each <= way for each in ways):
        return False
    ways.difference_update([each for each in ways if way < each])
    ways.add(way)
    return True


def _joined(packages: Iterable[_Package]) -> list[_Package]:
    """Return each distribution once: PDM has an entry for each set of its extras, uv installs no extras of them."""
    found: dict[str, _Package] = {}
    for each in packages:
        first = found.setdefault(each.asked, each)
        hashes = tuple(dict.fromkeys([*first.hashes, *each.hashes]))
        found[each.asked] = replace(first, hashes=hashes, conditions=first.conditions | each.conditions)
    return sorted(found.values(), key=lambda each: (each.name, each.asked))


def _requirement(line: str) -> Requirement | None:
    """Return what a line of PDM's asks for, or None where it is a place without a name."""
    place = line.removeprefix("-e ").strip()
    egg = re.search(r"#(?:.*&)?egg=([\w.-]+)", place)
    try:
        return Requirement(f"{egg[1]} @ {place}" if egg else place)
    except InvalidRequirement:
        return None


def _is_of_place(package: _Package, line: str) -> bool:
    place = _ROOT.sub("", line.removeprefix("-e ")).partition("#")[0].removeprefix("./").strip("/ ")
    return not package.version and bool(place) and f"/{place}" in package.asked


def _name(name: str) -> str:
    return canonicalize_name(name)
