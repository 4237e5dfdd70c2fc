"""Guess from poetry.lock's text what Poetry will ask for, so that downloads begin while Poetry is still being installed.

The guess decides nothing: what ends up in an environment is what Poetry itself says, and its answer is installed over
the guess. Where reading is not plain (another format of the file, private sources), there is no guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_FORMAT = "2.1"  # as Poetry 2 writes it, with groups and markers for each package


def requirements(text: str, groups: frozenset[str]) -> str | None:
    """Return requirements in pip's format, with hashes and markers, of the packages in any of these groups, or None."""
    try:
        import tomllib  # type: ignore[import-not-found]  # from Python 3.11 on
    except ImportError:  # Python 3.10; tomlkit takes seconds for a large file
        return None
    try:
        document = tomllib.loads(text)
        if document["metadata"]["lock-version"] != _FORMAT or any("source" in each for each in document["package"]):
            return None
        return "".join(_lines(document["package"], groups))
    except (KeyError, TypeError, AttributeError, tomllib.TOMLDecodeError):
        return None


def _lines(packages: list[Mapping[str, Any]], groups: frozenset[str]) -> Iterator[str]:
    for package in packages:
        wanted = groups.intersection(package["groups"])
        if wanted and not package["optional"]:
            hashes = "".join(f" --hash={file['hash']}" for file in package["files"])
            yield f"{package['name']}=={package['version']}{_marker(package, wanted)}{hashes}\n"


def _marker(package: Mapping[str, Any], groups: frozenset[str]) -> str:
    markers = package.get("markers")
    if isinstance(markers, Mapping):  # one for each group; a group without one wants the package always
        each = [markers.get(group) for group in sorted(groups)]
        markers = None if None in each else " or ".join(f"({one})" for one in each)
    return f" ; {markers}" if markers else ""
