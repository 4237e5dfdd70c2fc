"""poetry.lock, read for a look at it where Poetry is not installed yet; what is installed, Poetry itself reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def read(text: str, groups: Collection[str]) -> str:
    """Return the packages of the main dependencies and of some groups in pip's format, without hashes and extras."""
    import tomlkit

    wanted = {"main", *groups}
    packages = tomlkit.parse(text).unwrap().get("package", [])
    return "".join(f"{_line(each, wanted)}\n" for each in packages if _is_wanted(each, wanted))


def _is_wanted(package: dict[str, Any], groups: set[str]) -> bool:
    # Before version 2.1 of the format no groups were written.
    return not package.get("optional") and not groups.isdisjoint(package.get("groups", ["main"]))


def _line(package: dict[str, Any], groups: set[str]) -> str:
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # one for each group; a group without one always wants the package
        told = [markers.get(group, "") for group in package.get("groups", []) if group in groups]
        markers = " or ".join(f"({each})" for each in told) if all(told) else ""
    source = package.get("source", {})
    place = source.get("url", "") if source.get("type") in ("git", "url", "file", "directory") else ""
    if source.get("type") == "git":
        place = f"git+{place}@{source.get('resolved_reference', '')}"
    asked = f" @ {place}" if place else f"=={package['version']}"
    return f"{package['name']}{asked}" + (f" ; {markers}" if markers else "")
