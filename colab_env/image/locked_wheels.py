"""Which wheel of every locked package goes into an image, by the tags of its base; uv asks the index, nothing is downloaded."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from colab_env.errors import NoWheelError
from colab_env.locks.requirements_text import normalized

if TYPE_CHECKING:
    from packaging.tags import Tag

    from colab_env.image.base_python import BasePython
    from colab_env.image.packages import LockedPackages

# The minor versions of glibc that uv knows a platform of.
_OF_UV = (17, 28, *range(31, 41))
_BUILDS = {
    "git": "it comes from git",
    "directory": "it is a directory of sources",
    "file": "it is a file beside the project",
}


@dataclass(frozen=True, kw_only=True)
class LockedWheel:
    """One file for one package; `sha256` is hexadecimal, `size` in bytes or 0 where the index does not say."""

    name: str
    version: str
    file: str
    url: str
    sha256: str
    size: int

    @property
    def requirement(self) -> str:
        """Return it in pip's format: this very file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def platform_arguments(base: BasePython) -> list[str]:
    """Return uv's options for a base image. Raises NoWheelError for a glibc older than any wheel of today is made for."""
    fitting = [minor for minor in _OF_UV if minor <= base.glibc]
    if not fitting:
        msg = f"the base has glibc 2.{base.glibc}, and wheels are made for 2.17 and newer"
        raise NoWheelError(msg, hint="give a newer base with --base")
    return ["--python-platform", f"{base.machine}-manylinux_2_{fitting[-1]}", "--python-version", base.version]


def require_buildless(packages: LockedPackages) -> None:
    """Raise NoWheelError for packages that can only be built: from git, or from a directory."""
    lines = [f"{each.name}: {_BUILDS[each.kind]}" for each in packages.unhashed if each.kind in _BUILDS]
    if lines:
        raise _no_wheels(lines)


def chosen(
    entries: Sequence[Any], base: BasePython, *, hashes: dict[str, set[str]], unfit: Sequence[str] = ()
) -> list[LockedWheel]:
    """Choose among the files of a pylock.toml's packages as installers do: the first tag of the base's that one has.

    A file whose hash is not locked is none. Raises NoWheelError; `unfit` are packages that are known to have no wheel.
    """
    ranks = {tag: rank for rank, tag in enumerate(tags(base))}
    wheels: list[LockedWheel] = []
    lacking = [f"{name}: {_why([], base)}" for name in unfit]
    for entry in entries:
        files = [entry["archive"]] if "archive" in entry else entry.get("wheels", [])
        locked = hashes.get(normalized(entry["name"]))
        all_files = [wheel for file in files if (wheel := _wheel(entry, file)) is not None]
        offered = [wheel for wheel in all_files if locked is None or f"sha256:{wheel.sha256}" in locked]
        fitting = [(rank, wheel) for wheel in offered if (rank := _rank(wheel.file, ranks)) is not None]
        if fitting:
            wheels.append(min(fitting, key=lambda pair: (pair[0], pair[1].file))[1])
        else:
            lacking.append(f"{entry['name']} {entry.get('version', '')}: {_why(offered, base)}")
    if lacking:
        raise _no_wheels(lacking)
    return sorted(wheels, key=lambda wheel: wheel.name)


def _no_wheels(lines: list[str]) -> NoWheelError:
    count = "a package" if len(lines) == 1 else f"{len(lines)} packages"
    msg = "\n    ".join(
        [f"{count} would have to be built, and there is no compiler in an image without an engine:", *lines]
    )
    hint = "`colab-env container write` makes a Dockerfile that builds it in a stage of its own; nothing was downloaded"
    return NoWheelError(msg, hint=hint)


def _why(offered: list[LockedWheel], base: BasePython) -> str:
    if not offered:
        return (
            f"it has no locked wheel for Python {base.minor} on {base.machine} with glibc 2.{base.glibc}; "
            "sources need a compiler, and the headers and libraries that they name"
        )
    listed = ", ".join(sorted(wheel.file for wheel in offered)[:3])
    return f"it has {listed}, none for Python {base.minor} on {base.machine} with glibc 2.{base.glibc}"


def _wheel(entry: Any, file: Any) -> LockedWheel | None:
    name = file.get("name") or posixpath.basename(unquote(urlsplit(file.get("url") or file.get("path") or "").path))
    sha256 = (file.get("hashes") or {}).get("sha256")
    version = entry.get("version") or (name.split("-")[1] if name.endswith(".whl") else "")
    if not name.endswith(".whl") or sha256 is None:
        return None
    return LockedWheel(
        name=normalized(entry["name"]),
        version=str(version),
        file=name,
        url=str(file.get("url") or ""),
        sha256=str(sha256),
        size=int(file.get("size") or 0),
    )


def _rank(file: str, ranks: dict[Tag, int]) -> int | None:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        _, _, _, own = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return None
    return min((ranks[tag] for tag in own if tag in ranks), default=None)


def tags(base: BasePython) -> Iterator[Tag]:
    """Yield the tags of wheels that a base takes, the best first (PyPA's specification of platform tags)."""
    from packaging import tags as known

    major, minor = (int(part) for part in base.minor.split("."))
    platforms = list(_platforms(base))
    yield from known.cpython_tags((major, minor), platforms=platforms)
    yield from known.compatible_tags((major, minor), interpreter=f"cp{major}{minor}", platforms=platforms)


def _platforms(base: BasePython) -> Iterator[str]:
    # The names that came before PEP 600, of the glibc that each stood for.
    old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    oldest = 5 if base.machine == "x86_64" else 17
    for minor in range(base.glibc, oldest - 1, -1):
        yield f"manylinux_2_{minor}_{base.machine}"
        if minor in old:
            yield f"{old[minor]}_{base.machine}"
    yield f"linux_{base.machine}"
