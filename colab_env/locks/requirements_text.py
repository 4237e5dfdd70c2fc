"""Read pip's requirements format, and take lines out of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_EDITABLE = re.compile(r"^(?:-e|--editable)[ =]\s*")
_OPTIONS = re.compile(r"\s--\w.*", re.DOTALL)
_INDEX = re.compile(r"(?m)^(?:--index-url|--extra-index-url|-i)[ =]+(\S+)[ \t]*\n?")
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One requirement: `version` is the exact version, or what is written instead: a range, an address or a path."""

    name: str
    version: str
    exact: bool


def read(text: str, markers: Mapping[str, str]) -> dict[str, Wanted]:
    """Return by name what the lines ask for under these markers; includes and other options are passed over."""
    found = (_wanted(_plain(line), markers) for line in _logical_lines(text))
    return {each.name: each for each in found if each is not None}


def without(text: str, names: Collection[str]) -> str:
    """Return the text without the lines that name one of these (normalized) distributions, hashes and all."""
    kept = [line for line in _logical_lines(text) if _name(_plain(line)) not in names]
    return "".join(f"{line}\n" for line in kept)


def with_sources(text: str, sources: Mapping[tuple[str, str], str]) -> tuple[str, str | None]:
    """Return the text without its indexes, and a pyproject.toml that tells uv which packages come from which index.

    `sources` has the address of an index by (normalized) name and version. uv asks such an index for these packages alone, and
    no other index for them. Names and passwords in the text's own addresses are those of the index. None: no package has one.
    """
    addresses = {_anonymous(found[1]): found[1] for found in _INDEX.finditer(text)}
    lines = [(line, _requirement(_plain(line))) for line in _logical_lines(_INDEX.sub("", text))]
    chosen = [
        (each, sources[canonicalize_name(each.name), pin])
        for each in (requirement for _, requirement in lines if requirement is not None)
        for pin in _pins(each)
        if (canonicalize_name(each.name), pin) in sources
    ]
    rest = "".join(f"{line}\n" for line, _ in lines)
    return rest, _uv_sources(chosen, addresses) if chosen else None


def _uv_sources(chosen: Sequence[tuple[Requirement, str]], addresses: Mapping[str, str]) -> str:
    import tomlkit

    urls = list(dict.fromkeys(url for _, url in chosen))
    tables: dict[str, list[dict[str, str]]] = {}
    for requirement, url in chosen:
        marker = {"marker": str(requirement.marker)} if requirement.marker else {}
        tables.setdefault(requirement.name, []).append({"index": f"source-{urls.index(url)}", **marker})
    indexes = [
        {"name": f"source-{number}", "url": addresses.get(_anonymous(url), url), "explicit": True}
        for number, url in enumerate(urls)
    ]
    project = {"name": "sources", "version": "0", "dependencies": [str(requirement) for requirement, _ in chosen]}
    return tomlkit.dumps({"project": project, "tool": {"uv": {"sources": tables, "index": indexes}}})


def _anonymous(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url).rstrip("/")


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            lines[-1] += f"\n{line}"
        else:
            lines.append(line)
        goes_on = line.endswith("\\")
    return lines


def _plain(line: str) -> str:
    return _OPTIONS.sub("", _COMMENT.sub("", line).replace("\\\n", " ")).strip()


def _name(line: str) -> str | None:
    requirement = _requirement(line)
    return canonicalize_name(requirement.name) if requirement else None


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _pins(requirement: Requirement) -> list[str]:
    return [
        each.version for each in requirement.specifier if each.operator in ("==", "===") and "*" not in each.version
    ]


def _wanted(line: str, markers: Mapping[str, str]) -> Wanted | None:
    try:
        requirement = Requirement(_EDITABLE.sub("", line))
    except InvalidRequirement:
        return _place(line, markers)
    if not _holds(requirement.marker, markers):
        return None
    name = canonicalize_name(requirement.name)
    if requirement.url:
        return Wanted(name=name, version=requirement.url, exact=False)
    pins = _pins(requirement)
    return Wanted(name=name, version=pins[0] if pins else str(requirement.specifier) or "any", exact=bool(pins))


def _place(line: str, markers: Mapping[str, str]) -> Wanted | None:
    # A path or an address without a name in front: its last part, which may carry the name after #egg=.
    place, _, marker = _EDITABLE.sub("", line).partition(" ;")
    place = place.strip()
    if not place or place.startswith("-") or not _holds(_marker(marker), markers):
        return None
    path, _, fragment = place.partition("#")
    egg = re.search(r"egg=([\w.-]+)", fragment)
    last = re.sub(r"(-\d[^/]*)?(\.whl|\.tar\.gz|\.zip|\.git)?(@[^/]*)?$", "", path.rstrip("/").rpartition("/")[2])
    return Wanted(name=canonicalize_name(egg[1] if egg else last or "."), version=place, exact=False)


def _marker(text: str) -> Marker | None:
    try:
        return Marker(text) if text.strip() else None
    except InvalidMarker:
        return None


def _holds(marker: Marker | None, markers: Mapping[str, str]) -> bool:
    return marker is None or marker.evaluate({**markers, "extra": ""})
