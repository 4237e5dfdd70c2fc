"""The files that a lock file names: which packages have a wheel for a target, and which will be built. No network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from colab_env.native_need.target import Target

NAMES_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_SDISTS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One package that a lock file wants on a target: its wheels' file names, and its source archive.

    `url` and `sha256` are the archive's, where the lock file has them.
    """

    name: str
    version: str
    wheels: tuple[str, ...] = ()
    sdist: str | None = None
    url: str | None = field(default=None, repr=False)
    sha256: str | None = field(default=None, repr=False)

    def is_built(self, target: Target) -> bool:
        """Say whether nothing but its source fits there."""
        return not any(target.takes(wheel) for wheel in self.wheels)


def read(
    format_name: str, document: Mapping[str, Any], target: Target, *, wanted: Iterable[str]
) -> list[LockedPackage]:
    """Return the packages of a lock file that are installed on a target.

    `document` is the file's TOML; `wanted` are the normalized names that the project itself asks for. What is no file of an
    index, such as a git repository, is left out. Raises what reading a damaged document raises.
    """
    readers = {"uv.lock": _uv, "poetry.lock": _poetry, "pdm.lock": _pdm, "pylock.toml": _pylock}
    found = readers[format_name](document, target, frozenset(wanted))
    return sorted(found, key=lambda each: each.name)


def _applies(marker: Any, target: Target) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    if not isinstance(marker, str) or not marker.strip():
        return True
    try:
        return Marker(marker).evaluate(target.markers)
    except (InvalidMarker, UndefinedEnvironmentName):  # a newer tool's own: then it may be installed
        return True


def _package(name: str, version: str, files: Iterable[tuple[str, str | None, str | None]]) -> LockedPackage:
    """Make one from file names with their addresses and hashes."""
    files = list(files)
    archive = next((each for each in files if each[0].endswith(_SDISTS)), (None, None, None))
    digest = (archive[2] or "").removeprefix("sha256:")
    return LockedPackage(
        name=normalized(name),
        version=version,
        wheels=tuple(file for file, _, _ in files if file.endswith(".whl")),
        sdist=archive[0],
        url=archive[1],
        sha256=digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None,
    )


def normalized(name: str) -> str:
    """Return a distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _base(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _uv(document: Mapping[str, Any], target: Target, _wanted: frozenset[str]) -> Iterator[LockedPackage]:
    packages: list[dict[str, Any]] = document.get("package", [])
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    local = [each for each in packages if {"editable", "virtual", "directory"} & each.get("source", {}).keys()]
    todo = [(package, "") for package in local or packages]
    todo += [(package, "dev") for package in local]
    done: set[tuple[int, str]] = set()
    while todo:
        package, part = todo.pop()
        if (id(package), part) in done:
            continue
        done.add((id(package), part))
        for edge in _uv_edges(package, part):
            if _applies(edge.get("marker"), target):
                version = edge.get("version")
                fitting = [each for each in by_name.get(edge["name"], []) if version in (None, each.get("version"))]
                todo += [(each, extra) for each in fitting for extra in ("", *edge.get("extra", []))]
    for package in packages:
        if (id(package), "") in done and "registry" in package.get("source", {}):
            named = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
            paths = [
                (each.get("url") or each.get("path") or each.get("filename") or "", each.get("hash")) for each in named
            ]
            yield _package(package["name"], package["version"], [(_base(url), url, digest) for url, digest in paths])


def _uv_edges(package: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    edges = package.get("dependencies", []) if not part else package.get("optional-dependencies", {}).get(part, [])
    return [*edges, *(package.get("dev-dependencies", {}).get(part, []) if part else ())]


def _poetry(document: Mapping[str, Any], target: Target, wanted: frozenset[str]) -> Iterator[LockedPackage]:
    packages: list[dict[str, Any]] = document.get("package", [])
    files_before_1_3 = document.get("metadata", {}).get("files", {})
    edges: dict[str, list[bool]] = {}
    for package in packages:
        for name, wish in package.get("dependencies", {}).items():
            wishes = wish if isinstance(wish, list) else [wish]
            markers = [each.get("markers") if isinstance(each, Mapping) else None for each in wishes]
            edges.setdefault(normalized(name), []).extend(_applies(marker, target) for marker in markers)
    for package in packages:
        name = normalized(package["name"])
        by_group = package.get("markers")
        said = [*by_group.values()] if isinstance(by_group, Mapping) else [by_group]
        # Before Poetry 2.0, only the edges have markers.
        is_reached = name in wanted or name not in edges or any(edges[name])
        if package.get("optional") or package.get("source", {}).get("type") in ("git", "directory", "url", "file"):
            continue
        if any(_applies(marker, target) for marker in said) and is_reached:
            files = package.get("files") or files_before_1_3.get(package["name"], [])
            yield _package(name, package["version"], [(each["file"], None, each.get("hash")) for each in files])


def _pdm(document: Mapping[str, Any], target: Target, _wanted: frozenset[str]) -> Iterator[LockedPackage]:
    outside = document.get("metadata", {}).get("files", {})
    for package in document.get("package", []):
        if {"git", "path", "url", "editable"} & package.keys() or package.get("extras"):
            continue
        if _applies(package.get("marker"), target) and _fits(package.get("requires_python"), target):
            files = package.get("files") or outside.get(f"{package['name']} {package['version']}", [])
            named = [(each.get("url") or each.get("file") or "", each.get("hash")) for each in files]
            listed = [(_base(url), url if "://" in url else None, digest) for url, digest in named]
            yield _package(package["name"], package["version"], listed)


def _fits(specifier: Any, target: Target) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return not isinstance(specifier, str) or SpecifierSet(specifier).contains(target.markers["python_full_version"])
    except InvalidSpecifier:
        return True


def _pylock(document: Mapping[str, Any], target: Target, _wanted: frozenset[str]) -> Iterator[LockedPackage]:
    for package in document.get("packages", []):
        if "version" not in package or {"vcs", "directory", "archive"} & package.keys():
            continue
        if _applies(package.get("marker"), target):
            named = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
            files = []
            for each in named:
                url = each.get("url") or each.get("path") or ""
                digest = each.get("hashes", {}).get("sha256")
                files.append((each.get("name") or _base(url), url if "://" in url else None, digest))
            yield _package(package["name"], package["version"], files)
