"""pylock.toml (PEP 751): take packages out of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_SOURCES = ("archive", "directory", "sdist", "vcs")


def read(text: str) -> str:
    """Return what the lock file names in pip's requirements format, without hashes; markers are kept where pip has them."""
    import tomlkit

    return "".join(f"{_line(each)}\n" for each in tomlkit.parse(text).unwrap().get("packages", []))


def _line(package: dict[str, Any]) -> str:
    marker = package.get("marker", "")
    if "extras" in marker or "dependency_groups" in marker:  # whether these are asked for, uv decides
        marker = ""
    place = next((source.get("url") or source.get("path") for source in _sources(package)), "")
    asked = f"=={package['version']}" if "version" in package else f" @ {place}"
    return f"{package['name']}{asked}" + (f" ; {marker}" if marker else "")


def without(text: str, names: Collection[str], *, directory: Path) -> str:
    """Return the lock file without these (normalized) packages, its paths, relative to `directory`, made absolute."""
    import tomlkit

    document: dict[str, Any] = tomlkit.parse(text).unwrap()
    left = [each for each in document.get("packages", []) if canonicalize_name(each["name"]) not in names]
    for source in (source for each in left for source in _sources(each)):
        if "path" in source:
            source["path"] = str(directory / source["path"])
    return tomlkit.dumps({**document, "packages": left})


def _sources(package: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(package[name] for name in _SOURCES if name in package), *package.get("wheels", [])]
