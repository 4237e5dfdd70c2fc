"""pylock.toml (PEP 751): take packages out of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_SOURCES = ("archive", "directory", "sdist", "vcs")


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
