"""poetry.lock, read without Poetry: for a look at it, and to begin with its packages while Poetry is being installed.

What an environment ends up with is what Poetry itself says; its answer is installed over the guess.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_FORMAT = "2.1"  # as Poetry 2 writes it: groups and markers stand at each package


def read(text: str, groups: Collection[str]) -> str:
    """Return the packages of the main dependencies and of some groups in pip's format, without those of extras."""
    return _requirements(parsed(text), groups)


def guess(text: str, groups: Collection[str]) -> str | None:
    """Return the same if that is certainly what Poetry means and quickly read, else None.

    Not so certain are older formats and packages of other sources than the default index. Quick is Python's own parser,
    from 3.11 on; tomlkit takes seconds for a large file.
    """
    try:
        import tomllib  # type: ignore[import-not-found]
    except ImportError:
        return None
    try:
        document = tomllib.loads(text)
        if document["metadata"]["lock-version"] != _FORMAT or any("source" in each for each in document["package"]):
            return None
        return _requirements(document, groups)
    except (KeyError, TypeError, AttributeError, tomllib.TOMLDecodeError):
        return None


def parsed(text: str) -> dict[str, Any]:
    """Return a poetry.lock as plain values. Takes seconds for a large one."""
    import tomlkit

    return tomlkit.parse(text).unwrap()


def _requirements(document: dict[str, Any], groups: Collection[str]) -> str:
    wanted = {"main", *groups}
    return "".join(f"{_line(each, wanted)}\n" for each in document.get("package", []) if _is_wanted(each, wanted))


def _is_wanted(package: dict[str, Any], groups: set[str]) -> bool:
    # Before version 2.1 of the format no groups were written.
    return not package.get("optional") and not groups.isdisjoint(package.get("groups", ["main"]))


def _line(package: dict[str, Any], groups: set[str]) -> str:
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # one for each group; a group without one always wants the package
        told = [markers.get(group, "") for group in package.get("groups", []) if group in groups]
        markers = " or ".join(f"({each})" for each in told) if all(told) else ""
    place = _address(package.get("source", {}))
    asked = f" @ {place}" if place else f"=={package['version']}"
    hashes = "" if place else "".join(f" --hash={file['hash']}" for file in package.get("files", []))
    return f"{package['name']}{asked}" + (f" ; {markers}" if markers else "") + hashes


def _address(source: dict[str, Any]) -> str:
    place: str = source.get("url", "") if source.get("type") in ("git", "url", "file", "directory") else ""
    return f"git+{place}@{source.get('resolved_reference', '')}" if source.get("type") == "git" else place
