"""The files that a lock file names, and the target they are for: which packages will be built there. No network."""

from __future__ import annotations

import platform as this_machine
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from colab_env.errors import UsageError

NAMES_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_SDISTS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
_PLATFORM = re.compile(r"(?:linux/)?(\w+?)(?:[-/](musl))?")
_GLIBC = 36  # of Debian 12; wheels ask for 2.34 at most as yet
_MUSL = 2  # of musllinux_1_2
_OLDEST = {"x86_64": 5, "aarch64": 17}
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A Linux machine ("x86_64" or "aarch64"), its C library, and a CPython such as (3, 12)."""

    python: tuple[int, int]
    machine: str
    is_musl: bool = False

    def __str__(self) -> str:
        name = {"x86_64": "amd64", "aarch64": "arm64"}[self.machine]
        return f"linux/{name}{'-musl' if self.is_musl else ''}, Python {self.python[0]}.{self.python[1]}"

    @cached_property
    def tags(self) -> frozenset[str]:
        """Return the tags of every wheel that can be installed there."""
        from packaging.tags import compatible_tags, cpython_tags

        platforms = list(self._platforms())
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        tags = [*cpython_tags(self.python, platforms=platforms), *compatible_tags(self.python, interpreter, platforms)]
        return frozenset(map(str, tags))

    @property
    def markers(self) -> dict[str, str]:
        """Return what environment markers see there."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "extra": "",
        }

    def takes(self, wheel: str) -> bool:
        """Say whether a wheel of this file name can be installed there."""
        _, *tags = wheel.removesuffix(".whl").rsplit("-", 3)
        if len(tags) != 3:
            return False
        python, abi, platforms = (tag.split(".") for tag in tags)
        return any(f"{one}-{two}-{three}" in self.tags for one in python for two in abi for three in platforms)

    def _platforms(self) -> Iterator[str]:
        if self.is_musl:
            yield from (f"musllinux_1_{minor}_{self.machine}" for minor in range(_MUSL, -1, -1))
        else:
            for minor in range(_GLIBC, _OLDEST[self.machine] - 1, -1):
                yield f"manylinux_2_{minor}_{self.machine}"
                if minor in _ALIASES:
                    yield f"{_ALIASES[minor]}_{self.machine}"
        yield f"linux_{self.machine}"


def parse_target(platform: str | None, python: str) -> Target:
    """Return the target of `platform`, such as "linux/arm64" or "linux/amd64-musl" (None: this machine), and a Python "3.12".

    Raises UsageError for what is neither.
    """
    match = _PLATFORM.fullmatch(platform or this_machine.machine())
    machine = _MACHINES.get(match[1]) if match else None
    if match is None or machine is None:
        msg = f"there is no platform {platform or this_machine.machine()!r} here"
        raise UsageError(msg, hint="give linux/amd64 or linux/arm64, with -musl for Alpine")
    version = re.match(r"(\d+)\.(\d{1,3})(?!\d)", python)
    if version is None:
        msg = f"{python!r} is no version of Python"
        raise UsageError(msg, hint='give one such as "3.12"')
    return Target(python=(int(version[1]), int(version[2])), machine=machine, is_musl=match[2] is not None)


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One package that a lock file wants on a target: its wheels' file names with their bytes, and its source archive.

    `url` and `sha256` are the archive's. What the lock file does not say is None.
    """

    name: str
    version: str
    wheels: Mapping[str, int | None] = field(default_factory=dict)
    sdist: str | None = None
    url: str | None = field(default=None, repr=False)
    sha256: str | None = field(default=None, repr=False)

    @property
    def is_unknown(self) -> bool:
        """Say whether the lock file names none of its files, as Poetry has written some."""
        return not self.wheels and self.sdist is None

    def is_built(self, target: Target) -> bool:
        """Say whether nothing but its source fits there, as far as its files are known."""
        return not self.is_unknown and not any(target.takes(wheel) for wheel in self.wheels)

    def download(self, target: Target) -> int | None:
        """Return the bytes of the largest wheel that fits there, or None where the lock file names no sizes."""
        return max((size for wheel, size in self.wheels.items() if size and target.takes(wheel)), default=None)


def read(
    format_name: str, document: Mapping[str, Any], target: Target, *, direct: Iterable[str]
) -> list[LockedPackage]:
    """Return the packages of a lock file that are installed on a target.

    `document` is the file's TOML; `direct` are the normalized names that the project itself asks for. What is no file of an
    index, such as a git repository, is left out. Raises what reading a damaged document raises.
    """
    readers = {"uv.lock": _uv, "poetry.lock": _poetry, "pdm.lock": _pdm, "pylock.toml": _pylock}
    packages = readers[format_name](document, target, frozenset(direct))
    return sorted(packages, key=lambda package: package.name)


def _applies(marker: Any, target: Target) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    if not isinstance(marker, str) or not marker.strip():
        return True
    try:
        return Marker(marker).evaluate(target.markers)
    except (InvalidMarker, UndefinedEnvironmentName):  # a newer tool's own: then it may be installed
        return True


_File = tuple[str, "str | None", "str | None", "int | None"]  # its name, address, hash and bytes


def _package(name: str, version: str, files: Iterable[_File]) -> LockedPackage:
    files = list(files)
    archive = next((file for file in files if file[0].endswith(_SDISTS)), (None, None, None, None))
    digest = (archive[2] or "").removeprefix("sha256:")
    return LockedPackage(
        name=normalized(name),
        version=version,
        wheels={file: size if isinstance(size, int) else None for file, _, _, size in files if file.endswith(".whl")},
        sdist=archive[0],
        url=archive[1],
        sha256=digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None,
    )


def normalized(name: str) -> str:
    """Return a distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _base(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _uv(document: Mapping[str, Any], target: Target, _direct: frozenset[str]) -> Iterator[LockedPackage]:
    packages: list[dict[str, Any]] = document.get("package", [])
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    local = [item for item in packages if {"editable", "virtual", "directory"} & item.get("source", {}).keys()]
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
                fitting = [item for item in by_name.get(edge["name"], []) if version in (None, item.get("version"))]
                todo += [(item, extra) for item in fitting for extra in ("", *edge.get("extra", []))]
    for package in packages:
        if (id(package), "") in done and "registry" in package.get("source", {}):
            artifacts = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
            urls = [file.get("url") or file.get("path") or file.get("filename") or "" for file in artifacts]
            files = [
                (_base(url), url, file.get("hash"), file.get("size")) for url, file in zip(urls, artifacts, strict=True)
            ]
            yield _package(package["name"], package["version"], files)


def _uv_edges(package: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    edges = package.get("dependencies", []) if not part else package.get("optional-dependencies", {}).get(part, [])
    return [*edges, *(package.get("dev-dependencies", {}).get(part, []) if part else ())]


def _poetry(document: Mapping[str, Any], target: Target, direct: frozenset[str]) -> Iterator[LockedPackage]:
    packages: list[dict[str, Any]] = document.get("package", [])
    files_before_1_3 = document.get("metadata", {}).get("files", {})
    edges: dict[str, list[bool]] = {}
    for package in packages:
        for name, value in package.get("dependencies", {}).items():
            wishes = value if isinstance(value, list) else [value]
            limits = [wish.get("markers") if isinstance(wish, Mapping) else None for wish in wishes]
            edges.setdefault(normalized(name), []).extend(_applies(limit, target) for limit in limits)
    for package in packages:
        name = normalized(package["name"])
        by_group = package.get("markers")
        markers = [*by_group.values()] if isinstance(by_group, Mapping) else [by_group]
        # Before Poetry 2.0, only the edges have markers.
        is_reached = name in direct or name not in edges or any(edges[name])
        if package.get("optional") or package.get("source", {}).get("type") in ("git", "directory", "url", "file"):
            continue
        if any(_applies(marker, target) for marker in markers) and is_reached:
            files = package.get("files") or files_before_1_3.get(package["name"], [])
            yield _package(name, package["version"], [(file["file"], None, file.get("hash"), None) for file in files])


def _pdm(document: Mapping[str, Any], target: Target, _direct: frozenset[str]) -> Iterator[LockedPackage]:
    outside = document.get("metadata", {}).get("files", {})
    for package in document.get("package", []):
        if {"git", "path", "url", "editable"} & package.keys() or package.get("extras"):
            continue
        if _applies(package.get("marker"), target) and _fits(package.get("requires_python"), target):
            files = package.get("files") or outside.get(f"{package['name']} {package['version']}", [])
            artifacts = [(file.get("url") or file.get("file") or "", file.get("hash")) for file in files]
            listed = [(_base(url), url if "://" in url else None, digest, None) for url, digest in artifacts]
            yield _package(package["name"], package["version"], listed)


def _fits(specifier: Any, target: Target) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return not isinstance(specifier, str) or SpecifierSet(specifier).contains(target.markers["python_full_version"])
    except InvalidSpecifier:
        return True


def _pylock(document: Mapping[str, Any], target: Target, _direct: frozenset[str]) -> Iterator[LockedPackage]:
    for package in document.get("packages", []):
        if "version" not in package or {"vcs", "directory", "archive"} & package.keys():
            continue
        if _applies(package.get("marker"), target):
            artifacts = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
            files = []
            for file in artifacts:
                url = file.get("url") or file.get("path") or ""
                digest = file.get("hashes", {}).get("sha256")
                address = url if "://" in url else None
                files.append((file.get("name") or _base(url), address, digest, file.get("size")))
            yield _package(package["name"], package["version"], files)
